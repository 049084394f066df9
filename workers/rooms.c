/* A statement for each job that ends would be the price of a room that is always full: so
 * it is half empty before it is filled again. */
#include "workers/rooms.h"

#include "server/core/clock.h"
#include "server/core/config.h"
#include "workers/parts.h"

/* most: how many run at a time; average_us: how long they take. */
static struct room room_of(const struct claims *c, int64_t most, int64_t average_us,
                           int n_local)
{
    int64_t prefetch = c->node->options.config->prefetch;
    struct room room = {.free = most > n_local ? most - n_local : 0};

    if (average_us > 0 && average_us < CLAIM_AHEAD_MS * US_PER_MS)
        room.ahead = most * CLAIM_AHEAD_MS * US_PER_MS / average_us;
    if (room.ahead > prefetch)
        room.ahead = prefetch;
    room.all = most + room.ahead - n_local;
    if (room.free == 0 && room.all <= room.ahead / 2 && room.all < CLAIM_MOST)
        room.all = 0;
    return room;
}

struct rooms rooms_look(const struct claims *c, const struct claims_local *local)
{
    const struct config *config = c->node->options.config;

    return (struct rooms){
        .sync = room_of(c, config->concurrency, c->average_us, local->sync),
        .async =
            room_of(c, config->async_concurrency, c->async_average_us, local->async).all};
}
