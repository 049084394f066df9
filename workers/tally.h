/* tally: what this node has counted of each of its tasks, since its start.
 *
 * Threads: each counts where it is, and anybody may read; every field is atomic for
 * itself, and none is read on a hot path. */
#ifndef BELAY_WORKERS_TALLY_H
#define BELAY_WORKERS_TALLY_H

#include "server/core/histogram.h"
#include "workers/ends.h"

enum tally_outcome {
    TALLY_SUCCEEDED,
    TALLY_FAILED,
    TALLY_CANCELLED, /* claimed, and not started */
    TALLY_ABORTED,
    TALLY_RETRIED,  /* failed, or took too long, and waits for its next attempt */
    TALLY_RELEASED, /* went back because the node stops */
    TALLY_OUTCOMES
};

struct task_tally {
    _Atomic int64_t stalls;  /* ran for more than 0.1 s on the loop without an await */
    _Atomic int64_t ignored; /* did not look for 5 s whether they were to abort */
    _Atomic int64_t ended[TALLY_OUTCOMES];
    struct histogram waited; /* from when it could start to the start of its code */
    struct histogram run;    /* from there to its end */
    /* Of aborts: from the request until it had reached the code, until the code saw it,
     * and until the code had stopped. */
    struct histogram delivered, acknowledged, stopped;
};

/* Its code is about to start. */
void tally_start(struct task_tally *t, const struct job *job);
/* What became of it has been written, or was stale and counts nothing; NULL: of a task
 * that this node does not know. */
void tally_end(struct task_tally *t, const struct job *job,
               const struct ends_answer *answer);
/* Its code has stopped. Counts what an abort took, if one had reached it. */
void tally_abort(struct task_tally *t, const struct job *job);

#endif
