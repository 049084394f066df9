/* cancelJobs, retryJobs, deleteJobs: POST /cancellations, /retries, /deletions. Many jobs
 * by one request.
 *
 * Ids are one statement, and each gets the result that it would have got alone; a refusal
 * of one does not keep the others from theirs. A filter may mean millions, so it is only
 * written down here (202), and any node takes it on (workers/sweeper.c). Rejected: to do
 * small filters at once: who asks would have to be ready for two kinds of answer, and
 * which one comes would depend on how many jobs there happen to be. */
#include "handlers/bulk.h"

#include "build/gen/operations.h"
#include "handlers/cancellation.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum { GRACE_MAX = 86400, LOOK = 100000, SAMPLE = 10 };

#define AT(member) offsetof(struct bulk, member)
#define FIELDS_OF_ALL                                                                    \
    {"ids", FIELD_ARRAY, AT(ids), 0, 0}, {"filter", FIELD_OBJECT, AT(filter), 0, 65536}, \
        {"all", FIELD_BOOL, AT(all), 0, 0}, {"dry_run", FIELD_BOOL, AT(dry_run), 0, 0},  \
    {                                                                                    \
        "actor", FIELD_TEXT, AT(actor), 0, 255                                           \
    }
#define FIELDS_OF_ABORT                                                                  \
    {"abort", FIELD_BOOL, AT(abort), 0, 0}, {"reason", FIELD_TEXT, AT(reason), 0, 1024}, \
    {                                                                                    \
        "grace_seconds", FIELD_INT, AT(grace_seconds), 0, GRACE_MAX                      \
    }

static const struct field cancel_fields[] = {FIELDS_OF_ALL,
                                             FIELDS_OF_ABORT,
                                             {"delete", FIELD_BOOL, AT(delete), 0, 0},
                                             {"until", FIELD_TIME, AT(until), 0, 0}};
static const struct field delete_fields[] = {FIELDS_OF_ALL, FIELDS_OF_ABORT};
static const struct field retry_fields[] = {FIELDS_OF_ALL, RETRY_FIELDS(AT(retry))};

#define KIND(kind, table, words)                                                         \
    {                                                                                    \
        .name = (kind), .fields = (table), .n_fields = sizeof(table) / sizeof *(table),  \
        .statuses = (words)                                                              \
    }

static const struct bulk_kind cancelling = KIND("cancel", cancel_fields, " todo doing ");
static const struct bulk_kind retrying =
    KIND("retry", retry_fields, " succeeded failed cancelled aborted ");
static const struct bulk_kind deleting =
    KIND("delete", delete_fields, " todo doing succeeded failed cancelled aborted ");

static const struct bulk_kind *kind_of(const struct request *req)
{
    switch (req_operation(req)[0]) {
    case 'c':
        return &cancelling;
    case 'r':
        return &retrying;
    default:
        return &deleting;
    }
}

/* -- a filter ------------------------------------------------------------------------ */

static void reply_operation(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0) {
        req_error(req, req_fail_at(req, ERR_INVALID, "/until", "must be in the future"));
        return;
    }
    node_wake_sweeper(req_app(req)->node);
    req_set_header(req, "Location",
                   req_printf(req, "/operations/%s", row_text(rows, 0, 0)));
    req_reply(req, 202, NULL, row_text(rows, 0, 1), (size_t)row_len(rows, 0, 1));
}

static void reply_preview(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_addf(&b, "{\"dry_run\":true,\"matched\":%s,\"exact\":%s,\"sample\":%s}",
             row_text(rows, 0, 0), row_bool(rows, 0, 1) ? "true" : "false",
             row_text(rows, 0, 2));
    req_reply_buf(req, 200, &b);
}

static enum err submit_filter(struct request *req, const struct bulk_kind *kind,
                              const struct bulk *b)
{
    enum sql sql = b->dry_run ? SQL_operation_preview : SQL_operation_create;
    struct db_value *v = submit_values(req, sql, 1);

    v[0] = db_text(kind->name);
    v[1] = db_textn(b->filter.text, (int)b->filter.len);
    if (b->dry_run) {
        v[2] = db_int(LOOK);
        v[3] = db_int(SAMPLE);
        return submit(req, LANE_READ, sql, 1, v, reply_preview);
    }
    v[2] = db_int(b->abort);
    v[3] = db_int(b->delete);
    v[4] = db_text(b->reason);
    v[5] = db_text(b->actor);
    v[6] = b->grace_seconds < 0 ? db_null() : db_int(b->grace_seconds);
    v[7] = b->until == INT64_MIN ? db_null() : db_int(b->until);
    v[8] = retry_options_value(req, &b->retry);
    return submit(req, LANE_CONTROL, sql, 1, v, reply_operation);
}

/* -- ids ----------------------------------------------------------------------------- */

static void reply_ids(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    const struct bulk_kind *kind = kind_of(req);
    bool has_receipts = kind != &retrying;
    struct bulk bulk;
    int retried = 0;

    if (bulk_read(req, kind, &bulk) != ERR_OK) { /* read before, without mistakes */
        req_error(req, ERR_INTERNAL);
        return;
    }
    struct cancel_options opt = {
        .reason = bulk.reason, .actor = bulk.actor, .grace_seconds = bulk.grace_seconds};
    buf_adds(&b, "{\"dry_run\":false,\"results\":[");
    for (int i = 0; i < rows->count; i++) {
        const char *result = row_text(rows, i, ANSWER_RESULT);
        if (strcmp(result, "aborting") == 0)
            tell_worker(req, rows, i, bulk.id[i], &opt);
        retried += strcmp(result, "retried") == 0;
        add_result(&b, bulk.id[i], result,
                   has_receipts ? row_text(rows, i, ANSWER_CANCELLATION) : NULL);
    }
    buf_adds(&b, "]}");
    node_wake(req_app(req)->node, "", retried);
    if (retried > 0)
        node_wake_scheduled(req_app(req)->node); /* they may have been given a time */
    req_reply_buf(req, 200, &b);
}

static enum err submit_cancel(struct request *req, const struct bulk *b)
{
    struct db_value *v = submit_values(req, SQL_job_cancel, b->n_ids);
    int n = sql_params(SQL_job_cancel);

    for (int i = 0; i < b->n_ids; i++) {
        struct db_value row[] = {db_int(b->id[i]),
                                 db_int(b->abort),
                                 db_int(b->delete),
                                 db_text(b->reason),
                                 db_text(b->actor),
                                 db_text("user"),
                                 b->grace_seconds < 0 ? db_null()
                                                      : db_int(b->grace_seconds),
                                 db_null(),
                                 db_null(),
                                 db_null(),
                                 db_null()};
        memcpy(v + (size_t)i * (size_t)n, row, sizeof row);
    }
    return submit(req, LANE_CONTROL, SQL_job_cancel, b->n_ids, v, reply_ids);
}

static enum err submit_delete(struct request *req, const struct bulk *b)
{
    struct db_value *v = submit_values(req, SQL_job_delete, b->n_ids);
    int n = sql_params(SQL_job_delete);

    for (int i = 0; i < b->n_ids; i++) {
        struct db_value row[] = {db_int(b->id[i]),
                                 db_int(b->abort),
                                 db_text(b->reason),
                                 db_text(b->actor),
                                 b->grace_seconds < 0 ? db_null()
                                                      : db_int(b->grace_seconds),
                                 db_null()};
        memcpy(v + (size_t)i * (size_t)n, row, sizeof row);
    }
    return submit(req, LANE_CONTROL, SQL_job_delete, b->n_ids, v, reply_ids);
}

static enum err submit_retry(struct request *req, const struct bulk *b)
{
    struct db_value *v = submit_values(req, SQL_job_retry, b->n_ids);
    int n = sql_params(SQL_job_retry);
    struct db_value changes = retry_options_value(req, &b->retry);

    for (int i = 0; i < b->n_ids; i++) {
        struct db_value row[] = {db_int(b->id[i]), db_text(b->actor), db_null(), changes};
        memcpy(v + (size_t)i * (size_t)n, row, sizeof row);
    }
    return submit(req, LANE_CONTROL, SQL_job_retry, b->n_ids, v, reply_ids);
}

/* -- ids that are only looked at ----------------------------------------------------- */

/* What would be answered to a job with this status. */
static const char *result_for(const struct bulk_kind *kind, const struct bulk *b,
                              const char *status)
{
    bool is_todo = strcmp(status, "todo") == 0, is_doing = strcmp(status, "doing") == 0;

    if (*status == '\0' || strcmp(status, "deleted") == 0)
        return "job-not-found";
    if (kind == &retrying)
        return is_todo || is_doing ? "job-not-finished" : "retried";
    if (is_doing)
        return b->abort ? "aborting" : "job-running";
    if (kind == &deleting)
        return "deleted";
    if (is_todo)
        return "cancelled";
    return strcmp(status, "cancelled") == 0 ? "already_cancelled"
           : strcmp(status, "aborted") == 0 ? "already_aborted"
                                            : "job-finished";
}

static void reply_looked(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    const struct bulk_kind *kind = kind_of(req);
    struct bulk bulk;
    int row = 0;

    if (bulk_read(req, kind, &bulk) != ERR_OK) { /* read before, without mistakes */
        req_error(req, ERR_INTERNAL);
        return;
    }
    buf_adds(&b, "{\"dry_run\":true,\"results\":[");
    for (int i = 0; i < bulk.n_ids; i++) { /* unknown ids have no row */
        bool known = row < rows->count && row_int(rows, row, 1) == bulk.id[i];
        add_result(&b, bulk.id[i],
                   result_for(kind, &bulk, known ? row_text(rows, row, 2) : ""), NULL);
        row += known;
    }
    buf_adds(&b, "]}");
    req_reply_buf(req, 200, &b);
}

static enum err submit_look(struct request *req, const struct bulk *b)
{
    struct db_value *v = submit_values(req, SQL_job_status, b->n_ids);

    for (int i = 0; i < b->n_ids; i++)
        v[i] = db_int(b->id[i]);
    return submit(req, LANE_READ, SQL_job_status, b->n_ids, v, reply_looked);
}

/* -- the operations ------------------------------------------------------------------ */

static enum err answer(struct request *req,
                       enum err (*submit_ids)(struct request *, const struct bulk *))
{
    const struct bulk_kind *kind = kind_of(req);
    struct bulk b;
    enum err e = bulk_read(req, kind, &b);

    if (e != ERR_OK)
        return e;
    if (b.n_ids == 0)
        return submit_filter(req, kind, &b);
    return b.dry_run ? submit_look(req, &b) : submit_ids(req, &b);
}

enum err cancel_jobs(struct request *req)
{
    return answer(req, submit_cancel);
}

enum err retry_jobs(struct request *req)
{
    return answer(req, submit_retry);
}

enum err delete_jobs(struct request *req)
{
    return answer(req, submit_delete);
}
