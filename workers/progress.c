/* A board with one place a job that reports: a later report overwrites an earlier one
 * that nobody has written down yet, so a task may report as often as it likes. Rejected:
 * a queue of reports (grows without bound, and only the last one is of use). */
#include "workers/progress.h"

#include "server/core/clock.h"
#include "workers/job.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct progress_board {
    pthread_mutex_t mutex;
    struct progress *waiting;
    bool hurry;
    int64_t taken_ms;
};

enum err progress_board_new(struct progress_board **out_board)
{
    struct progress_board *b = calloc(1, sizeof *b);

    if (b == NULL)
        return ERR_NO_MEMORY;
    pthread_mutex_init(&b->mutex, NULL);
    *out_board = b;
    return ERR_OK;
}

void progress_board_free(struct progress_board *b)
{
    if (b == NULL)
        return;
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

/* A text is cut at a character, not inside one. */
static void copy_text(char *out, size_t room, const char *text)
{
    size_t len = (size_t)snprintf(out, room, "%s", text);

    if (len < room)
        return;
    len = room - 1;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    out[len] = '\0';
}

/* The job's own report; NULL without memory. */
static struct progress *report_of(struct job *job)
{
    struct progress *p = job->progress;

    if (p == NULL && (p = calloc(1, sizeof *p)) != NULL)
        p->percent = -1;
    return p;
}

/* It is to be written. Under the lock. */
static bool offer(struct progress_board *b, struct job *job, struct progress *p)
{
    bool is_first = false;

    job->progress = p;
    p->job_id = job->id;
    p->lease = job->lease;
    p->worker_id = job->worker_id;
    if (!p->waits) {
        p->waits = true;
        is_first = b->waiting == NULL;
        p->next = b->waiting;
        b->waiting = p;
    }
    return is_first;
}

bool progress_report(struct progress_board *b, struct job *job, double percent,
                     const char *message)
{
    struct progress *p = report_of(job);

    if (p == NULL)
        return false;
    pthread_mutex_lock(&b->mutex);
    p->percent = percent;
    copy_text(p->message, sizeof p->message, message);
    bool is_first = offer(b, job, p);
    pthread_mutex_unlock(&b->mutex);
    return is_first;
}

bool progress_shield(struct progress_board *b, struct job *job, const char *name,
                     int64_t since_us)
{
    struct progress *p = report_of(job);

    if (p == NULL)
        return false;
    pthread_mutex_lock(&b->mutex);
    copy_text(p->shield, sizeof p->shield, name != NULL ? name : "");
    p->shield_since_us = since_us;
    bool is_first = offer(b, job, p);
    pthread_mutex_unlock(&b->mutex);
    return is_first;
}

void progress_hurry(struct progress_board *b, const struct job *job)
{
    if (job->progress == NULL)
        return;
    pthread_mutex_lock(&b->mutex);
    b->hurry = b->hurry || job->progress->waits;
    pthread_mutex_unlock(&b->mutex);
}

int64_t progress_due_ms(struct progress_board *b)
{
    int64_t due_ms = INT64_MAX;

    pthread_mutex_lock(&b->mutex);
    if (b->waiting != NULL)
        due_ms = b->hurry ? 0 : b->taken_ms + PROGRESS_EVERY_MS;
    pthread_mutex_unlock(&b->mutex);
    return due_ms;
}

int progress_take(struct progress_board *b, struct progress *out, int most)
{
    int n = 0;

    pthread_mutex_lock(&b->mutex);
    while (b->waiting != NULL && n < most) {
        struct progress *p = b->waiting;
        b->waiting = p->next;
        p->waits = false;
        out[n++] = *p;
    }
    b->hurry = b->hurry && b->waiting != NULL;
    b->taken_ms = clock_ms();
    pthread_mutex_unlock(&b->mutex);
    return n;
}
