#include "server/core/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * US_PER_SECOND + ts.tv_nsec / 1000;
}

int64_t clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_ms(void)
{
    return clock_us() / US_PER_MS;
}

int64_t wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

void sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

/* The shift stops at 32: beyond it the ceiling has been reached long ago, and a larger
 * one would overflow. Without randomness (early at boot) the ceiling itself is waited
 * for: late is safe, all at once is not. */
int64_t backoff_ms(int attempt, int64_t base_ms, int64_t cap_ms)
{
    uint64_t random = 0;
    int64_t ceiling = cap_ms;

    if (attempt >= 0 && attempt < 32 && (base_ms << attempt) < cap_ms)
        ceiling = base_ms << attempt;
    if (ceiling <= 0 || getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        return ceiling > 0 ? ceiling : 0;
    return (int64_t)(random % (uint64_t)(ceiling + 1));
}
