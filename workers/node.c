/* The parts of the worker side, joined. Start: abort table, dispatcher, pool, janitor,
 * listener. Stop is the other way round for what brings work, but listener and janitor
 * outlive the last job: an abort has to reach a job that drains, too. */
#include "workers/node.h"

#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/isolate.h"
#include "workers/parts.h"
#include "workers/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 20, WRITE_MS = 3000, CLOSE_MARGIN_MS = 2000 };

/* -- what other nodes tell ----------------------------------------------------------- */

static void on_notify(void *arg, const char *channel, const char *payload, int sender)
{
    struct node *node = arg;

    (void)sender;
    if (strcmp(channel, CHANNEL_READY) == 0 && node->options.config->concurrency > 0)
        dispatcher_wake(node->dispatcher);
    else if (strcmp(channel, CHANNEL_ABORT) == 0 &&
             strtoll(payload, NULL, 10) == atomic_load(&node->worker_id))
        janitor_poll_aborts(node->janitor);
    else if (strcmp(channel, CHANNEL_SWEEP) == 0)
        janitor_look_at_families(node->janitor);
}

static void on_resync(void *arg)
{
    struct node *node = arg;

    dispatcher_wake(node->dispatcher);
    janitor_poll_aborts(node->janitor);
    janitor_look_at_schedule(node->janitor);
    janitor_look_at_families(node->janitor);
}

/* -- start --------------------------------------------------------------------------- */

static enum err open_parts(struct node *node)
{
    int slots = (int)node->options.config->concurrency;
    struct listener_options listener = {.url = node->options.listen_url,
                                        .listen = node->options.config->listen_notify,
                                        .on_notify = on_notify,
                                        .on_resync = on_resync,
                                        .arg = node};
    enum err e = quotas_init(&node->quotas, node->options.config, node->options.tasks);

    if (e == ERR_OK)
        e = abort_table_new(slots, &node->aborts);

    if (e == ERR_OK)
        e = progress_board_new(&node->progress);
    if (e == ERR_OK)
        e = timeouts_new(&node->timeouts);
    if (e == ERR_OK)
        e = isolates_new(node->options.config, abort_cells(node->aborts),
                         &node->isolates);
    if (e == ERR_OK)
        e = dispatcher_new(node, &node->dispatcher);
    if (e == ERR_OK)
        e = pool_open(node, &node->pool);
    if (e == ERR_OK)
        e = async_open(node, &node->async);
    if (e == ERR_OK)
        e = janitor_open(node, &node->janitor);
    if (e == ERR_OK)
        e = sweeper_open(node, &node->sweeper);
    if (e == ERR_OK)
        e = dispatcher_start(node->dispatcher);
    if (e == ERR_OK)
        e = listener_open(&listener, &node->listener);
    return e;
}

enum err node_open(const struct node_options *options, struct node **out_node,
                   struct buf *why)
{
    struct node *node = calloc(1, sizeof *node);

    if (node == NULL)
        return ERR_NO_MEMORY;
    node->options = *options;
    size_t n_tasks = 0;
    while (options->tasks[n_tasks] != NULL)
        n_tasks++;
    node->tallies = calloc(n_tasks + 1, sizeof *node->tallies);
    if (node->tallies == NULL) {
        free(node);
        return ERR_NO_MEMORY;
    }
    enum err e = open_parts(node);
    if (e == ERR_OK)
        *out_node = node;
    else
        buf_addf(why, "the worker threads cannot be started (concurrency %" PRId64 ")",
                 options->config->concurrency);
    return e; /* on failure the process ends: nothing is taken down */
}

/* -- from the handlers --------------------------------------------------------------- */

void node_wake(struct node *node, const char *queue, int n_jobs)
{
    if (n_jobs <= 0)
        return;
    if (node->options.config->concurrency > 0)
        dispatcher_wake(node->dispatcher);
    listen_notify_later(node->listener, CHANNEL_READY, queue);
}

void node_wake_scheduled(struct node *node)
{
    janitor_look_at_schedule(node->janitor);
}

void node_wake_sweeper(struct node *node)
{
    sweeper_wake(node->sweeper);
}

void node_poll_aborts(struct node *node)
{
    janitor_poll_aborts(node->janitor);
}

void node_deliver(struct node *node, const struct abort_order *order)
{
    enum abort_reached reached = abort_request(node->aborts, order);
    struct job *job =
        reached == ABORT_WAITING ? runs_take_out(node, order->job_id) : NULL;

    if (job != NULL) {
        job->fate = FATE_UNSTARTED; /* its open receipt cancels it */
        dispatcher_end(node->dispatcher, job);
    }
    if (reached == ABORT_TOLD)
        dispatcher_poke(node->dispatcher);
}

void node_abort(struct node *node, const struct abort_order *order)
{
    if (order->worker_id == atomic_load(&node->worker_id) && order->worker_id != 0)
        node_deliver(node, order);
}

const struct task *const *node_tasks(const struct node *node)
{
    return node->options.tasks;
}

const struct task *node_task(const struct node *node, const char *name)
{
    const struct task *const *t = node->options.tasks;

    while (*t != NULL && strcmp((*t)->name, name) != 0)
        t++;
    return *t;
}

void node_status(struct node *node, struct node_status *out)
{
    struct pool_count count = runs_count(node);

    *out = (struct node_status){
        .database_up = dispatcher_is_up(node->dispatcher) && janitor_is_up(node->janitor),
        .listening = listener_is_up(node->listener),
        .draining = atomic_load(&node->draining),
        .running = count.running,
        .waiting = count.waiting,
        .worker_id = atomic_load(&node->worker_id),
        .stale_writes = atomic_load(&node->stale_writes),
        .rescued = atomic_load(&node->rescued),
    };
}

/* The janitor first: what it moves wakes the dispatcher. */
bool node_is_idle(struct node *node)
{
    struct pool_count count = runs_count(node);

    return atomic_load(&node->nothing_due) && atomic_load(&node->nothing_left) &&
           count.running + count.waiting == 0 &&
           dispatcher_unwritten(node->dispatcher) == 0;
}

struct task_tally *node_tally(const struct node *node, const struct task *task)
{
    const struct task *const *tasks = node->options.tasks;

    for (size_t i = 0; tasks[i] != NULL; i++) {
        if (tasks[i] == task)
            return &node->tallies[i];
    }
    return NULL;
}

/* -- stop ---------------------------------------------------------------------------- */

void node_drain(struct node *node)
{
    atomic_store(&node->draining, true);
    dispatcher_poke(node->dispatcher);
}

/* Waits until this many jobs run at most, or the time is up. */
static int wait_for_running(struct node *node, int64_t ms)
{
    int64_t end_ms = clock_ms() + ms;
    struct pool_count count = runs_count(node);

    while (count.running > 0 && clock_ms() < end_ms) {
        sleep_ms(LOOK_MS);
        count = runs_count(node);
    }
    return count.running;
}

static void wait_for_writes(struct node *node)
{
    int64_t end_ms = clock_ms() + WRITE_MS;

    while (dispatcher_unwritten(node->dispatcher) > 0 && clock_ms() < end_ms)
        sleep_ms(LOOK_MS);
}

int node_close(struct node *node)
{
    int64_t grace_ms = node->options.config->grace_seconds * MS_PER_SECOND;
    int64_t worker_id = atomic_load(&node->worker_id);

    node_drain(node);
    if (abort_request_all(node->aborts, worker_id, ABORT_SHUTDOWN) > 0)
        dispatcher_poke(node->dispatcher);
    int left = wait_for_running(node, grace_ms + CLOSE_MARGIN_MS);
    bool all = pool_close(node->pool);
    all = async_close(node->async) && all;
    wait_for_writes(node);
    dispatcher_close(node->dispatcher);
    sweeper_close(node->sweeper);
    janitor_close(node->janitor);
    node->has_stopped = all;
    return all ? 0 : left;
}

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    listener_close(node->listener); /* requests that came late still told others */
    if (!node->has_stopped)
        return; /* a task that does not obey still uses the rest: it goes with the process
                 */
    pool_free(node->pool);
    async_free(node->async);
    dispatcher_free(node->dispatcher);
    janitor_free(node->janitor);
    sweeper_free(node->sweeper);
    progress_board_free(node->progress);
    timeouts_free(node->timeouts);
    isolates_free(node->isolates);
    abort_table_free(node->aborts);
    quotas_release(&node->quotas);
    free(node->tallies);
    free(node);
}
