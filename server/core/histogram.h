/* histogram: how long something took, counted in buckets.
 *
 *     static struct histogram h;
 *     histogram_add(&h, clock_us() - began_us);
 *
 * All have the same bounds, from a millisecond to an hour, so that they can be added up
 * over tasks and nodes. Threads: any; adding is two relaxed atomic additions and no lock,
 * so a reader may see a sum that is one addition ahead of the counts. All zero is
 * empty. */
#ifndef BELAY_CORE_HISTOGRAM_H
#define BELAY_CORE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 16 };

/* The upper bounds of all buckets but the last, which has none; rising, in
 * microseconds. */
extern const int64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

struct histogram {
    _Atomic int64_t counts[HISTOGRAM_BOUNDS + 1];
    _Atomic int64_t sum_us;
};

/* Negative times, as of clocks that differ, count as 0. */
void histogram_add(struct histogram *h, int64_t us);

/* Of all buckets up to that one; of HISTOGRAM_BOUNDS: all. */
int64_t histogram_up_to(const struct histogram *h, int bucket);

#endif
