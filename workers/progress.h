/* progress: how far running jobs are, until the dispatcher writes it.
 *
 * Only the newest report of a job is kept, so a task may report in a tight loop. Threads:
 * any; one lock. What a job has reported last is written before its end is. */
#ifndef BELAY_WORKERS_PROGRESS_H
#define BELAY_WORKERS_PROGRESS_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PROGRESS_MESSAGE_BYTES = 501,
    PROGRESS_SHIELD_BYTES = 101,
    PROGRESS_EVERY_MS = 250
};

struct job;
struct progress_board;

/* One job's newest report. */
struct progress {
    struct progress *next;
    int64_t job_id, lease, worker_id;
    bool waits;              /* it is in the board's list */
    double percent;          /* < 0: none was reported */
    int64_t shield_since_us; /* clock_us() */
    char message[PROGRESS_MESSAGE_BYTES];
    char shield[PROGRESS_SHIELD_BYTES]; /* empty: none */
};

enum err progress_board_new(struct progress_board **out_board) MUST_CHECK;
void progress_board_free(struct progress_board *b);

/* True when the dispatcher has to be told that there is something to write. */
bool progress_report(struct progress_board *b, struct job *job, double percent,
                     const char *message);
/* The same of a section that an abort does not reach: its name, cut at 100 bytes, and
 * since when, by clock_us(); NULL: it is over. */
bool progress_shield(struct progress_board *b, struct job *job, const char *name,
                     int64_t since_us);
/* The job's code has stopped: what it reported last is wanted before its end. */
void progress_hurry(struct progress_board *b, const struct job *job);

/* When the next report may be written, by clock_ms(); INT64_MAX: there is none. */
int64_t progress_due_ms(struct progress_board *b);
/* Copies at most `most` reports to `out`. */
int progress_take(struct progress_board *b, struct progress *out, int most);

#endif
