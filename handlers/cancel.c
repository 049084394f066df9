/* cancelJob: POST /jobs/{jobId}/cancel. Every answer tells what happened; the database
 * decided it.
 *
 * The statement answers one word (`result`) and this file only turns it into a status and
 * a document. Rejected: to read the job first and choose what to do with it: a worker may
 * claim or finish it in between, and the answer would be about a job that is not there
 * any more. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "handlers/fields.h"
#include "handlers/metrics.h"
#include "handlers/wait.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { GRACE_MAX = 86400, UNDO_MAX = 86400, ATTEMPT_MAX = 32767 };

/* The first mistake ends it: a URL is written by hand, and one thing at a time is put
 * right there. The body, which programs write, reports all of its mistakes (fields.h). */
static enum err read_query_options(struct request *req, struct cancel_options *opt)
{
    const char *only_if = req_query(req, "only_if");
    enum err e = req_query_bool(req, "abort", &opt->abort);

    if (e == ERR_OK)
        e = req_query_bool(req, "delete", &opt->delete);
    if (e == ERR_OK)
        e = req_query_int(req, "grace_seconds", 0, GRACE_MAX, &opt->grace_seconds);
    if (e == ERR_OK)
        e = req_query_int(req, "attempt", 0, ATTEMPT_MAX, &opt->attempt);
    if (e == ERR_OK)
        e = req_query_text(req, "reason", 1024, &opt->reason);
    if (e == ERR_OK)
        e = req_query_text(req, "actor", 255, &opt->actor);
    if (e == ERR_OK)
        e = req_query_text(req, "retry", 16, &opt->retry);
    if (e == ERR_OK)
        e = req_query_int(req, "undo_seconds", 1, UNDO_MAX, &opt->undo_seconds);
    if (e == ERR_OK && only_if != NULL) {
        opt->only_if = status_list(req, only_if);
        if (opt->only_if == NULL)
            e = req_fail(req, ERR_BAD_QUERY, "only_if=%s: use " STATUS_WORDS, only_if);
    }
    return e;
}

/* The body says the same things, and wins. */
static enum err read_body_options(struct request *req, struct cancel_options *opt)
{
    static const struct field fields[] = {
        {"abort", FIELD_BOOL, offsetof(struct cancel_options, abort), 0, 0},
        {"delete", FIELD_BOOL, offsetof(struct cancel_options, delete), 0, 0},
        {"reason", FIELD_TEXT, offsetof(struct cancel_options, reason), 0, 1024},
        {"actor", FIELD_TEXT, offsetof(struct cancel_options, actor), 0, 255},
        {"grace_seconds", FIELD_INT, offsetof(struct cancel_options, grace_seconds), 0,
         GRACE_MAX},
        {"only_if", FIELD_STATUSES, offsetof(struct cancel_options, only_if), 0, 6},
        {"attempt", FIELD_INT, offsetof(struct cancel_options, attempt), 0, ATTEMPT_MAX},
        {"retry", FIELD_TEXT, offsetof(struct cancel_options, retry), 1, 16},
        {"undo_seconds", FIELD_INT, offsetof(struct cancel_options, undo_seconds), 1,
         UNDO_MAX},
    };

    return fields_read_options(req, fields, sizeof fields / sizeof *fields, opt);
}

static bool wants_requeue(const struct cancel_options *opt)
{
    return opt->retry != NULL && strcmp(opt->retry, "requeue") == 0;
}

/* In the query or in the body: said the same way, because either may have said one half.
 */
static enum err check_together(struct request *req, const struct cancel_options *opt)
{
    if (opt->retry != NULL && !wants_requeue(opt) && strcmp(opt->retry, "none") != 0)
        return req_fail_at(req, ERR_INVALID, "/retry", "must be none or requeue");
    if (wants_requeue(opt) && (!opt->abort || opt->delete))
        return req_fail_at(req, ERR_INVALID, "/retry",
                           "requeue needs abort=true, and cannot stand beside delete");
    if (opt->undo_seconds > 0 && (wants_requeue(opt) || opt->delete))
        return req_fail_at(req, ERR_INVALID, "/undo_seconds",
                           "cannot stand beside delete or retry=requeue, which leave "
                           "nothing to restore");
    return ERR_OK;
}

/* -1 stands for "not given", because 0 is a good value for both: a grace of nothing kills
 * at once. */
static enum err read_options(struct request *req, struct cancel_options *opt)
{
    *opt = (struct cancel_options){.grace_seconds = -1, .attempt = -1};
    enum err e = read_query_options(req, opt);

    if (e == ERR_OK)
        e = read_body_options(req, opt);
    return e == ERR_OK ? check_together(req, opt) : e;
}

/* -- the answer ---------------------------------------------------------------------- */

/* 200 once the job has stopped, with what came of it; 202 while it has not. */
static void reply_waited(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, ANSWER_RESULT);
    bool goes_on =
        strcmp(result, "aborting") == 0 || strcmp(result, "cancel_pending") == 0;

    /* No tag when the job was removed during the wait: there is no state left to name. */
    if (!row_is_null(rows, 0, ANSWER_ETAG))
        set_etag(req, row_text(rows, 0, ANSWER_ETAG));
    reply_answer(req, goes_on ? 202 : 200, result, row_text(rows, 0, ANSWER_JOB),
                 row_text(rows, 0, ANSWER_CANCELLATION));
}

static void look_again(struct request *req, int64_t job_id,
                       const struct first_answer *first)
{
    look_at_receipt(req, job_id, first, reply_waited);
}

/* Runs in a later turn of the loop than the handler, whose `opt` is gone: the options are
 * read again from the request. Rejected: to keep them in the request, memory that only
 * the rare abort would use.
 *
 * The worker is told after the commit and before the wait: earlier, a task could be
 * stopped for an abort that the database then refuses; later, the wait would wait for
 * itself. */
static void reply_pending(struct request *req, const struct db_rows *rows)
{
    struct cancel_options opt;
    int64_t job_id, seconds;

    if (read_options(req, &opt) != ERR_OK || req_wait_seconds(req, &seconds) != ERR_OK ||
        req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id) != ERR_OK) {
        reply_waited(req, rows); /* committed all the same: the poll delivers it */
        return;
    }
    if (strcmp(row_text(rows, 0, ANSWER_RESULT), "aborting") == 0)
        tell_worker(req, rows, 0, job_id, &opt);
    else
        node_wake_scheduled(req_app(req)->node); /* it may be the next that is due */
    set_receipt_location(req, job_id, row_int(rows, 0, ANSWER_N));
    if (seconds > 0)
        wait_for_end(req, job_id, seconds, look_again, first_pending(req, rows));
    else
        reply_waited(req, rows);
}

/* What is cancelled or aborted already is a success: the caller wants it not to run, and
 * it does not. A client that repeats a lost request must not be told that it failed. */
static void reply_cancel(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, ANSWER_RESULT);

    metrics_count_cancel(req, result);
    if (strcmp(result, "aborting") == 0 || strcmp(result, "cancel_pending") == 0)
        reply_pending(req, rows);
    else if (strcmp(result, "cancelled") == 0 || strncmp(result, "already_", 8) == 0)
        reply_waited(req, rows);
    else
        reply_refusal(req, result, row_text(rows, 0, ANSWER_ETAG),
                      row_text(rows, 0, ANSWER_JOB),
                      row_text(rows, 0, ANSWER_CANCELLATION));
}

static struct db_value more_of(struct request *req, const struct cancel_options *opt)
{
    if (opt->undo_seconds > 0)
        return db_text(
            req_printf(req, "{\"undo_seconds\":%" PRId64 "}", opt->undo_seconds));
    return wants_requeue(opt) ? db_text("{\"retry\":\"requeue\"}") : db_null();
}

enum err cancel_job(struct request *req)
{
    struct cancel_options opt;
    int64_t job_id, seconds;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = read_options(req, &opt);
    if (e == ERR_OK)
        e = req_wait_seconds(req, &seconds);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_cancel, 1);
    v[0] = db_int(job_id);
    v[1] = db_int(opt.abort);
    v[2] = db_int(opt.delete);
    v[3] = db_text(opt.reason);
    v[4] = db_text(opt.actor);
    v[5] = db_text("user");
    /* null: what the task itself declares */
    v[6] = opt.grace_seconds < 0 ? db_null() : db_int(opt.grace_seconds);
    v[7] = db_text(opt.only_if);
    v[8] = opt.attempt < 0 ? db_null() : db_int(opt.attempt);
    v[9] = db_text(if_match(req));
    v[10] = more_of(req, &opt);
    return submit(req, LANE_CONTROL, SQL_job_cancel, 1, v, reply_cancel);
}
