#include "workers/deadlines.h"

#include <stdlib.h>

enum { ROOM_FIRST = 64 };

void deadlines_release(struct deadlines *h)
{
    free(h->heap);
    *h = (struct deadlines){.n = 0};
}

static void put(struct deadlines *h, int place, struct deadline *d)
{
    h->heap[place - 1] = d;
    d->place = place;
}

/* Moves `d`, whose place is empty, up or down to where it belongs. */
static void settle(struct deadlines *h, int place, struct deadline *d)
{
    while (place > 1 && h->heap[place / 2 - 1]->at_us > d->at_us) {
        put(h, place, h->heap[place / 2 - 1]);
        place /= 2;
    }
    for (int child = 2 * place; child <= h->n; child = 2 * place) {
        if (child < h->n && h->heap[child]->at_us < h->heap[child - 1]->at_us)
            child++;
        if (h->heap[child - 1]->at_us >= d->at_us)
            break;
        put(h, place, h->heap[child - 1]);
        place = child;
    }
    put(h, place, d);
}

bool deadline_set(struct deadlines *h, struct deadline *d, int64_t at_us)
{
    d->at_us = at_us;
    if (d->place == 0) {
        if (h->n == h->room) {
            int room = h->room > 0 ? 2 * h->room : ROOM_FIRST;
            struct deadline **heap = realloc(h->heap, (size_t)room * sizeof *heap);
            if (heap == NULL)
                return false;
            h->heap = heap;
            h->room = room;
        }
        d->place = ++h->n;
    }
    settle(h, d->place, d);
    return true;
}

void deadline_clear(struct deadlines *h, struct deadline *d)
{
    if (d->place == 0)
        return;
    struct deadline *last = h->heap[--h->n];
    if (last != d)
        settle(h, d->place, last);
    d->place = 0;
}

struct deadline *deadlines_due(struct deadlines *h, int64_t now_us)
{
    struct deadline *first = h->n > 0 ? h->heap[0] : NULL;

    if (first == NULL || first->at_us > now_us)
        return NULL;
    deadline_clear(h, first);
    return first;
}

int64_t deadlines_next_us(const struct deadlines *h)
{
    return h->n > 0 ? h->heap[0]->at_us : INT64_MAX;
}
