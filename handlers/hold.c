/* holdJob and releaseJob: /jobs/{jobId}/hold and /release. A job that has not started is
 * held back by hand, one by one; what runs or has ended is refused. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "handlers/gates.h"
#include "server/core/cleanup.h"

#include <string.h>

/* The columns of job_hold.sql, and of job_release.sql with one more. */
enum { HOLD_ORD, HOLD_RESULT, HOLD_ETAG, HOLD_JOB, HOLD_QUEUE };

static void reply_result(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    set_etag(req, row_text(rows, 0, HOLD_ETAG));
    buf_addf(&b, "{\"result\":\"%s\",\"job\":%s}", row_text(rows, 0, HOLD_RESULT),
             row_text(rows, 0, HOLD_JOB));
    req_reply_buf(req, 200, &b);
}

static void reply_held(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, HOLD_RESULT);

    if (strcmp(result, "held") != 0) {
        if (strcmp(result, "job-running") == 0)
            result = "hold-running";
        reply_refusal(req, result, row_text(rows, 0, HOLD_ETAG),
                      row_text(rows, 0, HOLD_JOB), NULL);
        return;
    }
    node_wake_scheduled(req_app(req)->node); /* it may have an end */
    reply_result(req, rows);
}

enum err hold_job(struct request *req)
{
    struct pause_options opt;
    int64_t job_id;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = read_pause_options(req, &opt);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_hold, 1);
    v[0] = db_int(job_id);
    v[1] = db_text(opt.actor);
    v[2] = db_text(opt.reason);
    v[3] = pause_until(&opt);
    return submit(req, LANE_CONTROL, SQL_job_hold, 1, v, reply_held);
}

static void reply_released(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, HOLD_RESULT);

    if (strcmp(result, "job-not-found") == 0) {
        reply_refusal(req, result, "", "", NULL);
        return;
    }
    node_wake_scheduled(req_app(req)->node);
    node_wake(req_app(req)->node, row_text(rows, 0, HOLD_QUEUE), 1);
    reply_result(req, rows);
}

enum err release_job(struct request *req)
{
    const char *actor = NULL;
    int64_t job_id;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = req_query_text(req, "actor", 255, &actor);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_release, 1);
    v[0] = db_int(job_id);
    v[1] = db_text(actor);
    return submit(req, LANE_CONTROL, SQL_job_release, 1, v, reply_released);
}
