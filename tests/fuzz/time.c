/* time_parse() against the C library's calendar. */
#include "handlers/time.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* "0" is a digit, "Z" a Z of either case, "T" likewise, "+" a sign; the rest itself. */
static bool looks_like(const char *text, size_t len, const char *pattern)
{
    for (; *pattern != '\0'; pattern++, text++, len--) {
        if (len == 0)
            return false;
        bool fits = *pattern == '0'   ? isdigit((unsigned char)*text) != 0
                    : *pattern == '+' ? *text == '+' || *text == '-'
                                      : toupper((unsigned char)*text) == *pattern;
        if (!fits)
            return false;
    }
    return len == 0;
}

/* Seconds since 1970 of the first 19 characters; false for a day that does not exist. */
static bool calendar(const char *text, int64_t *out_seconds)
{
    char copy[20];
    struct tm tm = {.tm_isdst = 0}, again;

    memcpy(copy, text, 19);
    copy[19] = '\0';
    copy[10] = 'T';
    const char *end = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL || *end != '\0')
        return false;
    again = tm;
    *out_seconds = timegm(&again);
    return again.tm_year == tm.tm_year && again.tm_mon == tm.tm_mon &&
           again.tm_mday == tm.tm_mday && again.tm_hour == tm.tm_hour &&
           again.tm_min == tm.tm_min && again.tm_sec == tm.tm_sec;
}

/* Microseconds of ".5"; moves `zone` behind it. False for a point without a digit. */
static bool fraction(const char **zone, const char *end, int64_t *out_us)
{
    int64_t unit = 100000;
    const char *p = *zone;

    *out_us = 0;
    if (p == end || *p != '.')
        return true;
    for (p++; p < end && isdigit((unsigned char)*p); p++, unit /= 10)
        *out_us += (*p - '0') * unit;
    bool good = p > *zone + 1;
    *zone = p;
    return good;
}

static bool offset(const char *zone, size_t len, int64_t *out_east)
{
    *out_east = 0;
    if (!looks_like(zone, len, "+00:00"))
        return looks_like(zone, len, "Z");
    int hours = (zone[1] - '0') * 10 + zone[2] - '0';
    int minutes = (zone[4] - '0') * 10 + zone[5] - '0';
    *out_east = (*zone == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return hours < 16 && minutes < 60; /* as PostgreSQL */
}

static bool expected(const char *text, size_t len, int64_t *out_us)
{
    const char *zone = text + 19, *end = text + len;
    int64_t seconds, us, east;

    if (len < 20 || !looks_like(text, 19, "0000-00-00T00:00:00") ||
        !calendar(text, &seconds) || !fraction(&zone, end, &us) ||
        !offset(zone, (size_t)(end - zone), &east))
        return false;
    *out_us = (seconds - east) * 1000000 + us;
    return *out_us >= 0 && *out_us < INT64_C(253402300800) * 1000000;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *text = malloc(size > 0 ? size : 1);
    int64_t ours = -1, theirs = -1;

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    bool taken = time_parse(text, size, &ours), wanted = expected(text, size, &theirs);
    if (taken != wanted || (taken && ours != theirs) || (!taken && ours != -1)) {
        fprintf(stderr, "%.*s: %d %lld, not %d %lld\n", (int)size, text, taken,
                (long long)ours, wanted, (long long)theirs);
        abort();
    }
    free(text);
    return 0;
}
