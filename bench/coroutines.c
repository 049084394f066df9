/* coroutines: what one costs on a bare loop: to be made and run as far as its first
 * await, the memory of one that sleeps, and the cancel of them all; then once more on
 * stacks that were used before.
 *
 *     coroutines COUNT    -> {"first_us":..,"again_us":..,"bytes":..,"cancel_s":..} */
#include "server/core/clock.h"
#include "workers/async/scope.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { COUNT_DEFAULT = 100000 };

struct job_ctx {
    struct job_ctx_head head;
};

static struct loop loop;
static int count = COUNT_DEFAULT, parked, cancelled;
static double first_us, again_us, cancel_s;
static int64_t bytes_each;

/* Of this thread: what a busy machine takes away is not its cost. */
static int64_t cpu_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * US_PER_SECOND + ts.tv_nsec / 1000;
}

static int64_t resident_bytes(void)
{
    long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f == NULL || fscanf(f, "%lld %lld", &size, &resident) != 2)
        resident = 0;
    if (f != NULL)
        fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

static int sleeper(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    parked++;
    cancelled += await_sleep(ctx, 3600000, JOB_FOREVER) == JOB_CANCELLED;
    return 0;
}

/* Makes them all, waits until all sleep, cancels all, waits for all ends. */
static double generation(struct job_ctx *ctx, struct job_child **children)
{
    int64_t began_us = cpu_us(), before = resident_bytes();

    parked = cancelled = 0;
    for (int i = 0; i < count; i++)
        children[i] = await_spawn(ctx, sleeper, NULL);
    while (parked < count)
        await_sleep(ctx, 0, JOB_FOREVER);
    double us = (double)(cpu_us() - began_us) / count;
    if (bytes_each == 0)
        bytes_each = (resident_bytes() - before) / count;
    began_us = clock_us();
    for (int i = 0; i < count; i++)
        await_cancel(ctx, children[i]);
    for (int i = 0; i < count; i++)
        await_join(ctx, children[i], NULL, JOB_FOREVER);
    cancel_s = (double)(clock_us() - began_us) / US_PER_SECOND;
    return us;
}

static void run(struct scope *scope)
{
    struct job_child **children = calloc((size_t)count, sizeof *children);

    first_us = generation(scope->ctx, children);
    again_us = generation(scope->ctx, children);
    free(children);
}

static void ended(struct scope *scope)
{
    (void)scope;
}

int main(int argc, char **argv)
{
    static struct abort_cell cell;
    struct job_ctx ctx = {.head = {.cell = &cell}};
    struct scope scope = {.ctx = &ctx, .name = "bench", .run = run, .ended = ended};

    if (argc > 1)
        count = (int)strtol(argv[1], NULL, 10);
    if (loop_init(&loop) != ERR_OK || !scope_start(&scope, &loop))
        return 1;
    loop.stopping = true;
    loop_run(&loop);
    loop_release(&loop);
    printf("{\"first_us\":%.2f,\"again_us\":%.2f,\"bytes\":%" PRId64
           ",\"cancel_s\":%.3f}\n",
           first_us, again_us, bytes_each, cancel_s);
    return cancelled != count;
}
