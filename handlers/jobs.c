/* createJob and createJobs: /jobs and /jobs/batch. */
#include "build/gen/operations.h"
#include "handlers/fields.h"
#include "handlers/submit.h"
#include "handlers/wait.h"
#include "server/core/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum {
    BATCH_MAX = 10000,
    INSERT_PARAMS = 15,
    FIELDS = 14,
    DELAY_MAX_SECONDS = 315360000,
    TIMEOUT_MAX_SECONDS = 604800,
};

/* A job as the client wrote it. */
struct new_job {
    const char *task, *queue, *tags, *lock, *queueing_lock;
    int64_t priority, max_attempts, scheduled_at, deadline;
    double delay_seconds, timeout_seconds, deadline_seconds;
    struct span args, metadata;
};

/* -1 and INT64_MIN stand for "not given": 0 is a good delay, and a good time. */
static const struct new_job defaults = {.queue = "default",
                                        .scheduled_at = INT64_MIN,
                                        .deadline = INT64_MIN,
                                        .delay_seconds = -1,
                                        .timeout_seconds = -1,
                                        .deadline_seconds = -1};

#define AT(member) offsetof(struct new_job, member)

/* A copy a call, because one limit is a setting; a static table could not have it. */
static void job_fields(const struct config *c, struct field fields[FIELDS])
{
    const struct field all[] = {
        {"task", FIELD_NAME, AT(task), 1, 128},
        {"queue", FIELD_NAME, AT(queue), 1, 128},
        {"priority", FIELD_INT, AT(priority), INT32_MIN, INT32_MAX},
        {"args", FIELD_OBJECT, AT(args), 0, c->args_max_bytes},
        {"max_attempts", FIELD_INT, AT(max_attempts), 1, 1000},
        {"tags", FIELD_STRINGS, AT(tags), 0, 20},
        {"metadata", FIELD_OBJECT, AT(metadata), 0, 16384},
        {"scheduled_at", FIELD_TIME, AT(scheduled_at), 0, 0},
        {"delay_seconds", FIELD_NUMBER, AT(delay_seconds), 0, DELAY_MAX_SECONDS},
        {"lock", FIELD_TEXT, AT(lock), 1, 255},
        {"queueing_lock", FIELD_TEXT, AT(queueing_lock), 1, 255},
        {"timeout_seconds", FIELD_NUMBER, AT(timeout_seconds), 0, TIMEOUT_MAX_SECONDS},
        {"deadline", FIELD_TIME, AT(deadline), 0, 0},
        {"deadline_seconds", FIELD_NUMBER, AT(deadline_seconds), 0, DELAY_MAX_SECONDS},
    };

    memcpy(fields, all, sizeof all);
}

/* Names what there is, because the list is short and the mistake is a typing mistake or a
 * node that is too old. */
static enum err fail_unknown_task(struct request *req, const char *where,
                                  const char *task)
{
    CLEANUP(buf_release) struct buf names = BUF_INIT;
    const struct task *const *t = node_tasks(req_app(req)->node);

    for (; *t != NULL; t++)
        buf_addf(&names, "%s%s", names.len > 0 ? ", " : "", (*t)->name);
    return req_fail_at(req, ERR_UNKNOWN_TASK, req_printf(req, "%s/task", where),
                       "%s is not a task here; there are %.400s", task, names.text);
}

/* Reads one job; everything that is wrong with it is reported under `where`. */
static enum err read_job(struct request *req, const char *where, struct span object,
                         struct new_job *out)
{
    const struct config *c = req_app(req)->config;
    struct field fields[FIELDS];
    const struct task *task;

    *out = defaults;
    job_fields(c, fields);
    enum err e = fields_read(req, where, object, fields, FIELDS, out);
    if (e != ERR_OK)
        return e;
    if (out->task == NULL)
        return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/task", where),
                           "is needed");
    if (out->scheduled_at != INT64_MIN && out->delay_seconds >= 0)
        return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/delay_seconds", where),
                           "cannot stand beside scheduled_at");
    if (out->deadline != INT64_MIN && out->deadline_seconds >= 0)
        return req_fail_at(req, ERR_INVALID,
                           req_printf(req, "%s/deadline_seconds", where),
                           "cannot stand beside deadline");
    task = node_task(req_app(req)->node, out->task);
    if (task == NULL)
        return fail_unknown_task(req, where, out->task);
    if (out->max_attempts == 0)
        out->max_attempts = task->max_attempts > 0 ? task->max_attempts : c->max_attempts;
    return ERR_OK;
}

/* Objects go to PostgreSQL as the bytes that came: 1.10 stays 1.10. `fallback` is a
 * literal, so it outlives the operation. */
static struct db_value span_or(const struct span *s, const char *fallback)
{
    return s->text != NULL ? db_textn(s->text, (int)s->len) : db_text(fallback);
}

/* Rounded up, because 0 has a meaning of its own. */
static struct db_value ms_or_null(double seconds)
{
    return seconds >= 0 ? db_int((int64_t)(seconds * 1000 + 0.9999)) : db_null();
}

/* The row of job_insert.sql. */
static void put_job(const struct new_job *j, bool want_json, struct db_value *v)
{
    const struct db_value row[INSERT_PARAMS] = {
        db_text(j->task),
        db_text(j->queue),
        db_int(j->priority),
        span_or(&j->args, "{}"),
        db_int(j->max_attempts),
        db_text(j->tags != NULL ? j->tags : "{}"),
        span_or(&j->metadata, "{}"),
        j->scheduled_at != INT64_MIN ? db_int(j->scheduled_at) : db_null(),
        ms_or_null(j->delay_seconds),
        db_text(j->lock),
        db_text(j->queueing_lock),
        db_int(want_json),
        ms_or_null(j->timeout_seconds),
        j->deadline != INT64_MIN ? db_int(j->deadline) : db_null(),
        ms_or_null(j->deadline_seconds),
    };

    assert(sql_params(SQL_job_insert) == INSERT_PARAMS);
    memcpy(v, row, sizeof row);
}

/* The columns of job_insert.sql. */
enum {
    INSERTED_ORD,
    INSERTED_ID,
    INSERTED_RESULT,
    INSERTED_EXISTING,
    INSERTED_SCHEDULED,
    INSERTED_ETAG,
    INSERTED_JOB,
    INSERTED_HAS_DEADLINE
};

/* One job that cannot be put in keeps the others of its batch out, too, and the answer
 * names the first: so a client can take it away and send the rest again. */
static void fail_already_enqueued(struct request *req, const struct db_rows *rows)
{
    int i = 0;

    while (i < rows->count - 1 &&
           strcmp(row_text(rows, i, INSERTED_RESULT), "already-enqueued") != 0)
        i++;
    const char *existing = row_is_null(rows, i, INSERTED_EXISTING)
                               ? "null"
                               : row_text(rows, i, INSERTED_EXISTING);
    req_fail_extra(req, req_printf(req, "\"existing_id\":%s", existing));
    enum err e = rows->count == 1
                     ? req_fail(req, ERR_ALREADY_ENQUEUED,
                                "job %s with this queueing lock is waiting", existing)
                     : req_fail_at(req, ERR_ALREADY_ENQUEUED,
                                   req_printf(req, "/%d/queueing_lock", i),
                                   "job %s with this queueing lock is waiting", existing);
    req_error(req, e);
}

/* -- createJob ----------------------------------------------------------------------- */

static void reply_waited(struct request *req, const struct db_rows *rows)
{
    set_etag(req, row_text(rows, 0, 3));
    req_reply(req, 201, NULL, row_text(rows, 0, 4), (size_t)row_len(rows, 0, 4));
}

static void look_again(struct request *req, int64_t job_id,
                       const struct first_answer *first)
{
    struct db_value *v = submit_values(req, SQL_job_get, 1);

    v[0] = db_int(job_id);
    submit_again(req, SQL_job_get, v, reply_waited, first);
}

/* After the commit. One that is due later is the janitor's business, not the
 * dispatcher's: waking the claims for it would find nothing. */
static void wake_workers(struct request *req, int n, bool scheduled, bool has_deadline)
{
    if (scheduled || has_deadline)
        node_wake_scheduled(req_app(req)->node);
    if (!scheduled)
        node_wake(req_app(req)->node, "", n);
}

static void reply_created(struct request *req, const struct db_rows *rows)
{
    int64_t id = row_int(rows, 0, INSERTED_ID), wait_seconds;

    if (strcmp(row_text(rows, 0, INSERTED_RESULT), "created") != 0) {
        fail_already_enqueued(req, rows);
        return;
    }
    wake_workers(req, 1, row_bool(rows, 0, INSERTED_SCHEDULED),
                 row_bool(rows, 0, INSERTED_HAS_DEADLINE));
    req_set_header(req, "Location", req_printf(req, "/jobs/%" PRId64, id));
    /* The 201 is certain from here on; waiting can only make its document newer. */
    if (req_wait_seconds(req, &wait_seconds) == ERR_OK && wait_seconds > 0) {
        wait_for_end(req, id, wait_seconds, look_again,
                     first_answer(req, 201, row_text(rows, 0, INSERTED_ETAG),
                                  row_text(rows, 0, INSERTED_JOB)));
        return;
    }
    set_etag(req, row_text(rows, 0, INSERTED_ETAG));
    req_reply(req, 201, NULL, row_text(rows, 0, INSERTED_JOB),
              (size_t)row_len(rows, 0, INSERTED_JOB));
}

enum err create_job(struct request *req)
{
    struct new_job job;
    struct span body;
    int64_t wait_seconds;
    enum err e = req_wait_seconds(req, &wait_seconds);

    if (e == ERR_OK)
        e = fields_check_body(req, JSON_OBJECT, &body);
    if (e == ERR_OK)
        e = read_job(req, "", body, &job);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_insert, 1);
    put_job(&job, true, v);
    return submit(req, LANE_WRITE, SQL_job_insert, 1, v, reply_created);
}

/* -- createJobs ---------------------------------------------------------------------- */

/* No documents: 10,000 of them would be some megabytes that nobody reads. The ids are in
 * the order of the body. */
static void reply_batch(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    bool in_calendar = false;

    for (int i = 0; i < rows->count; i++) {
        if (strcmp(row_text(rows, i, INSERTED_RESULT), "created") != 0) {
            fail_already_enqueued(req, rows);
            return;
        }
    }
    buf_addf(&b, "{\"count\":%d,\"ids\":[", rows->count);
    for (int i = 0; i < rows->count; i++) {
        if (i > 0)
            buf_addc(&b, ',');
        buf_adds(&b, row_text(rows, i, INSERTED_ID));
        in_calendar = in_calendar || row_bool(rows, i, INSERTED_SCHEDULED) ||
                      row_bool(rows, i, INSERTED_HAS_DEADLINE);
    }
    buf_adds(&b, "]}");
    wake_workers(req, rows->count, false, in_calendar);
    req_reply_buf(req, 201, &b);
}

/* All or none, in one statement: a client that is refused mends its body and sends it
 * again, and has nothing twice. It is walked through twice, because the room for the
 * values has to be known before the first is read. After 100 jobs the first mistake ends
 * the reading: the list of mistakes is for people. */
enum err create_jobs(struct request *req)
{
    struct json_member element;
    struct span body;
    enum err e = fields_check_body(req, JSON_ARRAY, &body), failed = ERR_OK;
    int n = 0;

    if (e != ERR_OK)
        return e;
    for (struct json_cursor c = json_members(body.text, body.len);
         json_next(&c, &element);)
        n++;
    if (n == 0 || n > BATCH_MAX)
        return req_fail_at(req, ERR_INVALID, "", "must have 1 to %d jobs, not %d",
                           BATCH_MAX, n);
    struct db_value *v = submit_values(req, SQL_job_insert, n);
    int i = 0;
    for (struct json_cursor c = json_members(body.text, body.len);
         json_next(&c, &element); i++) {
        char where[16];
        struct new_job job = {.task = NULL};
        snprintf(where, sizeof where, "/%d", i);
        if (element.type != JSON_OBJECT)
            e = req_fail_at(req, ERR_INVALID, where, "must be an object");
        else
            e = read_job(req, where, (struct span){element.value, element.value_len},
                         &job);
        if (e == ERR_OK)
            put_job(&job, false, v + (size_t)i * INSERT_PARAMS);
        failed = failed == ERR_OK ? e : failed;
        if (failed != ERR_OK && i > 100)
            break;
    }
    return failed != ERR_OK ? failed
                            : submit(req, LANE_WRITE, SQL_job_insert, n, v, reply_batch);
}
