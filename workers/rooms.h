/* rooms: how many jobs the threads of a node may take, and how many its loop.
 *
 *     struct rooms rooms = rooms_look(&claims, &local);
 *
 * What threads are free for starts at once; ahead of that they take what they will do in
 * CLAIM_AHEAD_MS, as far as the jobs that ended lately tell. */
#ifndef BELAY_WORKERS_ROOMS_H
#define BELAY_WORKERS_ROOMS_H

#include "workers/claims.h"

struct room {
    int64_t free, ahead, all;
};

struct rooms {
    struct room sync;
    int64_t async;
};

struct rooms rooms_look(const struct claims *c, const struct claims_local *local);

#endif
