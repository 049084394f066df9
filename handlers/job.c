/* getJob, listJobs and listJobChildren.
 *
 * Pages go by id and not by an offset: an offset walks over all that it skips, and shows
 * a job twice or never when one is added meanwhile. Ids rise with the time of creation,
 * so the order by id is what `sort=created_at` means. */
#include "build/gen/operations.h"
#include "handlers/fields.h"
#include "handlers/list_filters.h"
#include "handlers/page.h"
#include "handlers/submit.h"
#include "handlers/time.h"
#include "handlers/wait.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- getJob -------------------------------------------------------------------------- */

enum { JOB_ORD, JOB_ID, JOB_STATUS, JOB_ETAG, JOB_JSON };

/* By the id in the path, not in the row: this also answers for a job that has no row. */
static void reply_job(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0) {
        req_error(req, req_fail(req, ERR_JOB_NOT_FOUND, "there is no job %s",
                                req_path(req, "jobId")));
        return;
    }
    set_etag(req, row_text(rows, 0, JOB_ETAG));
    req_reply(req, 200, NULL, row_text(rows, 0, JOB_JSON),
              (size_t)row_len(rows, 0, JOB_JSON));
}

static enum err ask(struct request *req, int64_t job_id, reply_fn *reply)
{
    struct db_value *v = submit_values(req, SQL_job_get, 1);

    v[0] = db_int(job_id);
    return submit(req, LANE_READ, SQL_job_get, 1, v, reply);
}

/* The second look of a request that waits. There is no first answer to fall back to:
 * nothing was changed, so a failure may be said. */
static void look_again(struct request *req, int64_t job_id,
                       const struct first_answer *first)
{
    struct db_value *v = submit_values(req, SQL_job_get, 1);

    v[0] = db_int(job_id);
    submit_again(req, SQL_job_get, v, reply_job, first);
}

/* The first look of a request that waits: only a job that has not ended is waited for. */
static void reply_or_wait(struct request *req, const struct db_rows *rows)
{
    const char *status = rows->count > 0 ? row_text(rows, 0, JOB_STATUS) : "";
    int64_t seconds;

    if ((strcmp(status, "todo") == 0 || strcmp(status, "doing") == 0) &&
        req_wait_seconds(req, &seconds) == ERR_OK)
        wait_for_end(req, row_int(rows, 0, JOB_ID), seconds, look_again, NULL);
    else
        reply_job(req, rows);
}

enum err get_job(struct request *req)
{
    int64_t job_id, seconds;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e == ERR_OK)
        e = req_wait_seconds(req, &seconds);
    return e == ERR_OK ? ask(req, job_id, seconds > 0 ? reply_or_wait : reply_job) : e;
}

/* -- listJobs ------------------------------------------------------------------------ */

/* The parameters of job_list.sql, in its order. */
enum {
    LIST_STATUSES,
    LIST_QUEUE,
    LIST_TASK,
    LIST_TAG,
    LIST_LOCK,
    LIST_AFTER,
    LIST_BEFORE,
    LIST_ASCENDING,
    LIST_AFTER_ID,
    LIST_LIMIT,
    LIST_PARENT,
    LIST_MORE,
    LIST_PARAMS
};

static enum err read_time_filter(struct request *req, const char *name,
                                 struct db_value *out)
{
    const char *text = req_query(req, name);
    int64_t us;

    if (text == NULL)
        return ERR_OK;
    if (!time_parse(text, strlen(text), &us))
        return req_fail(req, ERR_BAD_QUERY,
                        "%s=%s: use a time with offset, as 2026-11-23T20:00:00Z", name,
                        text);
    *out = db_int(us);
    return ERR_OK;
}

static const char digits36[] = "0123456789abcdefghijklmnopqrstuvwxyz";

/* A cursor is the direction and the last id of the page before: opaque to clients,
 * readable to us. strtoll() alone would take blanks, signs and capital letters too. */
static enum err read_cursor(struct request *req, bool ascending, struct db_value *out)
{
    const char *text = req_query(req, "cursor");

    if (text == NULL)
        return ERR_OK;
    if (text[0] != (ascending ? 'a' : 'd') ||
        text[1 + strspn(text + 1, digits36)] != '\0')
        return fail_cursor(req);
    int64_t id = strtoll(text + 1, NULL, 36);
    if (id <= 0 || id > JOB_ID_MAX)
        return fail_cursor(req);
    *out = db_int(id);
    return ERR_OK;
}

static enum err read_sort(struct request *req, bool *out_ascending)
{
    const char *sort = req_query(req, "sort");

    *out_ascending = sort != NULL && strcmp(sort, "created_at") == 0;
    if (sort == NULL || *out_ascending || strcmp(sort, "-created_at") == 0)
        return ERR_OK;
    return req_fail(req, ERR_BAD_QUERY, "sort=%s: use created_at or -created_at", sort);
}

/* Filters that name what does not exist are good and find nothing: queues and tasks come
 * and go, and a list must not become an error with the last job of a queue. */
static enum err read_filters(struct request *req, struct db_value *v)
{
    const char *status = req_query(req, "status");
    const char *literal = status != NULL ? status_list(req, status) : NULL;
    bool ascending;
    int64_t limit = 0;
    enum err e = read_sort(req, &ascending);

    if (status != NULL && literal == NULL)
        return req_fail(req, ERR_BAD_QUERY, "status=%s: use " STATUS_WORDS, status);
    v[LIST_STATUSES] = db_text(literal);
    v[LIST_QUEUE] = db_text(req_query(req, "queue"));
    v[LIST_TASK] = db_text(req_query(req, "task"));
    v[LIST_TAG] = db_text(req_query(req, "tag"));
    v[LIST_LOCK] = db_text(req_query(req, "lock"));
    v[LIST_AFTER] = v[LIST_BEFORE] = v[LIST_AFTER_ID] = v[LIST_PARENT] = db_null();
    v[LIST_ASCENDING] = db_int(ascending);
    if (e == ERR_OK)
        e = read_time_filter(req, "created_after", &v[LIST_AFTER]);
    if (e == ERR_OK)
        e = read_time_filter(req, "created_before", &v[LIST_BEFORE]);
    if (e == ERR_OK)
        e = read_cursor(req, ascending, &v[LIST_AFTER_ID]);
    if (e == ERR_OK)
        e = page_limit(req, &limit);
    if (e == ERR_OK)
        e = list_filters_read(req, &v[LIST_MORE]);
    v[LIST_LIMIT] = db_int(limit + 1); /* one more tells whether there is a next page */
    return e;
}

/* Backwards from the end, as digits come. 13 digits hold any int64_t. */
static const char *base36(struct request *req, int64_t id)
{
    char text[16], *p = text + sizeof text;

    *--p = '\0';
    do
        *--p = digits36[id % 36];
    while ((id /= 36) > 0);
    return req_strdup(req, p, strlen(p));
}

/* The raw query of this request without its cursor, for Link. */
static void add_next_link(struct request *req, const char *path, const char *cursor)
{
    static const char *const names[] = {
        "status",         "queue", "task",  "tag",       "lock",      "created_after",
        "created_before", "sort",  "limit", "parent_id", LIST_FILTERS};
    CLEANUP(buf_release) struct buf link = BUF_INIT;

    buf_addf(&link, "<%s?cursor=%s", path, cursor);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = req_query(req, names[i]);
        if (value == NULL)
            continue;
        buf_addf(&link, "&%s=", names[i]);
        for (; *value != '\0'; value++) {
            bool plain =
                strchr("&%#+<>\" ", *value) == NULL && (unsigned char)*value < 0x7f;
            buf_addf(&link, plain ? "%c" : "%%%02X", (unsigned char)*value);
        }
    }
    buf_adds(&link, ">; rel=\"next\"");
    req_set_header(req, "Link", link.text);
}

static void reply_jobs_of(struct request *req, const struct db_rows *rows,
                          const char *path)
{
    const char *sort = req_query(req, "sort"), *cursor = NULL;
    int n = page_rows(req, rows);

    if (n < rows->count) {
        cursor = req_printf(req, "%c%s", sort != NULL && sort[0] == 'c' ? 'a' : 'd',
                            base36(req, row_int(rows, n - 1, 0)));
        add_next_link(req, path, cursor);
    }
    if (n > 0 && row_is_null(rows, 0, 0))
        n = 0; /* no such parent */
    reply_page(req, rows, "jobs", n, cursor);
}

static void reply_jobs(struct request *req, const struct db_rows *rows)
{
    reply_jobs_of(req, rows, "/jobs");
}

enum err list_jobs(struct request *req)
{
    struct db_value *v = submit_values(req, SQL_job_list, 1);
    enum err e = read_filters(req, v);
    int64_t parent_id = 0;

    if (e == ERR_OK)
        e = req_query_int(req, "parent_id", 1, JOB_ID_MAX, &parent_id);
    if (parent_id > 0)
        v[LIST_PARENT] = db_int(parent_id);
    return e == ERR_OK ? submit(req, LANE_READ, SQL_job_list, 1, v, reply_jobs) : e;
}

/* -- listJobChildren ----------------------------------------------------------------- */

static void reply_children(struct request *req, const struct db_rows *rows)
{
    const char *id = req_path(req, "jobId");

    if (rows->count > 0 && row_is_null(rows, 0, 0))
        req_error(req, req_fail(req, ERR_JOB_NOT_FOUND, "there is no job %s", id));
    else
        reply_jobs_of(req, rows, req_printf(req, "/jobs/%s/children", id));
}

enum err list_job_children(struct request *req)
{
    struct db_value *v = submit_values(req, SQL_job_list, 1);
    enum err e = read_filters(req, v);
    int64_t parent_id = 0;

    if (e == ERR_OK)
        e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &parent_id);
    v[LIST_PARENT] = db_int(parent_id);
    return e == ERR_OK ? submit(req, LANE_READ, SQL_job_list, 1, v, reply_children) : e;
}
