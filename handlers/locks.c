/* listLocks: who has each lock, and how many wait for it.
 *
 * A lock may be any text, so the cursor is the last one of the page before in hex. */
#include "build/gen/operations.h"
#include "handlers/page.h"
#include "server/core/cleanup.h"
#include "server/core/utf8.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

enum { LOCK_BYTES_MAX = 1020 };

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
    const char *cursor = NULL;
    int n = page_rows(req, rows);

    if (n < rows->count) {
        cursor = encode(req, row_text(rows, n - 1, LOCK_NAME));
        req_set_header(
            req, "Link",
            req_printf(req, "</locks?cursor=%s&limit=%d>; rel=\"next\"", cursor, n));
    }
    reply_page(req, rows, "locks", n, cursor);
}

enum err list_locks(struct request *req)
{
    const char *cursor = req_query(req, "cursor"), *after = NULL;
    int64_t limit;
    enum err e = page_limit(req, &limit);

    if (e != ERR_OK)
        return e;
    if (cursor != NULL && (after = decode(req, cursor)) == NULL)
        return fail_cursor(req);
    struct db_value *v = submit_values(req, SQL_lock_list, 1);
    v[0] = db_text(after);
    v[1] = db_text(req_query(req, "lock"));
    v[2] = db_int(limit + 1);
    return submit(req, LANE_READ, SQL_lock_list, 1, v, reply_locks);
}
