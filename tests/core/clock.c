#include "server/core/clock.h"

#include <criterion/criterion.h>

enum { DRAWS = 2000 };

static int64_t most_of(int attempt, int64_t base_ms, int64_t cap_ms)
{
    int64_t most = 0;

    for (int i = 0; i < DRAWS; i++) {
        int64_t ms = backoff_ms(attempt, base_ms, cap_ms);
        cr_assert_geq(ms, 0);
        most = ms > most ? ms : most;
    }
    return most;
}

Test(clock, never_goes_back)
{
    int64_t last = clock_us();

    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_us();
        cr_assert_geq(now, last);
        last = now;
    }
}

Test(clock, a_sleep_is_not_shorter_than_asked)
{
    int64_t before = clock_us();

    sleep_ms(20);
    cr_assert_geq(clock_us() - before, 20 * US_PER_MS);
}

/* The chance that 2,000 draws miss the upper tenth is below 10^-90. */
Test(clock, backoff_doubles_and_is_drawn_from_the_whole_range)
{
    for (int attempt = 0; attempt < 6; attempt++) {
        int64_t ceiling = 1000LL << attempt, most = most_of(attempt, 1000, 3600000);
        cr_assert_leq(most, ceiling);
        cr_assert_gt(most, ceiling * 9 / 10);
    }
}

Test(clock, backoff_stops_at_its_cap)
{
    cr_assert_leq(most_of(30, 1000, 60000), 60000);
    cr_assert_leq(most_of(1000000, 1000, 60000), 60000);
    cr_assert_leq(most_of(-1, 1000, 60000), 60000);
}

Test(clock, no_base_is_no_wait)
{
    cr_assert_eq(most_of(0, 0, 0), 0);
    cr_assert_eq(most_of(5, 0, 60000), 0);
}
