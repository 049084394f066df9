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
    if (sscanf(copy, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    again = tm;
    *out_seconds = timegm(&again);
    return again.tm_year == tm.tm_year && again.tm_mon == tm.tm_mon &&
           again.tm_mday == tm.tm_mday && again.tm_hour == tm.tm_hour &&
           again.tm_min == tm.tm_min && again.tm_sec == tm.tm_sec;
}

static bool expected(const char *text, size_t len, int64_t *out_us)
{
    size_t tail = 19;
    int64_t seconds, us = 0, unit = 100000, east = 0;

    if (len < 20 || !looks_like(text, 19, "0000-00-00T00:00:00") ||
        !calendar(text, &seconds))
        return false;
    if (text[tail] == '.') {
        if (++tail == len || !isdigit((unsigned char)text[tail]))
            return false;
        for (; tail < len && isdigit((unsigned char)text[tail]); tail++, unit /= 10)
            us += (text[tail] - '0') * unit;
    }
    const char *zone = text + tail;
    if (looks_like(zone, len - tail, "+00:00")) {
        int hours = (zone[1] - '0') * 10 + zone[2] - '0';
        int minutes = (zone[4] - '0') * 10 + zone[5] - '0';
        if (hours > 23 || minutes > 59)
            return false;
        east = (*zone == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    } else if (!looks_like(zone, len - tail, "Z")) {
        return false;
    }
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
