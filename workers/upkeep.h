/* upkeep: what the janitor does so that the database neither fills up nor runs out of
 * partitions: it makes partitions ahead, and removes idempotency keys that have expired
 * and what is older than its retention.
 *
 * Every node may do all of it at any time. Threads: the janitor's, whose link it is. */
#ifndef BELAY_WORKERS_UPKEEP_H
#define BELAY_WORKERS_UPKEEP_H

#include "db/link.h"

#include <stdint.h>

struct node;

/* How far the present walks have come, over ended jobs and over the audit trail. All zero
 * is the beginning. */
struct upkeep {
    int64_t jobs_after, trail_after;
    int64_t jobs_removed, events_removed; /* in these walks */
    int64_t often_at_ms; /* when partitions and keys are looked at again */
};

/* One bounded step. Answers in how many ms the next one is due: soon within a walk. */
int64_t upkeep_step(struct upkeep *u, struct link *link, const struct node *node);

#endif
