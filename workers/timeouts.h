/* timeouts: which running jobs have taken too long.
 *
 *     timeouts_start(node->timeouts, job)        its code begins
 *     n = timeouts_take(node->timeouts, late, most)
 *     timeouts_stop(node->timeouts, job)         its code has stopped
 *
 * Only measures. What follows is an abort like any other, with the cause `timeout`: the
 * janitor asks the database for it (janitor.c). A job without a timeout costs nothing
 * here. Threads: any; one lock. */
#ifndef BELAY_WORKERS_TIMEOUTS_H
#define BELAY_WORKERS_TIMEOUTS_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stdint.h>

struct job;
struct timeouts;

/* A job that is late. */
struct timeouts_late {
    int64_t job_id, worker_id, timeout_ms;
    int attempt;
};

enum err timeouts_new(struct timeouts **out_timeouts) MUST_CHECK;
void timeouts_free(struct timeouts *t);

/* Counts from job->started_us. True when it is the next that will be due: whoever waits
 * for timeouts_next_ms() has to look again. */
bool timeouts_start(struct timeouts *t, struct job *job);
void timeouts_stop(struct timeouts *t, struct job *job);

/* Takes out at most `most` that are due. */
int timeouts_take(struct timeouts *t, struct timeouts_late *out, int most);
/* When the next is due, by clock_ms(); INT64_MAX: none. */
int64_t timeouts_next_ms(struct timeouts *t);

#endif
