/* A plugin for tests/isolate: what goes wrong in a process, each in its own way, and what
 * should go well in one. All run in child processes. */
#include "workers/task.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { GIB = 1 << 30, BOMB_CHILDREN = 10, BOMB_DEPTH = 3 };

/* -- poison -------------------------------------------------------------------------- */

static enum job_result segv(struct job_ctx *ctx)
{
    volatile int *volatile nowhere = NULL;

    *nowhere = 33; /* NOLINT: this is what it is for */
    return job_ok(ctx);
}

static enum job_result give_up(struct job_ctx *ctx)
{
    (void)ctx;
    abort();
}

static enum job_result spin(struct job_ctx *ctx)
{
    for (volatile uint64_t i = 1; i != 0; i++)
        ;
    return job_ok(ctx);
}

/* Until there is none, or 8 GiB. */
static enum job_result devour(struct job_ctx *ctx)
{
    for (int i = 0; i < 8; i++) {
        char *memory = malloc(GIB);
        if (memory == NULL)
            abort();
        memset(memory, i, GIB);
        __asm__ volatile("" : : "r"(memory) : "memory"); /* it is used, and not freed */
    }
    return job_ok(ctx);
}

/* Each has sessions of its own and children in turn; the args name them for ps. */
static void explode(const char *name, int depth)
{
    for (int i = 0; i < BOMB_CHILDREN && depth > 0; i++) {
        if (fork() != 0)
            continue;
        setsid();
        prctl(PR_SET_NAME, name);
        explode(name, depth - 2);
        for (;;)
            pause();
    }
}

static enum job_result bomb(struct job_ctx *ctx)
{
    char name[16];

    snprintf(name, sizeof name, "%.9s", strchr(job_args(ctx), ':') + 2);
    explode(name, BOMB_DEPTH);
    for (;;)
        pause();
    return job_ok(ctx);
}

static enum job_result close_all(struct job_ctx *ctx)
{
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    for (;;)
        sleep(1);
    return job_ok(ctx);
}

/* A gigabyte, and then no result. */
static enum job_result babble(struct job_ctx *ctx)
{
    char words[64 * 1024];

    (void)ctx;
    memset(words, 'a', sizeof words);
    for (size_t i = 99; i < sizeof words; i += 100)
        words[i] = '\n';
    for (size_t sent = 0; sent < GIB; sent += sizeof words) {
        if (write(STDOUT_FILENO, words, sizeof words) < 0)
            break;
    }
    exit(0);
}

static enum job_result leave(struct job_ctx *ctx)
{
    (void)ctx;
    _exit(0);
}

/* -- others -------------------------------------------------------------------------- */

static enum job_result tell_pid(struct job_ctx *ctx)
{
    return job_ok_json(ctx, "{\"pid\":%d}", (int)getpid());
}

static void wave(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    job_log(ctx, "it waves");
}

/* Waits for an abort, and repeats what it is told of it. */
static enum job_result ask_why(struct job_ctx *ctx)
{
    struct abort_info info, again;

    job_defer(ctx, wave, NULL);
    fprintf(stderr, "pid %d of job %" PRId64 " on stderr\n", (int)getpid(), job_id(ctx));
    printf("and on stdout");
    job_progress(ctx, 10, "waiting");
    job_progress(ctx, 20, "still waiting");
    while (!job_should_abort(ctx))
        job_sleep(ctx, 60000);
    if (!job_abort_info(ctx, &info) || !job_abort_info(ctx, &again))
        return job_failed(ctx, "no_info", "nothing was said");
    return job_aborted(ctx, "%s says %s, %s", info.actor, info.reason,
                       info.grace_left_ms > 1000 ? "no hurry" : "hurry");
}

static enum job_result look_in_a_loop(struct job_ctx *ctx)
{
    while (!job_should_abort(ctx))
        ;
    return job_aborted(ctx, "seen");
}

static enum job_result come_again(struct job_ctx *ctx)
{
    if (job_attempt(ctx) < job_max_attempts(ctx)) {
        if (job_next_queue(ctx, "no queue") || job_next_lock(ctx, ""))
            return job_failed(ctx, "nonsense", "it was taken");
        job_next_queue(ctx, job_attempt(ctx) == 1 ? "q1" : "q2");
        job_next_priority(ctx, job_attempt(ctx));
        job_next_lock(ctx, job_attempt(ctx) == 1 ? "l" : NULL);
        return job_retry_in(ctx, 0, "not now");
    }
    return job_failed(ctx, "tired", "%d of %d in %s", job_attempt(ctx),
                      job_max_attempts(ctx), job_queue(ctx));
}

static enum job_result repeat(struct job_ctx *ctx)
{
    return job_ok_text(ctx, job_args(ctx), (int64_t)strlen(job_args(ctx)));
}

static enum job_result not_json(struct job_ctx *ctx)
{
    return job_ok_text(ctx, "{\"a\":", 5);
}

#define ISOLATED(word, function, ...)                                                    \
    &(const struct task)                                                                 \
    {                                                                                    \
        .name = (word), .run = (function), .kind = TASK_PROCESS, .grace_seconds = 1,     \
        __VA_ARGS__                                                                      \
    }

BELAY_TASKS(ISOLATED("segv", segv, .timeout_seconds = 30),
            ISOLATED("abort", give_up, .timeout_seconds = 30),
            ISOLATED("spin", spin, .timeout_seconds = 1),
            ISOLATED("devour", devour, .timeout_seconds = 30),
            ISOLATED("bomb", bomb, .timeout_seconds = 1),
            ISOLATED("close_all", close_all, .timeout_seconds = 30),
            ISOLATED("babble", babble, .timeout_seconds = 120),
            ISOLATED("leave", leave, .timeout_seconds = 30),
            ISOLATED("pid", tell_pid, .max_jobs_per_child = 2),
            ISOLATED("ask_why", ask_why, .timeout_seconds = 0),
            ISOLATED("look", look_in_a_loop, .timeout_seconds = 0),
            ISOLATED("come_again", come_again, .timeout_seconds = 0),
            ISOLATED("repeat", repeat, .timeout_seconds = 0),
            ISOLATED("not_json", not_json, .timeout_seconds = 0));
