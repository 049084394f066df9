#include "server/core/histogram.h"

const int64_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
    1000,   2500,    5000,    10000,   25000,    50000,    100000,    250000,
    500000, 1000000, 2500000, 5000000, 10000000, 60000000, 600000000, 3600000000};

void histogram_add(struct histogram *h, int64_t us)
{
    int bucket = 0;

    us = us > 0 ? us : 0;
    while (bucket < HISTOGRAM_BOUNDS && us > histogram_bounds_us[bucket])
        bucket++;
    atomic_fetch_add_explicit(&h->counts[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

int64_t histogram_up_to(const struct histogram *h, int bucket)
{
    int64_t n = 0;

    for (int i = 0; i <= bucket; i++)
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    return n;
}
