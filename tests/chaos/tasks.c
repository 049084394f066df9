/* A plugin of tasks that keep a ledger of their own: one line, one write(), at the start
 * and one at the end of each attempt, whatever kind of task it is. CHAOS_LEDGER names the
 * file. The result names the attempt, so that the oracle sees whose was accepted. */
#include "workers/task.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SHORT_MS = 5,
    MOST_MS = 25,
    GOOD_ATTEMPT = 3,
    OPEN_TRIES = 2000,
    OPEN_PAUSE_US = 10000
};

/* A node that is short of descriptors has one in a moment. */
static int open_ledger(void)
{
    const char *path = getenv("CHAOS_LEDGER");
    int fd = -1;

    for (int i = 0; i < OPEN_TRIES && fd < 0 && path != NULL; i++) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (fd < 0)
            usleep(OPEN_PAUSE_US);
    }
    return fd;
}

static void note(struct job_ctx *ctx, const char *what)
{
    char line[96];
    int n = snprintf(line, sizeof line, "%s %" PRId64 " %d\n", what, job_id(ctx),
                     job_attempt(ctx));
    int fd = open_ledger();

    if (fd < 0 || write(fd, line, (size_t)n) != n)
        abort();
    close(fd);
}

static int64_t length_ms(struct job_ctx *ctx)
{
    return SHORT_MS + job_id(ctx) % (MOST_MS - SHORT_MS);
}

static enum job_result end(struct job_ctx *ctx)
{
    note(ctx, "end");
    return job_ok_json(ctx, "{\"attempt\":%d}", job_attempt(ctx));
}

static enum job_result obey(struct job_ctx *ctx)
{
    note(ctx, "start");
    if (job_sleep(ctx, length_ms(ctx)))
        return end(ctx);
    note(ctx, "stop");
    return job_aborted(ctx, "as asked");
}

static enum job_result ignore(struct job_ctx *ctx)
{
    note(ctx, "start");
    usleep((useconds_t)(length_ms(ctx) * 1000));
    return end(ctx);
}

static enum job_result fail(struct job_ctx *ctx)
{
    note(ctx, "start");
    if (job_attempt(ctx) >= GOOD_ATTEMPT)
        return end(ctx);
    note(ctx, "fail");
    return job_failed(ctx, "chaos", "not before attempt %d", GOOD_ATTEMPT);
}

static enum job_result wait_and_obey(struct job_ctx *ctx)
{
    note(ctx, "start");
    if (await_sleep(ctx, length_ms(ctx), JOB_FOREVER) != JOB_CANCELLED)
        return end(ctx);
    note(ctx, "stop");
    return job_aborted(ctx, "as asked");
}

static enum job_result wait_and_ignore(struct job_ctx *ctx)
{
    note(ctx, "start");
    (void)await_sleep(ctx, length_ms(ctx), JOB_FOREVER);
    return end(ctx);
}

#define LEDGER_TASK(symbol, word, how, function)                                         \
    static const struct task symbol = {                                                  \
        .name = "ledger-" word, .kind = how, .run = function, .grace_seconds = 1}

LEDGER_TASK(thread, "thread", TASK_SYNC, obey);
LEDGER_TASK(deaf_thread, "deaf-thread", TASK_SYNC, ignore);
LEDGER_TASK(fails, "fails", TASK_SYNC, fail);
LEDGER_TASK(async, "async", TASK_ASYNC, wait_and_obey);
LEDGER_TASK(deaf_async, "deaf-async", TASK_ASYNC, wait_and_ignore);
LEDGER_TASK(isolated, "isolated", TASK_PROCESS, obey);
LEDGER_TASK(deaf_isolated, "deaf-isolated", TASK_PROCESS, ignore);

BELAY_TASKS(&thread, &deaf_thread, &fails, &async, &deaf_async, &isolated,
            &deaf_isolated);
