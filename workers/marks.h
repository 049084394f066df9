/* marks: where a claim may begin to look, per priority: the low-water marks.
 *
 * A foreign transaction that stays open keeps PostgreSQL from cleaning up the rows that
 * claims have deleted, and every claim from the start walks over all of them: 20,000 jobs
 * a second fall to 8,000 within half a minute. A claim that begins at the mark does not.
 * What comes in below the mark (late commits, retries, new priorities) is found by a full
 * look, which is made as often as it is cheap: it may take MARKS_SHARE of the time.
 *
 * One thread. */
#ifndef BELAY_WORKERS_MARKS_H
#define BELAY_WORKERS_MARKS_H

#include "server/core/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { MARKS_MAX = 32, MARKS_AGE_MS = 200, MARKS_SHARE = 20 };

struct mark {
    int priority;
    int64_t low, next_low; /* in use; the lowest id of the newest batch */
};

struct marks {
    struct mark mark[MARKS_MAX]; /* by priority, highest first */
    int n;
    int64_t aged_ms, full_at_ms; /* when they were aged; when to look in full */
};

/* True when the next claim has to look from the start. */
bool marks_want_full(const struct marks *m, int64_t now_ms);
/* {"priority": low, ...} for job_claim.sql. */
void marks_add_json(const struct marks *m, struct buf *b);

/* A claim has brought this job. */
void marks_saw(struct marks *m, int priority, int64_t id);
/* After each claim: how long it took, whether it was a full look. */
void marks_note(struct marks *m, bool full, int64_t took_us, int64_t now_ms);

#endif
