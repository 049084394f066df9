/* node: the worker side of this process, as seen by handlers/ and main.
 *
 * Threads: node_open(), node_close() and node_free() from main; the rest from any thread,
 * and none of it blocks. */
#ifndef BELAY_WORKERS_NODE_H
#define BELAY_WORKERS_NODE_H

#include "server/core/buf.h"
#include "server/core/config.h"
#include "server/core/err.h"
#include "workers/task.h"

#include <stddef.h>

struct node;

struct node_options {
    const struct config *config; /* borrowed */
    const char *url;             /* the database */
    const char *listen_url;
    const struct task *const
        *tasks; /* all that this node can run, ends in NULL; borrowed */
    /* Called after the end of these jobs has been committed, from a worker-side thread;
     * must not block. For Prefer: wait. */
    void (*on_ended)(void *arg, const int64_t *ids, size_t n);
    void *arg;
};

/* Starts the threads; succeeds while the database is away. */
enum err node_open(const struct node_options *options, struct node **out_node,
                   struct buf *why) MUST_CHECK;

/* A job was committed to this queue: claim soon, and tell other nodes (coalesced). */
void node_wake(struct node *node, const char *queue, int n_jobs);
/* A job was scheduled, or has a deadline: the calendars are looked at again. */
void node_wake_scheduled(struct node *node);
/* A bulk request was committed: begin soon. */
void node_wake_sweeper(struct node *node);
/* Aborts were committed for jobs that may run here: read them from the database now. */
void node_poll_aborts(struct node *node);
/* The same, without a round trip, for one that a statement of this node has just
 * committed. Unknown jobs are kept as tombstones. */
struct abort_order {
    int64_t job_id, worker_id;
    int attempt;
    enum abort_cause cause;
    const char *reason, *actor; /* copied */
    int64_t grace_ms;           /* < 0: the task's own */
    int64_t asked_us;           /* when it was asked for, by clock_us(); 0: just now */
    int requests;               /* how often it was asked for, where that is known */
    bool again;                 /* a further request, whatever was asked before */
};
void node_abort(struct node *node, const struct abort_order *order);

/* The tasks, ends in NULL; and one by name, or NULL. */
const struct task *const *node_tasks(const struct node *node);
const struct task *node_task(const struct node *node, const char *name);

struct node_status {
    bool database_up, listening, draining;
    int running, waiting; /* jobs in threads; claimed and not started */
    int64_t worker_id;    /* 0: not registered */
    int64_t stale_writes, rescued;
};
void node_status(struct node *node, struct node_status *out);

/* Nothing is due that this node could start now, and nothing runs here. One that is so
 * twice in a row has not just been told of a job. */
bool node_is_idle(struct node *node);

/* What has been counted of one of its tasks (tally.h); NULL: it is none. */
struct task_tally;
struct task_tally *node_tally(const struct node *node, const struct task *task);

/* SIGTERM: stop claiming, give back what has not started, go on with what runs. */
void node_drain(struct node *node);
/* Aborts what still runs with cause shutdown, waits for it (grace_seconds + 2), writes
 * all ends, and stops all threads that do work. Returns how many jobs were still running
 * at the end: their threads go with the process, and their jobs are rescued when the
 * lease is over. The node can be asked until node_free(). */
int node_close(struct node *node);
/* After node_close(), when nobody asks it any more. */
void node_free(struct node *node);

#endif
