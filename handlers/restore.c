/* restoreJob: POST /jobs/{jobId}/restore. A job that was cancelled before it started is
 * taken back.
 *
 * Other than a retry it changes nothing of the job: its time, its attempts and its place
 * in the line of its lock are what they were. The statement refuses a job that is in any
 * other state, and one whose queueing lock another job has taken meanwhile. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "server/core/cleanup.h"

#include <string.h>

/* The columns of job_restore.sql. */
enum { RESTORE_ORD, RESTORE_RESULT, RESTORE_ETAG, RESTORE_JOB, RESTORE_QUEUE };

static void reply_restore(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    const char *result = row_text(rows, 0, RESTORE_RESULT);

    if (strcmp(result, "restored") != 0) {
        reply_refusal(req, result, row_text(rows, 0, RESTORE_ETAG),
                      row_text(rows, 0, RESTORE_JOB), NULL);
        return;
    }
    /* After the commit, for both places that it may be in: ready, or due soon. */
    node_wake_scheduled(req_app(req)->node);
    node_wake(req_app(req)->node, row_text(rows, 0, RESTORE_QUEUE), 1);
    set_etag(req, row_text(rows, 0, RESTORE_ETAG));
    buf_addf(&b, "{\"result\":\"restored\",\"job\":%s}", row_text(rows, 0, RESTORE_JOB));
    req_reply_buf(req, 200, &b);
}

enum err restore_job(struct request *req)
{
    int64_t job_id;
    const char *actor = NULL;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = req_query_text(req, "actor", 255, &actor);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_restore, 1);
    v[0] = db_int(job_id);
    v[1] = db_text(actor);
    v[2] = db_text(if_match(req));
    return submit(req, LANE_CONTROL, SQL_job_restore, 1, v, reply_restore);
}
