#include "workers/timeouts.h"

#include "server/core/clock.h"
#include "workers/deadlines.h"
#include "workers/job.h"

#include <pthread.h>
#include <stdlib.h>

struct timeouts {
    pthread_mutex_t mutex;
    struct deadlines deadlines;
};

enum err timeouts_new(struct timeouts **out_timeouts)
{
    struct timeouts *t = calloc(1, sizeof *t);

    if (t == NULL)
        return ERR_NO_MEMORY;
    pthread_mutex_init(&t->mutex, NULL);
    *out_timeouts = t;
    return ERR_OK;
}

void timeouts_free(struct timeouts *t)
{
    if (t == NULL)
        return;
    deadlines_release(&t->deadlines);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

/* Without memory the job runs without its timeout, as a cooperative one may anyway. */
bool timeouts_start(struct timeouts *t, struct job *job)
{
    if (job->timeout_ms <= 0)
        return false;
    int64_t at_us = job->started_us + job->timeout_ms * US_PER_MS;
    pthread_mutex_lock(&t->mutex);
    bool is_next = at_us < deadlines_next_us(&t->deadlines);
    bool is_set = deadline_set(&t->deadlines, &job->timeout, at_us);
    pthread_mutex_unlock(&t->mutex);
    return is_next && is_set;
}

void timeouts_stop(struct timeouts *t, struct job *job)
{
    if (job->timeout_ms <= 0)
        return;
    pthread_mutex_lock(&t->mutex);
    deadline_clear(&t->deadlines, &job->timeout);
    pthread_mutex_unlock(&t->mutex);
}

int timeouts_take(struct timeouts *t, struct timeouts_late *out, int most)
{
    struct deadline *d;
    int n = 0;

    pthread_mutex_lock(&t->mutex);
    while (n < most && (d = deadlines_due(&t->deadlines, clock_us())) != NULL) {
        const struct job *job =
            (const void *)((const char *)d - offsetof(struct job, timeout));
        out[n++] = (struct timeouts_late){.job_id = job->id,
                                          .worker_id = job->worker_id,
                                          .timeout_ms = job->timeout_ms,
                                          .attempt = job->attempt};
    }
    pthread_mutex_unlock(&t->mutex);
    return n;
}

int64_t timeouts_next_ms(struct timeouts *t)
{
    pthread_mutex_lock(&t->mutex);
    int64_t at_us = deadlines_next_us(&t->deadlines);
    pthread_mutex_unlock(&t->mutex);
    return at_us == INT64_MAX ? INT64_MAX : (at_us + US_PER_MS - 1) / US_PER_MS;
}
