/* quotas: how many jobs of a queue, or of a task, this node runs at a time, where its
 * settings say so (queue_concurrency, task_concurrency).
 *
 *     quotas_take(q, job);           claimed
 *     quotas_room(quota) > 0         a claim may bring more of them
 *     quotas_leave(job);             its end is about to be written
 *
 * A job that is claimed counts, because it starts as soon as a thread is free. Only
 * claims raise the count, and they ask for the room first, so it is never exceeded.
 *
 * Threads: made before all others; then the dispatcher's alone. */
#ifndef BELAY_WORKERS_QUOTAS_H
#define BELAY_WORKERS_QUOTAS_H

#include "server/core/buf.h"
#include "server/core/config.h"
#include "workers/task.h"

#include <stddef.h>

struct job;

struct quota {
    char *name;
    const struct task *task; /* NULL: it is of a queue */
    int64_t most;
    int64_t held;
};

/* Those of queues first. */
struct quotas {
    struct quota *list;
    size_t n, n_queues;
};

static inline bool quotas_has_tasks(const struct quotas *q)
{
    return q->n > q->n_queues;
}

/* tasks: of this node, ends in NULL. A queue that the node does not take is left out.
 * Release with quotas_release(). */
enum err quotas_init(struct quotas *q, const struct config *config,
                     const struct task *const *tasks) MUST_CHECK;
void quotas_release(struct quotas *q);

/* ERR_CONFIG: task_concurrency names what is no task of these. */
enum err quotas_check(const struct config *config, const struct task *const *tasks,
                      struct buf *why) MUST_CHECK;

void quotas_take(struct quotas *q, struct job *job);
/* Whether its queue was full: claims of tasks have left that queue out. */
bool quotas_leave(struct job *job);
int64_t quotas_room(const struct quota *quota);

/* The settings as JSON: {"queue_concurrency":{"mail":2},"task_concurrency":{}}. */
void quotas_add_json(const struct config *config, struct buf *b);

#endif
