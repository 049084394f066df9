/* Lists with both ends, and jobs that are one block of memory with their texts. Lists
 * that wait are kept in order by looking from the end, where what was claimed last mostly
 * belongs. Rejected: a heap (jobs are also taken out of the middle). */
#include "workers/job.h"

#include "server/core/clock.h"
#include "workers/progress.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- lists --------------------------------------------------------------------------- */

void job_list_add(struct job_list *l, struct job *job)
{
    job->next = NULL;
    job->previous = l->last;
    if (l->last != NULL)
        l->last->next = job;
    else
        l->first = job;
    l->last = job;
    l->n++;
}

void job_list_remove(struct job_list *l, struct job *job)
{
    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        l->first = job->next;
    if (job->next != NULL)
        job->next->previous = job->previous;
    else
        l->last = job->previous;
    job->next = job->previous = NULL;
    l->n--;
}

struct job *job_list_take(struct job_list *l)
{
    struct job *job = l->first;

    if (job != NULL)
        job_list_remove(l, job);
    return job;
}

void job_list_move(struct job_list *to, struct job_list *from)
{
    if (from->first == NULL)
        return;
    from->first->previous = to->last;
    if (to->last != NULL)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    to->n += from->n;
    *from = (struct job_list){.n = 0};
}

/* -- jobs that wait ------------------------------------------------------------------ */

static bool comes_before(const struct job *a, const struct job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}

/* From the end: what was claimed last mostly belongs there. */
void job_list_insert(struct job_list *l, struct job *job)
{
    struct job *after = l->last;

    while (after != NULL && comes_before(job, after))
        after = after->previous;
    if (after == l->last) {
        job_list_add(l, job);
        return;
    }
    job->previous = after;
    job->next = after != NULL ? after->next : l->first;
    job->next->previous = job;
    if (after != NULL)
        after->next = job;
    else
        l->first = job;
    l->n++;
}

struct job *job_list_take_id(struct job_list *l, int64_t id)
{
    struct job *job = l->first;

    while (job != NULL && job->id != id)
        job = job->next;
    if (job != NULL)
        job_list_remove(l, job);
    return job;
}

void job_list_take_old(struct job_list *l, int64_t claimed_before_us,
                       struct job_list *out)
{
    for (struct job *job = l->first, *next; job != NULL; job = next) {
        next = job->next;
        if (job->claimed_us >= claimed_before_us)
            continue;
        job_list_remove(l, job);
        job_list_add(out, job);
    }
}

/* -- a claimed job ------------------------------------------------------------------- */

/* The columns of job_claim.sql. */
enum {
    CLAIM_ID,
    CLAIM_LEASE,
    CLAIM_QUEUE,
    CLAIM_TASK,
    CLAIM_PRIORITY,
    CLAIM_ATTEMPT,
    CLAIM_COUNTED,
    CLAIM_MAX_ATTEMPTS,
    CLAIM_ARGS,
    CLAIM_HAS_LOCK,
    CLAIM_TIMEOUT,
    CLAIM_OPTIONS,
    CLAIM_WAITED
};

static const char *put(char **room, const struct db_rows *rows, int row, int column)
{
    char *text = *room;
    size_t len = (size_t)row_len(rows, row, column);

    memcpy(text, row_text(rows, row, column), len + 1);
    *room += len + 1;
    return text;
}

/* belay.options_text() lists what there is; here is what a worker needs of it. */
static void read_options(struct job *job, const char *text)
{
    json_t *options = json_loads(text, 0, NULL);
    const char *trace = json_string_value(json_object_get(options, "traceparent"));

    if (trace != NULL)
        snprintf(job->traceparent, sizeof job->traceparent, "%s", trace);
    json_decref(options);
}

struct job *job_of_row(const struct db_rows *rows, int row)
{
    size_t texts = (size_t)row_len(rows, row, CLAIM_QUEUE) +
                   (size_t)row_len(rows, row, CLAIM_TASK) +
                   (size_t)row_len(rows, row, CLAIM_ARGS) +
                   (size_t)row_len(rows, row, CLAIM_OPTIONS) + 4;
    struct job *job = calloc(1, sizeof *job + texts);
    char *room;

    if (job == NULL)
        return NULL;
    room = (char *)(job + 1);
    job->id = row_int(rows, row, CLAIM_ID);
    job->lease = row_int(rows, row, CLAIM_LEASE);
    job->priority = (int)row_int(rows, row, CLAIM_PRIORITY);
    job->attempt = (int)row_int(rows, row, CLAIM_ATTEMPT);
    job->counted = (int)row_int(rows, row, CLAIM_COUNTED);
    job->max_attempts = (int)row_int(rows, row, CLAIM_MAX_ATTEMPTS);
    job->has_lock = row_bool(rows, row, CLAIM_HAS_LOCK);
    job->timeout_ms =
        row_is_null(rows, row, CLAIM_TIMEOUT) ? -1 : row_int(rows, row, CLAIM_TIMEOUT);
    job->queue = put(&room, rows, row, CLAIM_QUEUE);
    job->task_name = put(&room, rows, row, CLAIM_TASK);
    job->args =
        row_is_null(rows, row, CLAIM_ARGS) ? "{}" : put(&room, rows, row, CLAIM_ARGS);
    if (!row_is_null(rows, row, CLAIM_OPTIONS)) {
        job->options = put(&room, rows, row, CLAIM_OPTIONS);
        read_options(job, job->options);
    }
    job->claimed_us = clock_us();
    job->waited_us = row_int(rows, row, CLAIM_WAITED) * US_PER_MS;
    return job;
}

void job_free(struct job *job)
{
    if (job == NULL)
        return;
    free(job->result);
    free(job->error);
    free(job->message);
    free(job->changes);
    free(job->new_queue);
    free(job->progress); /* taken from the board before the end was written */
    free(job);
}

void job_set_error(struct job *job, const char *kind, const char *message)
{
    struct buf b = BUF_INIT;

    buf_adds(&b, "{\"kind\":");
    buf_add_json_string(&b, kind, strlen(kind));
    buf_adds(&b, ",\"message\":");
    buf_add_json_string(&b, message, strlen(message));
    buf_addc(&b, '}');
    free(job->error);
    job->error = buf_detach(&b); /* NULL without memory: the status stays true */
    free(job->result);
    job->result = NULL;
}
