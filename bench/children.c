/* children: jobs in child processes, without a database: isolated no-op tasks in four
 * warm children, and commands that run /bin/true beside a bare loop of posix_spawn. */
#include "server/core/clock.h"
#include "workers/exec.h"
#include "workers/isolate.h"
#include "workers/parts.h"
#include "workers/process.h"
#include "workers/runner.h"
#include "workers/tally.h"

#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4, WARM_UP = 1000, JOBS = 40000, PROGRAMS = 2000 };

static enum job_result do_nothing(struct job_ctx *ctx)
{
    return job_ok(ctx);
}

static const struct task task_nothing = {
    .name = "nothing", .run = do_nothing, .kind = TASK_PROCESS};
static const struct task *tasks[] = {&task_nothing, NULL, NULL}; /* and the command */
static struct task_tally tallies[2];

static struct config config = {.isolate_jobs_per_child = 1000000000};
static struct node node = {.options = {.tasks = tasks, .config = &config},
                           .tallies = tallies};

static void die(const char *what)
{
    fprintf(stderr, "bench/children: %s\n", what);
    exit(EXIT_FAILURE);
}

/* From the claim to the end, as on a thread of the pool. */
static void run_one(const struct task *task, int slot, int64_t id)
{
    struct job job = {.id = id,
                      .attempt = 1,
                      .max_attempts = 1,
                      .counted = 1,
                      .task = task,
                      .queue = "default",
                      .task_name = task->name,
                      .args = "{}"};

    job.watch = (struct abort_watch){.job_id = id, .attempt = 1, .grace_ms = 1000};
    abort_watch_begin(node.aborts, &job.watch);
    run_job(&node, &job, abort_slot(node.aborts, slot));
    abort_watch_end(node.aborts, &job.watch);
    if (strcmp(job.status, "succeeded") != 0)
        die(job.error);
    free(job.result);
}

struct share {
    int slot, n;
};

static void *run_share(void *arg)
{
    const struct share *share = arg;

    for (int i = 0; i < share->n; i++)
        run_one(&task_nothing, share->slot, (int64_t)share->slot * JOBS + i);
    return NULL;
}

/* Jobs a second, in CHILDREN threads. */
static double measure_isolated(int n)
{
    struct share shares[CHILDREN];
    pthread_t threads[CHILDREN];
    int64_t began_us = clock_us();

    for (int i = 0; i < CHILDREN; i++) {
        shares[i] = (struct share){.slot = i, .n = n / CHILDREN};
        if (pthread_create(&threads[i], NULL, run_share, &shares[i]) != 0)
            die("no thread");
    }
    for (int i = 0; i < CHILDREN; i++)
        pthread_join(threads[i], NULL);
    return n * (double)US_PER_SECOND / (double)(clock_us() - began_us);
}

static double measure_commands(const struct task *task, int n)
{
    int64_t began_us = clock_us();

    for (int i = 0; i < n; i++)
        run_one(task, 0, i);
    return n * (double)US_PER_SECOND / (double)(clock_us() - began_us);
}

static double measure_spawn(int n)
{
    char name[] = "/bin/true", *argv[] = {name, NULL}, *env[] = {NULL};
    int64_t began_us = clock_us();

    for (int i = 0; i < n; i++) {
        pid_t pid;
        if (posix_spawn(&pid, name, NULL, NULL, argv, env) != 0)
            die("posix_spawn");
        waitpid(pid, NULL, 0);
    }
    return n * (double)US_PER_SECOND / (double)(clock_us() - began_us);
}

static struct commands *load_command(void)
{
    static const char yaml[] = "commands: [{name: true, command: [/bin/true]}]\n";
    char path[] = "/tmp/belay-bench-XXXXXX";
    struct buf why = BUF_INIT;
    struct commands *commands;
    int fd = mkstemp(path);

    if (fd < 0 || write(fd, yaml, sizeof yaml - 1) != (ssize_t)sizeof yaml - 1 ||
        commands_load(path, &commands, &why) != ERR_OK)
        die("the declaration cannot be read");
    close(fd);
    unlink(path);
    return commands;
}

static void prepare(void)
{
    isolate_prepare(tasks);
    if (process_zygote_start() != ERR_OK ||
        abort_table_new(CHILDREN, &node.aborts) != ERR_OK ||
        progress_board_new(&node.progress) != ERR_OK ||
        timeouts_new(&node.timeouts) != ERR_OK ||
        isolates_new(&config, abort_cells(node.aborts), &node.isolates) != ERR_OK)
        die("cannot start");
}

int main(void)
{
    struct commands *commands = load_command();
    const struct task *command = commands_tasks(commands)[0];

    tasks[1] = command;
    prepare();
    measure_isolated(WARM_UP);
    double isolated = measure_isolated(JOBS);
    measure_commands(command, PROGRAMS / 10);
    double exec = 0, spawn = 0;
    for (int i = 0; i < 4; i++) { /* in turns, because the machine is not quiet */
        exec += measure_commands(command, PROGRAMS / 4) / 4;
        spawn += measure_spawn(PROGRAMS / 4) / 4;
    }
    printf("{\"isolated\":%.0f,\"exec\":%.0f,\"spawn\":%.0f}\n", isolated, exec, spawn);
    isolates_free(node.isolates);
    process_zygote_stop();
    commands_free(commands);
    return EXIT_SUCCESS;
}
