/* time: RFC 3339 instants, strictly. */
#ifndef BELAY_HANDLERS_TIME_H
#define BELAY_HANDLERS_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "2026-11-23T20:00:00.5+01:00" -> microseconds since 1970-01-01T00:00:00Z. The offset
 * (or Z) is needed; a fraction may have any number of digits, of which six count; years
 * 1970..9999, in UTC too. False, and nothing written, for anything else. */
bool time_parse(const char *text, size_t len, int64_t *out_us);

#endif
