/* ticks: what the janitor does about schedules: the jobs of the ticks that are due.
 *
 * Threads: the janitor's, whose link it is. */
#ifndef BELAY_WORKERS_TICKS_H
#define BELAY_WORKERS_TICKS_H

#include "db/link.h"

struct node;

/* Makes them. Answers in how many ms to look again: when the next one comes, and after
 * poll_seconds in any case. */
int64_t ticks_make(struct link *link, struct node *node);

#endif
