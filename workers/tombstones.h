/* tombstones: requests to stop jobs that are not watched yet, for a while.
 *
 * A request may be faster than the claim's answer. Whoever has the list locks it; the
 * abort table does. A stone that was taken is the caller's, and goes with
 * tombstone_free(). */
#ifndef BELAY_WORKERS_TOMBSTONES_H
#define BELAY_WORKERS_TOMBSTONES_H

#include "workers/node.h"

struct tombstone {
    struct tombstone *next;
    struct abort_order order; /* its texts are the two below */
    char *reason, *actor;
    int64_t until_ms;
};

struct tombstones {
    struct tombstone *first; /* the newest */
    int n;
};

void tombstones_keep(struct tombstones *t, const struct abort_order *order);
struct tombstone *tombstones_take(struct tombstones *t, int64_t job_id, int attempt);
void tombstone_free(struct tombstone *stone); /* NULL is fine */
void tombstones_release(struct tombstones *t);

#endif
