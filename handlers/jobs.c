/* createJob and createJobs: /jobs and /jobs/batch. */
#include "build/gen/operations.h"
#include "handlers/new_job.h"
#include "handlers/wait.h"
#include "server/core/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { BATCH_MAX = 10000 };

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
    req_app(req)->counts.enqueued++;
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
        e = new_job_read(req, "", body, &job);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_insert, 1);
    new_job_put(req, &job, true, v);
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
    req_app(req)->counts.enqueued += rows->count;
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
            e = new_job_read(req, where, (struct span){element.value, element.value_len},
                             &job);
        if (e == ERR_OK)
            new_job_put(req, &job, false, v + (size_t)i * INSERT_PARAMS);
        failed = failed == ERR_OK ? e : failed;
        if (failed != ERR_OK && i > 100)
            break;
    }
    return failed != ERR_OK ? failed
                            : submit(req, LANE_WRITE, SQL_job_insert, n, v, reply_batch);
}
