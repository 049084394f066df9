/* The condition counts by the monotonic clock: a step of the wall clock must neither end
 * a wait nor prolong it. Rejected: pthread_cond_clockwait() (glibc 2.30 or newer only,
 * and no attribute to forget). */
#include "server/core/monitor.h"

#include "server/core/clock.h"

#include <time.h>

void monitor_init(struct monitor *m)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&m->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* as clock_ms() */
    pthread_cond_init(&m->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void monitor_release(struct monitor *m)
{
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->mutex);
}

bool monitor_wait(struct monitor *m, int64_t until_ms)
{
    struct timespec until = {.tv_sec = until_ms / MS_PER_SECOND,
                             .tv_nsec = until_ms % MS_PER_SECOND * 1000000};

    if (until_ms == INT64_MAX)
        return pthread_cond_wait(&m->changed, &m->mutex) == 0;
    return clock_ms() < until_ms &&
           pthread_cond_timedwait(&m->changed, &m->mutex, &until) == 0;
}
