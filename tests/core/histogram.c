#include "server/core/histogram.h"

#include <criterion/criterion.h>

Test(histogram, a_time_is_counted_in_the_first_bucket_that_holds_it)
{
    struct histogram h = {.sum_us = 0};

    histogram_add(&h, 1000);
    histogram_add(&h, 1001);
    histogram_add(&h, -5);
    cr_expect_eq(histogram_up_to(&h, 0), 2);
    cr_expect_eq(histogram_up_to(&h, 1), 3);
    cr_expect_eq(atomic_load(&h.sum_us), 2001);
}

Test(histogram, what_is_longer_than_all_bounds_is_counted_at_the_end)
{
    struct histogram h = {.sum_us = 0};

    histogram_add(&h, INT64_C(7200) * 1000000);
    cr_expect_eq(histogram_up_to(&h, HISTOGRAM_BOUNDS - 1), 0);
    cr_expect_eq(histogram_up_to(&h, HISTOGRAM_BOUNDS), 1);
}

Test(histogram, bounds_rise)
{
    for (int i = 1; i < HISTOGRAM_BOUNDS; i++)
        cr_expect_lt(histogram_bounds_us[i - 1], histogram_bounds_us[i]);
}
