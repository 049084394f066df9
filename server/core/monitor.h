/* monitor: a mutex, and a condition to wait for under it, until a time of clock_ms().
 *
 *     monitor_lock(&m);
 *     while (nothing_to_do && monitor_wait(&m, until_ms))
 *         ;
 *     monitor_unlock(&m);
 *
 * Whoever changes what others wait for holds the lock and calls monitor_signal() (one of
 * them) or monitor_broadcast() (all). */
#ifndef BELAY_CORE_MONITOR_H
#define BELAY_CORE_MONITOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct monitor {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

void monitor_init(struct monitor *m);
void monitor_release(struct monitor *m);

static inline void monitor_lock(struct monitor *m)
{
    pthread_mutex_lock(&m->mutex);
}
static inline void monitor_unlock(struct monitor *m)
{
    pthread_mutex_unlock(&m->mutex);
}
static inline void monitor_signal(struct monitor *m)
{
    pthread_cond_signal(&m->changed);
}
static inline void monitor_broadcast(struct monitor *m)
{
    pthread_cond_broadcast(&m->changed);
}

/* Waits for a signal, or until clock_ms() has reached until_ms (INT64_MAX: for ever).
 * False when that time had come; may return early for no reason. Under the lock. */
bool monitor_wait(struct monitor *m, int64_t until_ms);

#endif
