/* Documents are put together as text: job and receipt come from PostgreSQL as finished
 * JSON, and parsing them to print them again would change numbers (1.10 becomes 1.1) and
 * cost more than the rest of the request. */
#include "handlers/cancellation.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* row_text() is "" for SQL's null; in a document that has to be a null of JSON. */
static const char *or_null(const char *json)
{
    return json != NULL && *json != '\0' ? json : "null";
}

static void add_answer(struct buf *b, const char *result, const char *job,
                       const char *cancellation)
{
    buf_addf(b, "{\"result\":\"%s\",\"job\":%s,\"cancellation\":%s}", result,
             or_null(job), or_null(cancellation));
}

void reply_answer(struct request *req, int status, const char *result, const char *job,
                  const char *cancellation)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    add_answer(&b, result, job, cancellation);
    req_reply_buf(req, status, &b);
}

const struct first_answer *first_pending(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    add_answer(&b, row_text(rows, 0, ANSWER_RESULT), row_text(rows, 0, ANSWER_JOB),
               row_text(rows, 0, ANSWER_CANCELLATION));
    return first_answer(req, 202, row_text(rows, 0, ANSWER_ETAG), b.text);
}

struct refusal {
    const char *result;
    enum err e;
    const char *hint;
};

/* The results that refuse, of all statements that decide about one job; each is one row.
 * The words are hints for a person: what to send instead, where there is something. */
static const struct refusal refusals[] = {
    {"job-running", ERR_JOB_RUNNING,
     "job %s is running; with abort=true it is asked to stop"},
    {"hold-running", ERR_JOB_RUNNING,
     "job %s is running; what has not started can be held"},
    {"job-finished", ERR_JOB_FINISHED, "job %s has finished already"},
    {"job-not-finished", ERR_JOB_NOT_FINISHED, "job %s has not ended yet"},
    {"job-not-cancelled", ERR_JOB_NOT_CANCELLED,
     "job %s has not been cancelled before it started, and will not be; what has ended "
     "in "
     "another way can be retried"},
    {"job-not-found", ERR_JOB_NOT_FOUND, "there is no job %s"},
    {"precondition-failed", ERR_PRECONDITION_FAILED,
     "job %s is not as If-Match, only_if or attempt say"},
    {"already-enqueued", ERR_ALREADY_ENQUEUED,
     "the queueing lock of job %s is taken by another job"},
};

enum { REFUSALS = sizeof refusals / sizeof *refusals };

/* NULL: it is no refusal. */
static const struct refusal *refusal_of(const char *result)
{
    const struct refusal *r = refusals;

    while (r < refusals + REFUSALS && strcmp(r->result, result) != 0)
        r++;
    return r < refusals + REFUSALS ? r : NULL;
}

int status_of_result(const char *result, const char **out_code)
{
    const struct refusal *r = refusal_of(result);

    *out_code = r != NULL ? err_code(r->e) : NULL;
    if (r != NULL)
        return err_status(r->e);
    return strcmp(result, "aborting") == 0  ? 202
           : strcmp(result, "deleted") == 0 ? 204
                                            : 200;
}

void add_result(struct buf *b, int64_t id, const char *result, const char *cancellation)
{
    const char *code;
    int status = status_of_result(result, &code);

    buf_addf(b, "%s{\"id\":%" PRId64 ",\"status\":%d,\"result\":\"%s\",\"code\":",
             b->text[b->len - 1] == '[' ? "" : ",", id, status, result);
    buf_addf(b, code != NULL ? "\"%s\"" : "null", code);
    buf_addf(b, ",\"cancellation\":%s}", or_null(cancellation));
}

/* What did not happen. */
static const char *refused_word(const char *operation)
{
    static const char *const words[][2] = {{"deleteJob", "deleted"},
                                           {"retryJob", "retried"},
                                           {"restoreJob", "restored"},
                                           {"holdJob", "held"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(operation, words[i][0]) == 0)
            return words[i][1];
    }
    return "cancelled";
}

void reply_refusal(struct request *req, const char *result, const char *etag,
                   const char *job, const char *cancellation)
{
    const struct refusal *r = refusal_of(result);
    bool by_key = strcmp(req_operation(req), "cancelByKey") == 0;
    const char *id = by_key ? "with this key" : req_path(req, "jobId");

    assert(r != NULL && "a result of the statement that has no row");
    if (*etag != '\0')
        set_etag(req, etag);
    /* Who is refused needs no second request to see why: the job goes along as it is. One
     * that is not there has nothing to show. */
    if (r->e != ERR_JOB_NOT_FOUND)
        req_fail_extra(
            req, req_printf(req, "\"result\":\"not_%s\",\"job\":%s,\"cancellation\":%s",
                            refused_word(req_operation(req)), or_null(job),
                            or_null(cancellation)));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are the table above  \
                                                      */
    enum err e = req_fail(req, r->e, r->hint, id);
#pragma GCC diagnostic pop
    req_error(req, e);
}

void tell_worker(struct request *req, const struct db_rows *rows, int row, int64_t job_id,
                 const struct cancel_options *opt)
{
    struct abort_order order = {
        .job_id = job_id,
        .worker_id = row_int(rows, row, ANSWER_WORKER),
        .attempt = (int)row_int(rows, row, ANSWER_ATTEMPT),
        .cause = ABORT_USER,
        .reason = opt->reason != NULL ? opt->reason : "",
        .actor = opt->actor != NULL ? opt->actor : "",
        .grace_ms = opt->grace_seconds < 0 ? -1 : opt->grace_seconds * 1000,
        .asked_us = clock_us() - req_age_us(req),
    };

    /* The texts of `opt` are borrowed from the request; node_abort() copies them. */
    node_abort(req_app(req)->node, &order);
}

void set_receipt_location(struct request *req, int64_t job_id, int64_t n)
{
    req_set_header(
        req, "Location",
        req_printf(req, "/jobs/%" PRId64 "/cancellations/%" PRId64, job_id, n));
}

/* The number is read out of the Location that the answer has anyway, so the wait has
 * nothing of its own to remember. It is this receipt and no other: a retry may have begun
 * a new attempt meanwhile, with receipts of its own. */
void look_at_receipt(struct request *req, int64_t job_id,
                     const struct first_answer *first, reply_fn *reply)
{
    struct db_value *v = submit_values(req, SQL_cancellation_outcome, 1);
    const char *location = req_reply_header(req, "Location");

    v[0] = db_int(job_id);
    v[1] = db_int(strtoll(strrchr(location, '/') + 1, NULL, 10));
    submit_again(req, SQL_cancellation_outcome, v, reply, first);
}
