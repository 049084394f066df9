/* Four lists, one shape: jobs, locks, operations, schedules. Each knows only what its
 * cursor is made of. */
#include "handlers/page.h"

#include "server/core/cleanup.h"

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 200, DOCUMENT = 1 };

enum err page_limit(struct request *req, int64_t *out_limit)
{
    *out_limit = LIMIT_DEFAULT;
    return req_query_int(req, "limit", 1, LIMIT_MAX, out_limit);
}

int page_rows(struct request *req, const struct db_rows *rows)
{
    int64_t limit;

    return page_limit(req, &limit) == ERR_OK && rows->count > limit ? (int)limit
                                                                    : rows->count;
}

void reply_page(struct request *req, const struct db_rows *rows, const char *key, int n,
                const char *cursor)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_addf(&b, "{\"%s\":[", key);
    for (int i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(&b, ',');
        buf_add(&b, row_text(rows, i, DOCUMENT), (size_t)row_len(rows, i, DOCUMENT));
    }
    if (cursor != NULL)
        buf_addf(&b, "],\"next_cursor\":\"%s\"}", cursor);
    else
        buf_adds(&b, "],\"next_cursor\":null}");
    req_reply_buf(req, 200, &b);
}

enum err fail_cursor(struct request *req)
{
    return req_fail(req, ERR_BAD_QUERY, "cursor=%s is not the next_cursor of such a list",
                    req_query(req, "cursor"));
}
