/* families: what the janitor does about ends that other jobs wait to be told of: children
 * of what was cancelled, and jobs that depend on what has ended.
 *
 * The database decides (db/migrations/0015_family.sql); this is its steps, and who is to
 * be woken after each. Threads: the janitor's, whose link it is. */
#ifndef BELAY_WORKERS_FAMILIES_H
#define BELAY_WORKERS_FAMILIES_H

#include "db/link.h"

struct node;

/* One step. Answers in how many ms to come back: 0 while there is more to do, else after
 * poll_seconds. *out_aborting: a job was asked to stop, and may run here. */
int64_t families_sweep(struct link *link, struct node *node, bool *out_aborting);

#endif
