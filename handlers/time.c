/* A strict reader of RFC 3339, about as long as the wrapper around strptime() would be.
 * Rejected: strptime(), which takes blanks and one-digit months and knows no fractions;
 * and PostgreSQL's own reader, which also takes "tomorrow" and would let one bad time
 * fail a batch of others.
 *
 * A failed step sets `bad` and the others go on, so that the grammar can be read off
 * time_parse() line by line; it is looked at once, at the end. */
#include "handlers/time.h"

#include "server/core/clock.h"

/* The first second of the year 10000, which RFC 3339 cannot write. */
#define END_OF_9999 INT64_C(253402300800)

/* No zone is further from UTC than 14 hours, and PostgreSQL, which reads some of these
 * texts again, takes no more. */
enum { OFFSET_HOURS_MAX = 15 };

struct text {
    const char *at, *end;
    bool bad;
};

static int digits(struct text *t, int n)
{
    int value = 0;

    for (int i = 0; i < n; i++) {
        if (t->at == t->end || *t->at < '0' || *t->at > '9') {
            t->bad = true;
            return 0;
        }
        value = value * 10 + (*t->at++ - '0');
    }
    return value;
}

/* The T may be a small one (RFC 3339, 5.6). */
static void expect(struct text *t, char wanted)
{
    bool is_t = wanted == 'T' && t->at < t->end && *t->at == 't';

    if (t->at == t->end || (*t->at != wanted && !is_t))
        t->bad = true;
    else
        t->at++;
}

/* One digit at least. Those behind the sixth are read and dropped: `unit` is 0 by
 * then. */
static int64_t fraction_us(struct text *t)
{
    int64_t us = 0, unit = US_PER_SECOND / 10;

    if (t->at == t->end || *t->at != '.')
        return 0;
    t->at++;
    us += digits(t, 1) * unit;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
        unit /= 10;
        us += (*t->at++ - '0') * unit;
    }
    return us;
}

/* Seconds east of UTC. */
static int offset_seconds(struct text *t)
{
    int sign, hours, minutes;

    if (t->at < t->end && (*t->at == 'Z' || *t->at == 'z')) {
        t->at++;
        return 0;
    }
    sign = t->at < t->end && *t->at == '-' ? -1 : 1;
    if (t->at == t->end || (*t->at != '+' && *t->at != '-')) {
        t->bad = true;
        return 0;
    }
    t->at++;
    hours = digits(t, 2);
    expect(t, ':');
    minutes = digits(t, 2);
    t->bad = t->bad || hours > OFFSET_HOURS_MAX || minutes > 59;
    return sign * (hours * 3600 + minutes * 60);
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms", days_from_civil). */
static int64_t days_from_civil(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400, of_era = year - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;

    return (int64_t)era * 146097 + day_of_era - 719468;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

static bool is_day(int year, int month, int day)
{
    return year >= 1970 && month >= 1 && month <= 12 && day >= 1 &&
           day <= days_in_month(year, month);
}

bool time_parse(const char *text, size_t len, int64_t *out_us)
{
    struct text t = {.at = text, .end = text + len};
    int year = digits(&t, 4), month, day, hour, minute, second;

    expect(&t, '-');
    month = digits(&t, 2);
    expect(&t, '-');
    day = digits(&t, 2);
    expect(&t, 'T');
    hour = digits(&t, 2);
    expect(&t, ':');
    minute = digits(&t, 2);
    expect(&t, ':');
    second = digits(&t, 2);
    int64_t us = fraction_us(&t), east = offset_seconds(&t);
    /* A second of 60 is refused: neither the database nor the arithmetic below knows leap
     * seconds. */
    if (t.bad || t.at != t.end || !is_day(year, month, day) || hour > 23 || minute > 59 ||
        second > 59)
        return false;
    int of_day = hour * 3600 + minute * 60 + second;
    int64_t seconds = days_from_civil(year, month, day) * 86400 + of_day - east;
    if (seconds < 0 || seconds >= END_OF_9999)
        return false;
    *out_us = seconds * US_PER_SECOND + us;
    return true;
}
