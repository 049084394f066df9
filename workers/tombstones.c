#include "workers/tombstones.h"

#include "server/core/clock.h"
#include "workers/abort.h"

#include <stdlib.h>
#include <string.h>

enum { TOMBSTONES_MAX = 4096 };

static char *copy_of(const char *text)
{
    return text != NULL && *text != '\0' ? strdup(text) : NULL;
}

void tombstone_free(struct tombstone *stone)
{
    if (stone == NULL)
        return;
    free(stone->reason);
    free(stone->actor);
    free(stone);
}

void tombstones_release(struct tombstones *t)
{
    struct tombstone *stone = t->first;

    while (stone != NULL) {
        struct tombstone *next = stone->next;
        tombstone_free(stone);
        stone = next;
    }
    *t = (struct tombstones){.n = 0};
}

/* Newest first, so all from the first old one on are old. */
static void drop_old(struct tombstones *t)
{
    struct tombstone **link = &t->first;
    int64_t now_ms = clock_ms();
    int kept = 0;

    while (*link != NULL && (*link)->until_ms > now_ms && kept < TOMBSTONES_MAX) {
        link = &(*link)->next;
        kept++;
    }
    struct tombstones old = {.first = *link};
    *link = NULL;
    t->n = kept;
    tombstones_release(&old);
}

void tombstones_keep(struct tombstones *t, const struct abort_order *order)
{
    struct tombstone *stone = malloc(sizeof *stone);

    drop_old(t);
    if (stone == NULL)
        return; /* the poll will bring it again */
    *stone = (struct tombstone){.next = t->first,
                                .order = *order,
                                .reason = copy_of(order->reason),
                                .actor = copy_of(order->actor),
                                .until_ms = clock_ms() + ABORT_TOMBSTONE_MS};
    stone->order.reason = stone->reason;
    stone->order.actor = stone->actor;
    t->first = stone;
    t->n++;
}

struct tombstone *tombstones_take(struct tombstones *t, int64_t job_id, int attempt)
{
    for (struct tombstone **link = &t->first; *link != NULL; link = &(*link)->next) {
        struct tombstone *stone = *link;
        if (stone->order.job_id == job_id && stone->order.attempt == attempt) {
            *link = stone->next;
            t->n--;
            return stone;
        }
    }
    return NULL;
}
