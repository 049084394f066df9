/* job: one claimed job, from its claim to its written end.
 *
 * It is owned by one part of the node at a time: the dispatcher makes it, the pool keeps
 * it until a thread is free, that thread runs it, and the dispatcher writes its end and
 * frees it. Whoever owns it may use every field; only `watch` belongs to the abort table.
 */
#ifndef BELAY_WORKERS_JOB_H
#define BELAY_WORKERS_JOB_H

#include "db/db.h"
#include "workers/abort.h"
#include "workers/deadlines.h"
#include "workers/task.h"

/* What is to be written of its end. */
enum job_fate {
    FATE_FINISHED, /* `status` says how */
    FATE_RETRY,    /* failed; again in retry_ms while attempts are left */
    FATE_TIMEOUT,  /* the same, because it took too long and was stopped */
    FATE_SHUTDOWN, /* stopped because the node stops: does not count */
    FATE_UNSTARTED,
};

enum { TRACEPARENT_BYTES = 56 }; /* with the NUL */

struct job {
    struct job *next, *previous; /* in the list of its owner */
    int64_t id, lease, worker_id;
    int attempt; /* the number of this start */
    int counted; /* of max_attempts, this one included */
    int max_attempts;
    int priority;
    int64_t timeout_ms; /* of this attempt; 0: none */
    struct deadline timeout;
    bool has_lock;
    const struct task *task;                  /* NULL: this node does not know it */
    const char *queue, *task_name, *args;     /* behind the struct */
    const char *options;                      /* likewise, JSON; NULL: none */
    char traceparent[TRACEPARENT_BYTES];      /* "": none */
    int64_t claimed_us, started_us, ended_us; /* clock_us(); 0: not yet */
    int64_t waited_us; /* from when it could start until it was claimed */
    struct abort_watch watch;
    struct quota *quotas[2];   /* of its queue and its task, where they have one */
    struct progress *progress; /* the progress board's, until the job is freed; or NULL */

    enum job_fate fate;
    const char
        *status; /* of FATE_FINISHED: "succeeded", "failed", "aborted", "cancelled" */
    char *result, *error, *message; /* JSON, JSON, words; NULL: none */
    int64_t result_len;
    bool killed;
    char *changes;    /* JSON: what shall be different then (next.h); NULL: nothing */
    char *new_queue;  /* of that; NULL: the same */
    int64_t retry_ms; /* < 0: not again */
    int64_t delivered_us, acknowledged_us; /* of its abort, if any reached its code */
};

/* Lists of jobs: in order, with both ends. */
struct job_list {
    struct job *first, *last;
    int n;
};
void job_list_add(struct job_list *l, struct job *job);
void job_list_remove(struct job_list *l, struct job *job);
struct job *job_list_take(struct job_list *l); /* the first, or NULL */
void job_list_move(struct job_list *to, struct job_list *from);
/* Lists of jobs that wait to be started, in the order in which they are. */
void job_list_insert(struct job_list *l, struct job *job);
struct job *job_list_take_id(struct job_list *l, int64_t id); /* or NULL */
/* All that were claimed before then, by clock_us(). */
void job_list_take_old(struct job_list *l, int64_t claimed_before_us,
                       struct job_list *out);

/* Whether it runs on the loop, and not on a thread of the pool. */
static inline bool job_is_async(const struct job *job)
{
    return job->task != NULL && job->task->kind == TASK_ASYNC;
}

/* A row of job_claim.sql as a job, whose timeout_ms is -1 where it has none of its own;
 * NULL when there is no memory. */
struct job *job_of_row(const struct db_rows *rows, int row);
void job_free(struct job *job); /* NULL is fine */

/* Replaces what the end says. */
void job_set_error(struct job *job, const char *kind, const char *message);

#endif
