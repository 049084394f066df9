/* presence: tells the database that this worker lives, and registers it: at the start,
 * and again when it was given up.
 *
 * Threads: the janitor's, whose link it is. */
#ifndef BELAY_WORKERS_PRESENCE_H
#define BELAY_WORKERS_PRESENCE_H

#include "db/link.h"

struct node;

/* Registers, or tells. *out_aborts: there are open receipts of jobs that run here. A
 * worker that was given up meanwhile drops what waits, tells what runs to stop, and
 * registers under a new id (D8). */
void presence_tell(struct link *link, struct node *node, bool *out_aborts);

/* The last word: nothing runs any more. */
void presence_end(struct link *link, struct node *node);

#endif
