/* parts: what a node is made of, for the files of workers/ that are its parts.
 *
 *     listener -> janitor -> abort table -> running tasks
 *     dispatcher -> pool -> runner -> dispatcher
 *
 * Threads: the pool's, the loop's, the dispatcher's, the janitor's, the sweeper's,
 * the listener's. The parts call each other's functions, each of which takes its own lock
 * and blocks on nothing else. Locks never nest. */
#ifndef BELAY_WORKERS_PARTS_H
#define BELAY_WORKERS_PARTS_H

#include "db/listen.h"
#include "workers/abort.h"
#include "workers/job.h"
#include "workers/node.h"
#include "workers/progress.h"
#include "workers/quotas.h"
#include "workers/timeouts.h"

#include <stdatomic.h>

struct node {
    struct node_options options;
    struct quotas quotas;
    struct abort_table *aborts;
    struct progress_board *progress;
    struct timeouts *timeouts;
    struct pool *pool;
    struct async *async;
    struct isolates *isolates;
    struct dispatcher *dispatcher;
    struct janitor *janitor;
    struct sweeper *sweeper;
    struct listener *listener;

    _Atomic int64_t worker_id; /* 0: not registered, or given up */
    /* Until when nobody can have taken this worker's jobs away (clock_ms()): the last
     * heartbeat that was answered, plus the lease. Nothing starts after it. */
    _Atomic int64_t sure_until_ms;
    bool has_stopped; /* no thread of a task is left */
    atomic_bool draining;
    atomic_bool nothing_left; /* the last look, from the start, left nothing to claim */
    atomic_bool nothing_due;  /* the janitor has moved all that is due */
    _Atomic int64_t stale_writes, rescued;
    struct task_tally *tallies; /* one for each of options.tasks */
};

/* -- pool: threads that run jobs ----------------------------------------------------- */

struct pool;
enum err pool_open(struct node *node, struct pool **out_pool) MUST_CHECK;
/* Takes the jobs of the list; they start in the order of priority, then id. */
void pool_give(struct pool *p, struct job_list *jobs);
/* A job that has not started, taken out; NULL: it has, or is not here. */
struct job *pool_take_out(struct pool *p, int64_t job_id);
/* All jobs that have not started and were claimed before that clock_us(). */
void pool_take_waiting(struct pool *p, int64_t claimed_before_us, struct job_list *out);
struct pool_count {
    int threads, running, waiting; /* threads: how many can run at a time */
};
struct pool_count pool_count(struct pool *p);
/* sure_until_ms has moved: threads that held back may start. */
void pool_poke(struct pool *p);
/* Ends the threads that are idle; false when one still runs a job. */
bool pool_close(struct pool *p);
void pool_free(struct pool *p); /* after dispatcher and janitor, which ask it */

/* -- async: the loop that runs async jobs -------------------------------------------- */

struct async;
enum err async_open(struct node *node, struct async **out_async) MUST_CHECK;
/* The same as the pool's functions of the same name. */
void async_give(struct async *a, struct job_list *jobs);
struct job *async_take_out(struct async *a, int64_t job_id);
void async_take_waiting(struct async *a, int64_t claimed_before_us, struct job_list *out);
struct pool_count async_count(struct async *a);
void async_poke(struct async *a);
/* Names a task that has the loop for itself for too long, and is not back yet. */
void async_watch(struct async *a);
bool async_close(struct async *a);
void async_free(struct async *a);

/* -- runs: pool and loop as one ------------------------------------------------------ */

/* Each job goes where its task's kind says. */
void runs_give(struct node *node, struct job_list *jobs);
struct job *runs_take_out(struct node *node, int64_t job_id);
void runs_take_waiting(struct node *node, int64_t claimed_before_us,
                       struct job_list *out);
struct pool_count runs_count(struct node *node);
void runs_poke(struct node *node);
/* False while it drains, or may have lost its jobs. */
bool runs_may_start(const struct node *node);

/* Names tasks that have not looked at their abort for 5 s, or keep the loop. From time to
 * time, while there are jobs. */
void neglect_look(struct node *node);

/* -- dispatcher: claims and writes ends ---------------------------------------------- */

struct dispatcher;
/* Made before the pool, which hands in ends; started after the janitor, which it tells.
 */
enum err dispatcher_new(struct node *node, struct dispatcher **out_d) MUST_CHECK;
enum err dispatcher_start(struct dispatcher *d) MUST_CHECK;
/* There may be jobs to claim. */
void dispatcher_wake(struct dispatcher *d);
/* There is something to write. */
void dispatcher_poke(struct dispatcher *d);
/* Jobs whose code has stopped, or that will not start; takes them. */
void dispatcher_end(struct dispatcher *d, struct job *job);
void dispatcher_end_all(struct dispatcher *d, struct job_list *jobs);
/* How many ends are not written yet. */
int dispatcher_unwritten(struct dispatcher *d);
bool dispatcher_is_up(struct dispatcher *d);
/* Ends the thread; what is not written by then is left to the lease. */
void dispatcher_close(struct dispatcher *d);
void dispatcher_free(struct dispatcher *d); /* after the pool's last thread */

/* -- janitor: all periodic work ------------------------------------------------------ */

struct janitor;
enum err janitor_open(struct node *node, struct janitor **out_j) MUST_CHECK;
void janitor_poll_aborts(struct janitor *j);
void janitor_look_at_schedule(struct janitor *j);
/* The next timeout is nearer than it was. */
void janitor_look_at_timeouts(struct janitor *j);
/* Jobs that have a family have ended. */
void janitor_look_at_families(struct janitor *j);
bool janitor_is_up(struct janitor *j);
void janitor_close(struct janitor *j); /* ends the thread */
void janitor_free(struct janitor *j);  /* after everybody who may tell it something */

/* -- sweeper: bulk requests ---------------------------------------------------------- */

struct sweeper;
enum err sweeper_open(struct node *node, struct sweeper **out_s) MUST_CHECK;
void sweeper_wake(struct sweeper *s);
void sweeper_close(struct sweeper *s); /* ends the thread, within a second */
void sweeper_free(struct sweeper *s);  /* after everybody who may wake it */

/* A request has come, by whatever way: to the task, or to the job that has not started.
 */
void node_deliver(struct node *node, const struct abort_order *order);

#endif
