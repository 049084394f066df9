/* The key is stored with the answer by the statement that puts the jobs in, so a repeated
 * request is answered with what is stored, and one whose answer was lost on the way from
 * PostgreSQL is sent once more by submit_repeatable(). Rejected: to look the key up
 * first; two requests would both find nothing. */
#include "handlers/put.h"

#include "handlers/created.h"

#include <sodium.h>
#include <string.h>

enum { KEY_MAX = 255, HASH_BYTES = 16, PUT_PARAMS = INSERT_PARAMS + 4 };

/* The columns of job_put.sql. */
enum {
    PUT_ORD,
    PUT_RESULT,
    PUT_STATUS,
    PUT_JOB_ID,
    PUT_EXISTING,
    PUT_PLACE,
    PUT_ETAG,
    PUT_BODY,
    PUT_N_NEW,
    PUT_N_READY,
    PUT_IN_CALENDAR
};

bool is_idempotency_key(const char *key)
{
    size_t len = 0;

    while (key[len] > ' ' && key[len] <= '~')
        len++;
    return key[len] == '\0' && len >= 1 && len <= KEY_MAX;
}

enum err put_read_key(struct request *req, const char **out_key)
{
    const char *given = req_header(req, "Idempotency-Key");

    if (given != NULL && !is_idempotency_key(given))
        return req_fail(req, ERR_BAD_REQUEST,
                        "Idempotency-Key must have 1 to %d visible ASCII characters",
                        KEY_MAX);
    *out_key = given == NULL ? NULL : req_strdup(req, given, strlen(given));
    return ERR_OK;
}

bool put_is_needed(const struct put *put)
{
    bool needed = put->key != NULL;

    for (int i = 0; i < put->n; i++)
        needed = needed || put->on_conflict[i] != NULL;
    return needed;
}

/* -- the answer ---------------------------------------------------------------------- */

static void reply_again(struct request *req)
{
    enum err e = ERR_ALREADY_ENQUEUED;

    if (req_header(req, "Idempotency-Key") != NULL)
        e = ERR_KEY_IN_FLIGHT;
    req_set_header(req, "Retry-After", "1");
    req_error(req, req_fail(req, e, "another request is at it; repeat this one"));
}

/* What a batch made has no ETag, and is nowhere as a whole. */
static void reply_done(struct request *req, const struct db_rows *rows)
{
    int status = (int)row_int(rows, 0, PUT_STATUS);

    if (row_is_null(rows, 0, PUT_ETAG))
        req_reply(req, status, NULL, row_text(rows, 0, PUT_BODY),
                  (size_t)row_len(rows, 0, PUT_BODY));
    else
        reply_created(req, status, row_int(rows, 0, PUT_JOB_ID),
                      row_text(rows, 0, PUT_ETAG), row_text(rows, 0, PUT_BODY));
}

/* A replay may be of what this very request has done, before a connection was lost: its
 * jobs would wait for the next poll. */
static void reply_replayed(struct request *req, const struct db_rows *rows)
{
    created_wake(req, 1, true);
    req_set_header(req, "Idempotency-Replayed", "true");
    reply_done(req, rows);
}

static void reply_put(struct request *req, const struct db_rows *rows)
{
    const char *result = row_text(rows, 0, PUT_RESULT);

    if (strcmp(result, "done") == 0) {
        req_app(req)->counts.enqueued += row_int(rows, 0, PUT_N_NEW);
        created_wake(req, (int)row_int(rows, 0, PUT_N_READY),
                     row_bool(rows, 0, PUT_IN_CALENDAR));
        reply_done(req, rows);
    } else if (strcmp(result, "replayed") == 0) {
        reply_replayed(req, rows);
    } else if (strcmp(result, "already-enqueued") == 0 || is_without_parent(result)) {
        bool alone = strcmp(req_operation(req), "createJob") == 0;
        reply_not_created(
            req, result,
            row_is_null(rows, 0, PUT_EXISTING) ? "null" : row_text(rows, 0, PUT_EXISTING),
            alone ? -1 : (int)row_int(rows, 0, PUT_PLACE));
    } else if (strcmp(result, "key-reused") == 0) {
        req_error(req, req_fail(req, ERR_KEY_REUSED,
                                "this Idempotency-Key came with another body before"));
    } else {
        reply_again(req);
    }
}

/* -- the statement ------------------------------------------------------------------- */

/* Of the operation and the body: what a request with the same key has to be, too. */
static const char *hash_of(struct request *req)
{
    unsigned char hash[HASH_BYTES];
    char *text = req_alloc(req, 2 * HASH_BYTES + 1);
    const char *operation = req_operation(req);
    crypto_generichash_state state;
    size_t len;
    const char *body = req_body(req, &len);

    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const unsigned char *)operation,
                              strlen(operation) + 1);
    crypto_generichash_update(&state, (const unsigned char *)body, len);
    crypto_generichash_final(&state, hash, sizeof hash);
    return sodium_bin2hex(text, 2 * HASH_BYTES + 1, hash, sizeof hash);
}

enum err put_submit(struct request *req, const struct put *put)
{
    struct db_value *v = submit_values(req, SQL_job_put, put->n), *row = v;
    const char *hash = put->key == NULL ? NULL : hash_of(req);

    for (int i = 0; i < put->n; i++, row += PUT_PARAMS) {
        memcpy(row, put->rows + (size_t)i * INSERT_PARAMS, INSERT_PARAMS * sizeof *row);
        row[INSERT_PARAMS] = db_text(put->key);
        row[INSERT_PARAMS + 1] = db_text(hash);
        row[INSERT_PARAMS + 2] = db_int(req_app(req)->config->idempotency_hours * 3600);
        row[INSERT_PARAMS + 3] = db_text(put->on_conflict[i]);
    }
    /* Without a key it would happen twice. */
    if (put->key == NULL)
        return submit(req, LANE_WRITE, SQL_job_put, put->n, v, reply_put);
    return submit_repeatable(req, LANE_WRITE, SQL_job_put, put->n, v, reply_put);
}
