/* retryJob: POST /jobs/{jobId}/retry. An ended job starts again, by hand.
 *
 * It keeps its id, its history and its attempt numbers, which only rise; what a new job
 * would lose. The statement refuses a job that has not ended, and one whose queueing lock
 * another job has taken meanwhile. What few retries ask for, a time or another queue, is
 * in retry_options.h. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "handlers/fields.h"
#include "handlers/retry_options.h"
#include "server/core/cleanup.h"

#include <stddef.h>
#include <string.h>

/* The columns of job_retry.sql. */
enum {
    RETRY_ORD,
    RETRY_RESULT,
    RETRY_EXISTING,
    RETRY_STATUS,
    RETRY_ETAG,
    RETRY_JOB,
    RETRY_QUEUE,
    RETRY_SCHEDULED
};

struct retry_body {
    const char *actor;
    struct retry_options retry;
};

static enum err read_body(struct request *req, struct retry_body *out)
{
    static const struct field fields[] = {
        {"actor", FIELD_TEXT, offsetof(struct retry_body, actor), 0, 255},
        RETRY_FIELDS(offsetof(struct retry_body, retry)),
    };

    *out = (struct retry_body){.retry = RETRY_OPTIONS_NONE};
    enum err e = req_query_text(req, "actor", 255, &out->actor);
    if (e == ERR_OK)
        e = fields_read_options(req, fields, sizeof fields / sizeof *fields, out);
    return e == ERR_OK ? retry_options_check(req, &out->retry) : e;
}

static void reply_retry(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    const char *result = row_text(rows, 0, RETRY_RESULT);

    if (strcmp(result, "retried") != 0) {
        reply_refusal(req, result, row_text(rows, 0, RETRY_ETAG),
                      row_text(rows, 0, RETRY_JOB), NULL);
        return;
    }
    /* After the commit: a claim that came earlier would not see the job. */
    if (row_bool(rows, 0, RETRY_SCHEDULED))
        node_wake_scheduled(req_app(req)->node);
    else
        node_wake(req_app(req)->node, row_text(rows, 0, RETRY_QUEUE), 1);
    set_etag(req, row_text(rows, 0, RETRY_ETAG));
    buf_addf(&b, "{\"result\":\"retried\",\"job\":%s}", row_text(rows, 0, RETRY_JOB));
    req_reply_buf(req, 200, &b);
}

enum err retry_job(struct request *req)
{
    int64_t job_id;
    struct retry_body body;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = read_body(req, &body);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_retry, 1);
    v[0] = db_int(job_id);
    v[1] = db_text(body.actor);
    v[2] = db_text(if_match(req));
    v[3] = retry_options_value(req, &body.retry);
    return submit(req, LANE_CONTROL, SQL_job_retry, 1, v, reply_retry);
}
