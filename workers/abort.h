/* abort: which claimed jobs were asked to stop.
 *
 * Every job of this node is watched from its claim to its written end. While it runs it
 * has a slot: a cell in memory that threads and child processes share. Only the signal
 * side (local shortcut, listener, poll, heartbeat, shutdown) writes requests; reading is
 * one relaxed load, so a task may call job_should_abort() as often as it likes.
 *
 *     abort_watch_begin(table, &job->watch);                 claimed
 *     if (abort_watch_start(table, &job->watch, slot))       on its thread, first thing
 *         ... run it ...
 *     abort_watch_stop(table, &job->watch, &when, &seen);    its code has stopped
 *     abort_watch_end(table, &job->watch);                   its end is written
 *
 * Threads: any; the table has a lock of its own, and reading a cell takes none. A request
 * for a job that is not watched yet is kept for ABORT_TOMBSTONE_MS and found by
 * abort_watch_begin(). A watch is borrowed from begin to end. */
#ifndef BELAY_WORKERS_ABORT_H
#define BELAY_WORKERS_ABORT_H

#include "workers/cells.h"
#include "workers/node.h"
#include "workers/task.h"

#include <stddef.h>

enum { ABORT_TOMBSTONE_MS = 60000 };

struct abort_table;

/* What a job that runs has: its cell, and a descriptor that becomes readable with the
 * request (-1 until somebody asks for it). Threads have theirs for their life. */
struct abort_slot {
    struct abort_cell *cell;
    int fd;
    /* NULL, or called with each request, also a repeated one, under the table's lock. */
    void (*told)(struct abort_slot *slot);
};

/* One claimed job. The first part is the caller's, set before abort_watch_begin(). */
struct abort_watch {
    int64_t job_id, lease, worker_id;
    int attempt;
    const struct task *task; /* NULL: not known here */
    int64_t grace_ms; /* where a request names none; INT64_MAX: nothing enforces it */

    /* the table's, under its lock */
    struct abort_watch *next, *due_next;
    struct abort_slot *slot;      /* while it runs */
    bool requested, due, ignored; /* ignored: abort_take_ignored() has told it */
    int requests;                 /* how often it was asked for */
    enum abort_cause cause;
    char *reason, *actor;
    int64_t asked_us;        /* clock_us() when it was asked for */
    int64_t requested_us;    /* and when this node learned of it */
    int64_t kill_at_us;      /* INT64_MAX: never */
    int64_t acknowledged_us; /* 0: not yet */
};

enum err abort_table_new(int n_slots, struct abort_table **out_table) MUST_CHECK;
void abort_table_free(struct abort_table *t);
struct abort_slot *abort_slot(struct abort_table *t, int i);
/* The memory of all cells, for child processes. */
const struct cells *abort_cells(const struct abort_table *t);

void abort_watch_begin(struct abort_table *t, struct abort_watch *w);
/* False: an abort came before the start, so it must not start. */
bool abort_watch_start(struct abort_table *t, struct abort_watch *w,
                       struct abort_slot *slot);
/* Says when the request reached the code and when the code saw it; 0: it did not. */
void abort_watch_stop(struct abort_table *t, struct abort_watch *w,
                      int64_t *out_delivered_us, int64_t *out_acknowledged_us);
void abort_watch_end(struct abort_table *t, struct abort_watch *w);

/* A descriptor for poll(), readable once an abort of `w` was asked for; -1 without. */
int abort_watch_fd(struct abort_table *t, struct abort_watch *w);
/* The task has seen the request now. */
void abort_watch_acknowledge(struct abort_table *t, struct abort_watch *w);
/* False while no abort was asked for. The texts live until abort_watch_end(). */
bool abort_watch_info(struct abort_table *t, const struct abort_watch *w,
                      struct abort_info *out_info);

enum abort_reached {
    ABORT_UNKNOWN,     /* not watched: kept as a tombstone */
    ABORT_WAITING,     /* claimed, and has not started: take it out */
    ABORT_TOLD,        /* its code can see it now */
    ABORT_TOLD_BEFORE, /* nothing new, but perhaps a shorter grace */
};
enum abort_reached abort_request(struct abort_table *t, const struct abort_order *order);
/* All jobs of this worker that run. Returns how many. */
int abort_request_all(struct abort_table *t, int64_t worker_id, enum abort_cause cause);

/* Running jobs that were asked to stop before then, by clock_us(), and whose tasks have
 * not looked since; each once. Returns how many, at most `most`. Costs nothing while
 * there is no request that was not seen. */
struct abort_ignored {
    int64_t job_id;
    int attempt;
    const struct task *task;
};
int abort_take_ignored(struct abort_table *t, int64_t before_us,
                       struct abort_ignored *out_ignored, int most);

/* What is to be written of requests that have reached a job, or that a task has seen. */
struct abort_stage {
    int64_t job_id, worker_id;
    int attempt;
    int64_t delivered_us, acknowledged_us; /* 0: not yet */
};
int abort_take_stages(struct abort_table *t, struct abort_stage *out_stages, int most);
bool abort_has_stages(struct abort_table *t);

/* The leases of all watched jobs of a worker as an array literal, "{7,9}". */
void abort_add_leases(struct abort_table *t, int64_t worker_id, struct buf *b);

#endif
