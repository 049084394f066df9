/* retryJob: POST /jobs/{jobId}/retry. An ended job starts again, by hand.
 *
 * It keeps its id, its history and its attempt numbers, which only rise; what a new job
 * would lose. The statement refuses a job that has not ended, and one whose queueing lock
 * another job has taken meanwhile. What few retries ask for, a time or another queue, is
 * one JSON value, as the rare options of a new job are. */
#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "handlers/fields.h"
#include "handlers/new_job.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <inttypes.h>
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

/* What the next attempt shall have, where it differs. */
struct retry_options {
    const char *actor, *queue, *lock, *queueing_lock; /* locks: "" takes them away */
    int64_t priority, max_attempts, scheduled_at;     /* INT64_MIN: not given */
    double delay_seconds;                             /* < 0: not given */
};

#define AT(member) offsetof(struct retry_options, member)

static enum err read_options(struct request *req, struct retry_options *out)
{
    static const struct field fields[] = {
        {"actor", FIELD_TEXT, AT(actor), 0, 255},
        {"scheduled_at", FIELD_TIME, AT(scheduled_at), 0, 0},
        {"delay_seconds", FIELD_NUMBER, AT(delay_seconds), 0, DELAY_MAX_SECONDS},
        {"queue", FIELD_NAME, AT(queue), 1, 128},
        {"priority", FIELD_INT, AT(priority), INT32_MIN, INT32_MAX},
        {"lock", FIELD_TEXT, AT(lock), 0, 255},
        {"queueing_lock", FIELD_TEXT, AT(queueing_lock), 0, 255},
        {"max_attempts", FIELD_INT, AT(max_attempts), 1, 1000},
    };

    *out = (struct retry_options){.priority = INT64_MIN,
                                  .max_attempts = INT64_MIN,
                                  .scheduled_at = INT64_MIN,
                                  .delay_seconds = -1};
    enum err e = req_query_text(req, "actor", 255, &out->actor);
    if (e == ERR_OK)
        e = fields_read_options(req, fields, sizeof fields / sizeof *fields, out);
    if (e == ERR_OK && out->scheduled_at != INT64_MIN && out->delay_seconds >= 0)
        return req_fail_at(req, ERR_INVALID, "/delay_seconds",
                           "cannot stand beside scheduled_at");
    return e;
}

static void add_number(struct buf *b, const char *name, int64_t value)
{
    if (value != INT64_MIN)
        buf_addf(b, ",\"%s\":%" PRId64, name, value);
}

static void add_text(struct buf *b, const char *name, const char *text)
{
    if (text == NULL)
        return;
    buf_addf(b, ",\"%s\":", name);
    if (*text != '\0')
        buf_add_json_string(b, text, strlen(text));
    else
        buf_adds(b, "null");
}

/* As belay.retry_one() takes it; null where nothing changes. */
static struct db_value more(struct request *req, const struct retry_options *opt)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    add_number(&b, "scheduled_us", opt->scheduled_at);
    if (opt->delay_seconds >= 0)
        add_number(&b, "delay_ms", (int64_t)(opt->delay_seconds * MS_PER_SECOND));
    add_text(&b, "queue", opt->queue);
    add_number(&b, "priority", opt->priority);
    add_text(&b, "lock", opt->lock);
    add_text(&b, "queueing_lock", opt->queueing_lock);
    add_number(&b, "max_attempts", opt->max_attempts);
    return b.len > 0 ? db_text(req_printf(req, "{%s}", b.text + 1)) : db_null();
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
    struct retry_options opt;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = read_options(req, &opt);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_retry, 1);
    v[0] = db_int(job_id);
    v[1] = db_text(opt.actor);
    v[2] = db_text(if_match(req));
    v[3] = more(req, &opt);
    return submit(req, LANE_CONTROL, SQL_job_retry, 1, v, reply_retry);
}
