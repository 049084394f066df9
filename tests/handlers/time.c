/* tests/fuzz/time.c compares with the C library's calendar; here are the cases that a
 * reader of RFC 3339 would ask about. */
#include "handlers/time.h"

#include <criterion/criterion.h>
#include <string.h>

Test(time, an_instant_with_offset_is_microseconds_since_1970)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T01:00:00.000001+01:00", 1},
        {"1969-12-31T23:59:59Z", -1}, /* -1: refused */
        {"1970-01-01T00:00:00+00:01", -1},
        {"2026-11-23T20:00:00.5+01:00", 1795460400500000},
        {"2026-11-23t19:00:00.500000999z", 1795460400500000},
        {"2024-02-29T00:00:00-00:00", 1709164800000000},
        {"2000-02-29T12:34:56Z", 951827696000000},
        {"9999-12-31T23:59:59.999999Z", 253402300799999999},
        {"2026-11-23T20:00:00+15:59", 1795406460000000},
        {"2026-11-23T20:00:00+16:00", -1},
        {"2026-11-23T20:00:00-23:59", -1},
        {"9999-12-31T23:59:59-00:01", -1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t us = -1;
        bool taken = time_parse(cases[i].text, strlen(cases[i].text), &us);
        cr_expect_eq(us, cases[i].us, "%s: %lld", cases[i].text, (long long)us);
        cr_expect_eq(taken, cases[i].us >= 0, "%s", cases[i].text);
    }
}

Test(time, what_leaves_a_question_open_is_refused)
{
    static const char *const wrong[] = {
        "",
        "2026-11-23",
        "2026-11-23T20:00:00",
        "2026-11-23 20:00:00Z",
        "2026-11-23T20:00Z",
        "2026-11-23T20:00:00.Z",
        "2026-11-23T20:00:00,5Z",
        "2026-11-23T20:00:00+01",
        "2026-11-23T20:00:00+0100",
        "2026-11-23T20:00:00+24:00",
        "2026-11-23T20:00:00+00:60",
        "2026-11-23T20:00:00ZZ",
        "2026-11-23T20:00:00 Z",
        " 2026-11-23T20:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T20:60:00Z",
        "2026-11-23T20:00:60Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "02026-04-30T00:00:00Z",
        "2026\r11\r23T20:00:00Z",
        ("2026-11-23T20\x1a"
         "00:00Z"),
        "2026-11-23T20:00:00",
        "now",
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t us = -7;
        cr_expect_not(time_parse(wrong[i], strlen(wrong[i]), &us), "%s", wrong[i]);
        cr_expect_eq(us, -7, "%s: written", wrong[i]);
    }
}
