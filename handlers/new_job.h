/* new_job: a job to put in, from JSON to a row of job_insert.sql.
 *
 *     struct new_job job;
 *     enum err e = new_job_read(req, "", body, &job);
 *     ...
 *     new_job_put(req, &job, true, submit_values(req, SQL_job_insert, 1));
 *
 * What it points at belongs to the request. */
#ifndef BELAY_HANDLERS_NEW_JOB_H
#define BELAY_HANDLERS_NEW_JOB_H

#include "handlers/fields.h"
#include "handlers/submit.h"

enum {
    INSERT_PARAMS = 16, /* of job_insert.sql */
    DELAY_MAX_SECONDS = 315360000
};

/* A job as the client wrote it. */
struct new_job {
    const char *task, *queue, *tags, *lock, *queueing_lock, *delete_policy, *limit_key;
    const char *on_conflict;                   /* NULL: reject */
    const char *on_parent_cancel, *depends_on; /* depends_on: a JSON array */
    bool lock_strict;
    int64_t priority, max_attempts, scheduled_at, deadline, parent_id;
    double delay_seconds, timeout_seconds, deadline_seconds;
    struct span args, metadata, on_success, on_failure, on_cancel, retry;
};

/* Everything that is wrong is reported under `where`, the JSON pointer of the object. */
enum err new_job_read(struct request *req, const char *where, struct span object,
                      struct new_job *out) MUST_CHECK;

/* Fills the INSERT_PARAMS values at `v`. want_json: its document is wanted. */
void new_job_put(struct request *req, const struct new_job *j, bool want_json,
                 struct db_value *v);

#endif
