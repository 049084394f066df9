/* put: jobs in by job_put.sql, which knows what job_insert.sql does not: Idempotency-Key
 * and on_conflict. Requests that have neither do not come here.
 *
 *     struct put put = {.n = 1, .rows = v, .on_conflict = &job.on_conflict};
 *     enum err e = put_read_key(req, &put.key);
 *     ...
 *     return put_is_needed(&put) ? put_submit(req, &put) : submit(..., v, ...);
 *
 * What it points at belongs to the request. */
#ifndef BELAY_HANDLERS_PUT_H
#define BELAY_HANDLERS_PUT_H

#include "handlers/new_job.h"

struct put {
    const char *key;                /* NULL: none */
    int n;                          /* jobs */
    const struct db_value *rows;    /* n of new_job_put() */
    const char *const *on_conflict; /* n; NULL: reject */
};

/* The Idempotency-Key of the request; ERR_BAD_REQUEST when it is none. */
enum err put_read_key(struct request *req, const char **out_key) MUST_CHECK;

/* Whether `key`, which is not NULL, is 1 to 255 visible characters. */
bool is_idempotency_key(const char *key);

bool put_is_needed(const struct put *put);
enum err put_submit(struct request *req, const struct put *put) MUST_CHECK;

#endif
