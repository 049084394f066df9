/* listLocks: who has each lock, and how many wait for it.
 *
 * A lock may be any text, so the cursor is the last one of the page before in hex. */
#include "build/gen/operations.h"
#include "handlers/submit.h"
#include "server/core/cleanup.h"
#include "server/core/utf8.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 200, LOCK_BYTES_MAX = 1020 };

enum { LOCK_NAME, LOCK_DOCUMENT };

static const char *encode(struct request *req, const char *lock)
{
    size_t len = strlen(lock);
    char *hex = req_alloc(req, 2 * len + 1);

    return sodium_bin2hex(hex, 2 * len + 1, (const unsigned char *)lock, len);
}

/* NULL: it is none of ours. */
static const char *decode(struct request *req, const char *cursor)
{
    char *lock = req_alloc(req, LOCK_BYTES_MAX + 1);
    size_t len;
    const char *end;

    if (sodium_hex2bin((unsigned char *)lock, LOCK_BYTES_MAX, cursor, strlen(cursor),
                       NULL, &len, &end) != 0 ||
        *end != '\0' || len == 0 || memchr(lock, '\0', len) != NULL ||
        !utf8_is_good(lock, len))
        return NULL;
    return lock;
}

static void reply_locks(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    const char *cursor = NULL;
    int64_t limit = LIMIT_DEFAULT;
    int n = rows->count;

    if (req_query_int(req, "limit", 1, LIMIT_MAX, &limit) == ERR_OK && n > limit) {
        n = (int)limit;
        cursor = encode(req, row_text(rows, n - 1, LOCK_NAME));
        req_set_header(req, "Link",
                       req_printf(req,
                                  "</locks?cursor=%s&limit=%" PRId64 ">; rel=\"next\"",
                                  cursor, limit));
    }
    buf_adds(&b, "{\"locks\":[");
    for (int i = 0; i < n; i++)
        buf_addf(&b, "%s%s", i > 0 ? "," : "", row_text(rows, i, LOCK_DOCUMENT));
    buf_addf(&b, cursor != NULL ? "],\"next_cursor\":\"%s\"}" : "],\"next_cursor\":null}",
             cursor);
    req_reply_buf(req, 200, &b);
}

enum err list_locks(struct request *req)
{
    const char *cursor = req_query(req, "cursor"), *after = NULL;
    int64_t limit = LIMIT_DEFAULT;
    enum err e = req_query_int(req, "limit", 1, LIMIT_MAX, &limit);

    if (e != ERR_OK)
        return e;
    if (cursor != NULL && (after = decode(req, cursor)) == NULL)
        return req_fail(req, ERR_BAD_QUERY,
                        "cursor=%s is not the next_cursor of such a list", cursor);
    struct db_value *v = submit_values(req, SQL_lock_list, 1);
    v[0] = db_text(after);
    v[1] = db_text(req_query(req, "lock"));
    v[2] = db_int(limit + 1);
    return submit(req, LANE_READ, SQL_lock_list, 1, v, reply_locks);
}
