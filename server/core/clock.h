/* clock: timers and timestamps.
 *
 * Deadlines and durations are CLOCK_MONOTONIC; points in time that users see are the
 * database's now(), never ours. wall_us() is for log lines only. All values are int64_t
 * with the unit in the name. */
#ifndef BELAY_CORE_CLOCK_H
#define BELAY_CORE_CLOCK_H

#include <stdint.h>

#define MS_PER_SECOND 1000
#define US_PER_MS     1000
#define US_PER_SECOND 1000000

/* Microseconds since some fixed point; never goes back. */
int64_t clock_us(void);

/* Milliseconds since the same fixed point. */
int64_t clock_ms(void);

/* Microseconds since 1970-01-01T00:00:00Z, by the machine's wall clock. */
int64_t wall_us(void);

/* Sleeps at least `ms`; a signal does not shorten it. */
void sleep_ms(int64_t ms);

/* A full-jitter exponential backoff (Amazon Builders' Library, "Timeouts, retries, and
 * backoff with jitter"): uniform in [0, min(cap_ms, base_ms * 2^attempt)], attempt
 * counted from 0. */
int64_t backoff_ms(int attempt, int64_t base_ms, int64_t cap_ms);

#endif
