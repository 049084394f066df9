/* createJob and createJobs: /jobs and /jobs/batch. */
#include "build/gen/operations.h"
#include "handlers/created.h"
#include "handlers/put.h"
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

static bool is_refused_alone(const struct db_rows *rows, int i)
{
    const char *result = row_text(rows, i, INSERTED_RESULT);

    return strcmp(result, "created") != 0 && strcmp(result, "refused") != 0;
}

static void reply_refused(struct request *req, const struct db_rows *rows)
{
    int i = 0;

    while (i < rows->count - 1 && !is_refused_alone(rows, i))
        i++;
    reply_not_created(req, row_text(rows, i, INSERTED_RESULT),
                      row_is_null(rows, i, INSERTED_EXISTING)
                          ? "null"
                          : row_text(rows, i, INSERTED_EXISTING),
                      rows->count == 1 ? -1 : i);
}

/* -- createJob ----------------------------------------------------------------------- */

static void reply_inserted(struct request *req, const struct db_rows *rows)
{
    bool scheduled = row_bool(rows, 0, INSERTED_SCHEDULED);

    if (strcmp(row_text(rows, 0, INSERTED_RESULT), "created") != 0) {
        reply_refused(req, rows);
        return;
    }
    req_app(req)->counts.enqueued++;
    created_wake(req, !scheduled, scheduled || row_bool(rows, 0, INSERTED_HAS_DEADLINE));
    reply_created(req, 201, row_int(rows, 0, INSERTED_ID),
                  row_text(rows, 0, INSERTED_ETAG), row_text(rows, 0, INSERTED_JOB));
}

enum err create_job(struct request *req)
{
    struct new_job job;
    struct span body;
    struct put put;
    int64_t wait_seconds;
    enum err e = req_wait_seconds(req, &wait_seconds);

    if (e == ERR_OK)
        e = put_read_key(req, &put.key);
    if (e == ERR_OK)
        e = fields_check_body(req, JSON_OBJECT, &body);
    if (e == ERR_OK)
        e = new_job_read(req, "", body, &job);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_job_insert, 1);
    new_job_put(req, &job, true, v);
    put =
        (struct put){.key = put.key, .n = 1, .rows = v, .on_conflict = &job.on_conflict};
    return put_is_needed(&put)
               ? put_submit(req, &put)
               : submit(req, LANE_WRITE, SQL_job_insert, 1, v, reply_inserted);
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
            reply_refused(req, rows);
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
    created_wake(req, rows->count, in_calendar);
    req_reply_buf(req, 201, &b);
}

static enum err submit_batch(struct request *req, int n, const struct db_value *v,
                             const char *const *on_conflict)
{
    struct put put = {.n = n, .rows = v, .on_conflict = on_conflict};
    enum err e = put_read_key(req, &put.key);

    if (e != ERR_OK)
        return e;
    return put_is_needed(&put)
               ? put_submit(req, &put)
               : submit(req, LANE_WRITE, SQL_job_insert, n, v, reply_batch);
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
    const char **on_conflict = req_alloc(req, (size_t)n * sizeof *on_conflict);
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
        on_conflict[i] = job.on_conflict;
        failed = failed == ERR_OK ? e : failed;
        if (failed != ERR_OK && i > 100)
            break;
    }
    return failed != ERR_OK ? failed : submit_batch(req, n, v, on_conflict);
}
