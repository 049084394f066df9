/* deadlines: points in time, of which the next is found at once.
 *
 *     deadline_set(&heap, &co->deadline, clock_us() + 5000);
 *     while ((d = deadlines_due(&heap, clock_us())) != NULL)
 *         ...
 *
 * A binary heap of pointers; each deadline knows where it stands, so that it can be taken
 * out. A deadline is embedded in what it belongs to, and zero is one that is not set.
 * Rejected: a uv_timer_t each, which is closed only in the loop's next turn, so its
 * memory would have to outlive the stack that it waits for. Threads: one. */
#ifndef BELAY_WORKERS_DEADLINES_H
#define BELAY_WORKERS_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

struct deadline {
    int64_t at_us;                   /* by clock_us() */
    int place;                       /* in the heap, from 1; 0: not set */
    void (*due)(struct deadline *d); /* not set any more when it is called */
};

struct deadlines {
    struct deadline **heap;
    int n, room;
};

void deadlines_release(struct deadlines *h);
/* Sets or moves it; false without memory. */
bool deadline_set(struct deadlines *h, struct deadline *d, int64_t at_us);
void deadline_clear(struct deadlines *h, struct deadline *d);
/* Takes out one whose time has come; NULL: none. */
struct deadline *deadlines_due(struct deadlines *h, int64_t now_us);
/* When the next is due; INT64_MAX: none. */
int64_t deadlines_next_us(const struct deadlines *h);

#endif
