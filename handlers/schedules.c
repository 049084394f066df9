/* putSchedule, getSchedule, deleteSchedule, listSchedules, pauseSchedule, resumeSchedule,
 * runSchedule: jobs that come back by the clock.
 *
 * What an expression and a time zone mean is the database's to say, which makes the
 * ticks: it answers `invalid` with the member and the reason. So there is one reader of
 * cron expressions and one list of zones, and all nodes agree. */
#include "build/gen/operations.h"
#include "handlers/fields.h"
#include "handlers/known_task.h"
#include "handlers/page.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum {
    PUT_PARAMS = 15,
    NAME_MAX_BYTES = 128,
    CRON_MAX = 255,
    MAX_DELAY_SECONDS = 315360000,
    TIMEOUT_MAX_SECONDS = 604800,
    METADATA_MAX_BYTES = 16384,
};

static const char name_characters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-";

static bool is_schedule_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= NAME_MAX_BYTES && strspn(name, name_characters) == len;
}

static void fail_unknown(struct request *req)
{
    req_error(req, req_fail(req, ERR_SCHEDULE_NOT_FOUND, "there is no schedule %s",
                            req_path(req, "name")));
}

/* A statement that has the name as its first parameter. */
static struct db_value *values_of(struct request *req, enum sql sql)
{
    struct db_value *v = submit_values(req, sql, 1);

    v[0] = db_text(req_path(req, "name"));
    return v;
}

/* The columns of schedule_get.sql and schedule_pause.sql. */
enum { SCHEDULE_ETAG, SCHEDULE_JSON };

static void reply_schedule(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0) {
        fail_unknown(req);
        return;
    }
    set_etag(req, row_text(rows, 0, SCHEDULE_ETAG));
    req_reply(req, 200, NULL, row_text(rows, 0, SCHEDULE_JSON),
              (size_t)row_len(rows, 0, SCHEDULE_JSON));
}

/* -- putSchedule --------------------------------------------------------------------- */

/* A schedule as the client wrote it. */
struct new_schedule {
    const char *cron, *timezone, *task, *queue, *lock, *queueing_lock, *tags;
    int64_t priority, max_attempts;
    double timeout_seconds, max_delay_seconds;
    struct span args, metadata;
    bool paused;
};

static const struct new_schedule defaults = {.timezone = "UTC",
                                             .queue = "default",
                                             .tags = "{}",
                                             .timeout_seconds = -1,
                                             .max_delay_seconds = 600,
                                             .args = {"{}", 2},
                                             .metadata = {"{}", 2}};

#define AT(member) offsetof(struct new_schedule, member)

static enum err read_schedule(struct request *req, struct span body,
                              struct new_schedule *out)
{
    const struct field fields[] = {
        {"cron", FIELD_TEXT, AT(cron), 1, CRON_MAX},
        {"timezone", FIELD_TEXT, AT(timezone), 1, CRON_MAX},
        {"task", FIELD_NAME, AT(task), 1, 128},
        {"queue", FIELD_NAME, AT(queue), 1, 128},
        {"args", FIELD_OBJECT, AT(args), 0, req_app(req)->config->args_max_bytes},
        {"priority", FIELD_INT, AT(priority), INT32_MIN, INT32_MAX},
        {"lock", FIELD_TEXT, AT(lock), 1, 255},
        {"queueing_lock", FIELD_TEXT, AT(queueing_lock), 1, 255},
        {"max_attempts", FIELD_INT, AT(max_attempts), 1, 1000},
        {"tags", FIELD_STRINGS, AT(tags), 0, 20},
        {"metadata", FIELD_OBJECT, AT(metadata), 0, METADATA_MAX_BYTES},
        {"timeout_seconds", FIELD_NUMBER, AT(timeout_seconds), 0, TIMEOUT_MAX_SECONDS},
        {"max_delay_seconds", FIELD_NUMBER, AT(max_delay_seconds), 0, MAX_DELAY_SECONDS},
        {"paused", FIELD_BOOL, AT(paused), 0, 0},
    };
    const struct task *task;

    *out = defaults;
    enum err e = fields_read(req, "", body, fields, sizeof fields / sizeof *fields, out);
    if (e == ERR_OK && out->cron == NULL)
        e = req_fail_at(req, ERR_INVALID, "/cron", "is needed, as \"0 3 * * *\"");
    if (e == ERR_OK)
        e = known_task(req, "", out->task, &task);
    if (e == ERR_OK && out->max_attempts == 0)
        out->max_attempts = known_task_attempts(req, task);
    return e;
}

/* Whether a switch is said at all: a definition that is put again, without a word about
 * it, must not start what somebody has paused. */
static bool says(struct span body, const char *key)
{
    struct json_member m;

    for (struct json_cursor c = json_members(body.text, body.len); json_next(&c, &m);) {
        if (json_key_is(&m, key) && m.type != JSON_NULL)
            return true;
    }
    return false;
}

/* Rounded up, because 0 has a meaning of its own. */
static struct db_value ms_or_null(double seconds)
{
    return seconds >= 0 ? db_int((int64_t)(seconds * 1000 + 0.9999)) : db_null();
}

enum { PUT_RESULT, PUT_POINTER, PUT_DETAIL, PUT_ETAG, PUT_SCHEDULE };

static void reply_put(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, PUT_RESULT);
    bool created = strcmp(result, "created") == 0;

    if (strcmp(result, "invalid") == 0) {
        req_error(req, req_fail_at(req, ERR_INVALID, row_text(rows, 0, PUT_POINTER), "%s",
                                   row_text(rows, 0, PUT_DETAIL)));
        return;
    }
    node_wake_scheduled(req_app(req)->node);
    if (created)
        req_set_header(req, "Location",
                       req_printf(req, "/schedules/%s", req_path(req, "name")));
    set_etag(req, row_text(rows, 0, PUT_ETAG));
    req_reply(req, created ? 201 : 200, NULL, row_text(rows, 0, PUT_SCHEDULE),
              (size_t)row_len(rows, 0, PUT_SCHEDULE));
}

enum err put_schedule(struct request *req)
{
    struct new_schedule s;
    struct span body;
    enum err e = fields_check_body(req, JSON_OBJECT, &body);

    if (e == ERR_OK && !is_schedule_name(req_path(req, "name")))
        e = req_fail(req, ERR_INVALID,
                     "a schedule's name has 1 to 128 letters, digits and _ . : -");
    if (e == ERR_OK)
        e = read_schedule(req, body, &s);
    if (e != ERR_OK)
        return e;
    const struct db_value row[PUT_PARAMS] = {
        db_text(req_path(req, "name")),
        db_text(s.cron),
        db_text(s.timezone),
        db_text(s.task),
        db_text(s.queue),
        db_textn(s.args.text, (int)s.args.len),
        db_int(s.priority),
        db_text(s.lock),
        db_text(s.queueing_lock),
        db_int(s.max_attempts),
        db_text(s.tags),
        db_textn(s.metadata.text, (int)s.metadata.len),
        ms_or_null(s.timeout_seconds),
        ms_or_null(s.max_delay_seconds),
        says(body, "paused") ? db_int(s.paused) : db_null(),
    };
    struct db_value *v = submit_values(req, SQL_schedule_put, 1);
    memcpy(v, row, sizeof row);
    return submit(req, LANE_WRITE, SQL_schedule_put, 1, v, reply_put);
}

/* -- getSchedule, deleteSchedule ----------------------------------------------------- */

enum err get_schedule(struct request *req)
{
    struct db_value *v = values_of(req, SQL_schedule_get);

    return submit(req, LANE_READ, SQL_schedule_get, 1, v, reply_schedule);
}

static void reply_deleted(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0)
        fail_unknown(req);
    else
        req_reply(req, 204, NULL, "", 0);
}

enum err delete_schedule(struct request *req)
{
    struct db_value *v = values_of(req, SQL_schedule_delete);

    return submit(req, LANE_CONTROL, SQL_schedule_delete, 1, v, reply_deleted);
}

/* -- pauseSchedule, resumeSchedule --------------------------------------------------- */

static void reply_resumed(struct request *req, const struct db_rows *rows)
{
    node_wake_scheduled(req_app(req)->node);
    reply_schedule(req, rows);
}

static enum err set_paused(struct request *req, bool paused)
{
    struct db_value *v = values_of(req, SQL_schedule_pause);

    v[1] = db_int(paused);
    return submit(req, LANE_CONTROL, SQL_schedule_pause, 1, v,
                  paused ? reply_schedule : reply_resumed);
}

enum err pause_schedule(struct request *req)
{
    return set_paused(req, true);
}

enum err resume_schedule(struct request *req)
{
    return set_paused(req, false);
}

/* -- runSchedule --------------------------------------------------------------------- */

/* The columns of schedule_run.sql. */
enum { RUN_RESULT, RUN_ID, RUN_EXISTING, RUN_QUEUE, RUN_ETAG, RUN_JOB };

static void fail_already_enqueued(struct request *req, const struct db_rows *rows)
{
    const char *existing =
        row_is_null(rows, 0, RUN_EXISTING) ? "null" : row_text(rows, 0, RUN_EXISTING);

    req_fail_extra(req, req_printf(req, "\"existing_id\":%s", existing));
    req_error(req, req_fail(req, ERR_ALREADY_ENQUEUED,
                            "job %s with this queueing lock is waiting", existing));
}

static void reply_run(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0) {
        fail_unknown(req);
        return;
    }
    if (strcmp(row_text(rows, 0, RUN_RESULT), "created") != 0) {
        fail_already_enqueued(req, rows);
        return;
    }
    /* After the commit: a claim that came earlier would not see the job. */
    node_wake(req_app(req)->node, row_text(rows, 0, RUN_QUEUE), 1);
    req_set_header(req, "Location",
                   req_printf(req, "/jobs/%s", row_text(rows, 0, RUN_ID)));
    set_etag(req, row_text(rows, 0, RUN_ETAG));
    req_reply(req, 201, NULL, row_text(rows, 0, RUN_JOB),
              (size_t)row_len(rows, 0, RUN_JOB));
}

enum err run_schedule(struct request *req)
{
    struct db_value *v = values_of(req, SQL_schedule_run);

    return submit(req, LANE_WRITE, SQL_schedule_run, 1, v, reply_run);
}

/* -- listSchedules ------------------------------------------------------------------- */

/* The cursor is the name that the page ended with, behind a letter that tells it from the
 * cursors of other lists. */
static void reply_schedules(struct request *req, const struct db_rows *rows)
{
    const char *cursor = NULL;
    int n = page_rows(req, rows);

    if (n < rows->count) {
        cursor = req_printf(req, "n%s", row_text(rows, n - 1, 0));
        req_set_header(
            req, "Link",
            req_printf(req, "</schedules?cursor=%s&limit=%d>; rel=\"next\"", cursor, n));
    }
    reply_page(req, rows, "schedules", n, cursor);
}

enum err list_schedules(struct request *req)
{
    const char *cursor = req_query(req, "cursor");
    int64_t limit;
    enum err e = page_limit(req, &limit);

    if (e == ERR_OK && cursor != NULL &&
        (cursor[0] != 'n' || !is_schedule_name(cursor + 1)))
        e = fail_cursor(req);
    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_schedule_list, 1);
    v[0] = db_text(cursor != NULL ? cursor + 1 : NULL);
    v[1] = db_int(limit + 1);
    return submit(req, LANE_READ, SQL_schedule_list, 1, v, reply_schedules);
}
