/* listOperations, getOperation, cancelOperation: what became of bulk requests, and the
 * rules that stand. An operation is a row; its document is made by the database. */
#include "build/gen/operations.h"

#include "handlers/page.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void fail_unknown(struct request *req)
{
    req_error(req, req_fail(req, ERR_OPERATION_NOT_FOUND, "there is no operation %s",
                            req_path(req, "operationId")));
}

/* -- getOperation -------------------------------------------------------------------- */

static void reply_operation(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0)
        fail_unknown(req);
    else
        req_reply(req, 200, NULL, row_text(rows, 0, 0), (size_t)row_len(rows, 0, 0));
}

enum err get_operation(struct request *req)
{
    int64_t id;
    enum err e = req_path_id(req, "operationId", ERR_OPERATION_NOT_FOUND, &id);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_operation_get, 1);
    v[0] = db_int(id);
    return submit(req, LANE_READ, SQL_operation_get, 1, v, reply_operation);
}

/* -- listOperations ------------------------------------------------------------------ */

enum { LIST_STATUS, LIST_STANDING, LIST_BEFORE_ID, LIST_LIMIT };

static void reply_operations(struct request *req, const struct db_rows *rows)
{
    int n = page_rows(req, rows);

    reply_page(req, rows, "operations", n,
               n < rows->count ? row_text(rows, n - 1, 0) : NULL);
}

static enum err read_status(struct request *req, struct db_value *out)
{
    const char *status = req_query(req, "status");

    if (status != NULL && strcmp(status, "running") != 0 && strcmp(status, "done") != 0 &&
        strcmp(status, "cancelled") != 0)
        return req_fail(req, ERR_BAD_QUERY, "status=%s: use running, done or cancelled",
                        status);
    *out = db_text(status);
    return ERR_OK;
}

static enum err read_cursor(struct request *req, struct db_value *out)
{
    const char *text = req_query(req, "cursor");
    int64_t id = 0;

    if (text != NULL && req_query_int(req, "cursor", 1, JOB_ID_MAX, &id) != ERR_OK)
        return fail_cursor(req);
    *out = text != NULL ? db_int(id) : db_null();
    return ERR_OK;
}

enum err list_operations(struct request *req)
{
    struct db_value *v = submit_values(req, SQL_operation_list, 1);
    int64_t limit = 0;
    bool standing = false;
    enum err e = read_status(req, &v[LIST_STATUS]);

    if (e == ERR_OK)
        e = read_cursor(req, &v[LIST_BEFORE_ID]);
    if (e == ERR_OK)
        e = req_query_bool(req, "standing", &standing);
    if (e == ERR_OK)
        e = page_limit(req, &limit);
    if (e != ERR_OK)
        return e;
    v[LIST_STANDING] = req_query(req, "standing") != NULL ? db_int(standing) : db_null();
    v[LIST_LIMIT] = db_int(limit + 1);
    return submit(req, LANE_READ, SQL_operation_list, 1, v, reply_operations);
}

/* -- cancelOperation ----------------------------------------------------------------- */

/* One that is done cannot be stopped any more: to say 200 to that would let somebody
 * believe that the rest of the jobs is safe. */
static void reply_cancelled(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, 0);

    if (strcmp(result, "operation-not-found") == 0) {
        fail_unknown(req);
    } else if (strcmp(result, "operation-finished") == 0) {
        req_fail_extra(req, req_printf(req, "\"operation\":%s", row_text(rows, 0, 1)));
        req_error(req, req_fail(req, ERR_OPERATION_FINISHED,
                                "operation %s has finished already",
                                req_path(req, "operationId")));
    } else {
        req_reply(req, 200, NULL, row_text(rows, 0, 1), (size_t)row_len(rows, 0, 1));
    }
}

enum err cancel_operation(struct request *req)
{
    int64_t id;
    enum err e = req_path_id(req, "operationId", ERR_OPERATION_NOT_FOUND, &id);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_operation_cancel, 1);
    v[0] = db_int(id);
    return submit(req, LANE_CONTROL, SQL_operation_cancel, 1, v, reply_cancelled);
}
