/* task: what the author of a task needs, and nothing else.
 *
 * A task is a function with a name. Belay calls it with a context for one attempt of one
 * job; it does the work and returns one of the results below.
 *
 *     static enum job_result count(struct job_ctx *ctx)
 *     {
 *         for (int i = 0; i < 1000; i++) {
 *             if (job_should_abort(ctx))
 *                 return job_aborted(ctx, "stopped at %d", i);
 *             work(i);
 *             job_progress(ctx, i / 10.0, "%d of 1000", i);
 *         }
 *         return job_ok_json(ctx, "{\"counted\":%d}", 1000);
 *     }
 *     const struct task task_count = {.name = "count", .kind = TASK_SYNC, .run = count};
 *
 * Threads: a task of kind TASK_SYNC runs on one thread of the pool, from start to end;
 * TASK_ASYNC on the loop's thread; TASK_PROCESS on the only thread of a child process.
 * The context belongs to that thread, except job_should_abort(), which any thread of the
 * task may call. Nothing here blocks on the database. Ownership: all that the context
 * hands out is valid until the task returns; all that it is given is copied. Aborting is
 * a request: Belay never kills a thread. A task on a thread that does not look goes on to
 * its end, and the job says so. */
#ifndef BELAY_TASK_H
#define BELAY_TASK_H

#include "workers/await.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#else
#include <stdatomic.h>
#endif

struct job_ctx;

/* How an attempt ended. Made by the functions below, never written by hand. */
enum job_result { JOB_SUCCEEDED, JOB_FAILED, JOB_ABORTED, JOB_RETRY };

/* Where a task runs, and so what an abort can do. */
enum task_kind {
    /* Has a thread of the pool for itself, and is waited for, however long it takes. */
    TASK_SYNC,
    /* Runs on the node's loop, with thousands of others, and waits with the functions of
     * await.h, which an abort ends. */
    TASK_ASYNC,
    /* A sync task that has a child process for itself, whose crash ends this attempt and
     * nothing else. All of task.h works there, and job_should_abort() costs the same.
     * What does not obey an abort is killed when its grace is over. */
    TASK_PROCESS,
    /* A declared command: Belay makes these itself. A thread of the pool waits for its
     * program, which is killed when the grace of an abort is over. */
    TASK_COMMAND
};

/* Which jobs leave nothing but their receipts and events when they have ended. */
enum delete_policy { DELETE_NEVER, DELETE_SUCCESSFUL, DELETE_ALWAYS };

/* How the wait before a further attempt grows with the failures: not, evenly, or to the
 * double of it each time. */
enum retry_kind { RETRY_EXPONENTIAL, RETRY_LINEAR, RETRY_FIXED };

/* Whether chance has a part: the wait is then drawn from 0 to what it would be. */
enum retry_jitter { RETRY_JITTER_BY_KIND, RETRY_JITTER_YES, RETRY_JITTER_NO };

/* When a job whose attempt has failed is tried again; max_attempts says how often. */
struct retry_strategy {
    enum retry_kind kind;
    enum retry_jitter jitter; /* by kind: only where it doubles */
    double wait_seconds;      /* the first wait; 0: the setting, below 0: none */
    double max_wait_seconds;  /* the longest; 0: the setting */
    const char *const *on;    /* the error.kinds that are tried again; ends in NULL.
                               * NULL: all */
};

struct task {
    const char *name; /* [A-Za-z0-9_.:-], 1..128 */
    enum task_kind kind;
    enum job_result (*run)(struct job_ctx *ctx);
    const char *description; /* one line for people; may be NULL */
    int max_attempts;        /* 0: the setting */
    int grace_seconds;       /* 0: the setting */
    int timeout_seconds;     /* of an attempt, where the job says nothing; 0: none */
    int max_jobs_per_child; /* TASK_PROCESS: then the child is replaced; 0: the setting */
    const void *data;       /* for the task's own use: job_task(ctx)->data */
    enum delete_policy delete_policy;   /* of its jobs, where they say nothing */
    const struct retry_strategy *retry; /* where the job has none; NULL: the settings */
};

/* -- is it still wanted? ------------------------------------------------------------- */

#ifdef __cplusplus
typedef uint32_t abort_flag; /* C++ has no _Atomic; in memory it is the same */
static inline uint32_t abort_flag_read(const abort_flag *flag)
{
    return __atomic_load_n(flag, __ATOMIC_RELAXED);
}
#else
typedef _Atomic uint32_t abort_flag;
static inline uint32_t abort_flag_read(const abort_flag *flag)
{
    return atomic_load_explicit(flag, memory_order_relaxed);
}
#endif

/* The cell that says whether to stop. One cache line a running job, in memory that child
 * processes share. Only Belay writes it. */
struct abort_cell {
    abort_flag requested; /* 0, or 1 + enum abort_cause */
    abort_flag seen;      /* set by the first look that found a request */
    char padding[56];
};

/* The first member of every context, so that the question below is one load. */
struct job_ctx_head {
    struct abort_cell *cell;
};

/* Cold half of job_should_abort(): notes when the task first saw the request (receipt:
 * acknowledged_at). */
void job_note_abort_seen(struct job_ctx *ctx);

/* True from the moment that an abort of this job was asked for. One relaxed load (0.3
 * ns): call it as often as you like. */
static inline bool job_should_abort(struct job_ctx *ctx)
{
    struct abort_cell *cell = ((struct job_ctx_head *)(void *)ctx)->cell;

    if (__builtin_expect(abort_flag_read(&cell->requested) == 0, 1))
        return false;
    if (abort_flag_read(&cell->seen) == 0)
        job_note_abort_seen(ctx);
    return true;
}

enum abort_cause {
    ABORT_USER,
    ABORT_TIMEOUT,
    ABORT_DEADLINE,
    ABORT_SHUTDOWN,
    ABORT_SUPERSEDED,
    ABORT_PARENT,
    ABORT_WORKER_LOST,
    ABORT_ADMIN
};

struct abort_info {
    enum abort_cause cause;
    const char *reason;       /* as the caller gave it, or "" */
    const char *actor;        /* or "" */
    int64_t grace_left_ms;    /* until the kill, or an async task's second cancel; never
                               * below 0;    INT64_MAX: nothing follows */
    int64_t since_request_ms; /* since this node learned of it */
};

/* Why and by whom. False, and nothing written, while no abort was asked. */
bool job_abort_info(struct job_ctx *ctx, struct abort_info *out);

/* Sleeps up to `ms`, or until an abort is asked for. True when it slept to its end. */
bool job_sleep(struct job_ctx *ctx, int64_t ms);

/* A file descriptor that becomes readable when an abort is asked for, for poll(); do not
 * read it. -1 when none can be made. */
int job_abort_fd(struct job_ctx *ctx);

/* -- the job ------------------------------------------------------------------------- */

int64_t job_id(const struct job_ctx *ctx);
int job_attempt(const struct job_ctx *ctx); /* from 1 */
int job_max_attempts(const struct job_ctx *ctx);
const char *job_queue(const struct job_ctx *ctx);
const struct task *job_task(const struct job_ctx *ctx);

/* The W3C Trace Context that the job was put in with, to be handed on; NULL: none. */
const char *job_traceparent(const struct job_ctx *ctx);

/* The args: JSON text, exactly as they came; never NULL, "{}" when none were given. */
const char *job_args(const struct job_ctx *ctx);

/* Tells watchers how far it is: percent 0..100, and words (<= 500 bytes; format NULL:
 * none). Written with the next batch, at most a few times a second; only the newest is
 * kept. */
void job_progress(struct job_ctx *ctx, double percent, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One line in the server's log, with the job's id. */
void job_log(struct job_ctx *ctx, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* -- results ------------------------------------------------------------------------- */

/* It worked; no result. */
enum job_result job_ok(struct job_ctx *ctx);

/* It worked, and the result is this JSON text (checked; what is not JSON fails the job
 * with error.kind bad_result). */
enum job_result job_ok_json(struct job_ctx *ctx, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a text that is there already; takes a copy. */
enum job_result job_ok_text(struct job_ctx *ctx, const char *json, int64_t len);

/* It did not work. `kind` is a short stable word for programs ("bad_args"), the message
 * is for people. Tried again while attempts are left, unless an abort was asked for. */
enum job_result job_failed(struct job_ctx *ctx, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* It stopped because it was asked to. The message goes to log, event and receipt. Without
 * an abort request it counts as a failure (error.kind not_asked). */
enum job_result job_aborted(struct job_ctx *ctx, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Not now: run it again in so many seconds, as a further attempt (it counts). */
enum job_result job_retry_in(struct job_ctx *ctx, double seconds, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* From the next attempt on: in another queue, with another priority, or under another
 * lock (NULL: none). What stands when the attempt ends counts, and only where a further
 * one follows that counts: job_retry_in(), a failure or a timeout with attempts left. A
 * job that ends for good stays as it was, and so does one that was asked to stop.
 * False, with a line in the log, and nothing has changed: that is no name of a queue (1
 * to 128 letters, digits and _ . : / -) or no lock (1 to 255 bytes of UTF-8), or there is
 * no memory. */
bool job_next_queue(struct job_ctx *ctx, const char *queue);
bool job_next_priority(struct job_ctx *ctx, int priority);
bool job_next_lock(struct job_ctx *ctx, const char *lock);

/* -- how it gets in ------------------------------------------------------------------ */

/* The number of what this header promises to what was compiled with it. It rises when
 * something here changes its place or its meaning. New functions do not raise it, nor new
 * fields at the end of struct task, of which 0 means what was before. */
#define BELAY_ABI 1

/* Tasks as they were compiled. Written by BELAY_TASKS() and belay_register(). */
struct belay_tasks {
    uint32_t abi;                             /* BELAY_ABI */
    uint32_t task_size, cell_size, info_size; /* of struct task, abort_cell, abort_info */
    const struct task *const *tasks;          /* ends in NULL */
};

#define BELAY_TASKS_OF(list)                                                             \
    {                                                                                    \
        BELAY_ABI, sizeof(struct task), sizeof(struct abort_cell),                       \
            sizeof(struct abort_info), list                                              \
    }

#ifdef __cplusplus
}
#define BELAY_EXTERN extern "C"
#else
#define BELAY_EXTERN extern
#endif

/* BELAY_TASKS(&task_a, &task_b); stands once in a plugin, a shared object that `belay
 * serve --tasks` loads, and names its tasks. */
#define BELAY_TASKS(...)                                                                 \
    static const struct task *const belay_task_list[] = {__VA_ARGS__, NULL};             \
    BELAY_EXTERN const struct belay_tasks belay_tasks                                    \
        __attribute__((visibility("default")));                                          \
    const struct belay_tasks belay_tasks = BELAY_TASKS_OF(belay_task_list)

#endif
