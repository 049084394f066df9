#include "handlers/list_filters.h"

#include "handlers/time.h"
#include "server/core/cleanup.h"
#include "server/http/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { IDS_MAX = 200 };

static void add_key(struct buf *b, const char *key)
{
    buf_addf(b, "%c\"%s\":", b->len == 0 ? '{' : ',', key);
}

/* Text goes as it is: names that do not exist are good and find nothing. */
static void add_text(struct request *req, const char *key, struct buf *b)
{
    const char *text = req_query(req, key);

    if (text == NULL)
        return;
    add_key(b, key);
    buf_add_json_string(b, text, strlen(text));
}

static enum err add_time(struct request *req, const char *key, struct buf *b)
{
    const char *text = req_query(req, key);
    int64_t us;

    if (text != NULL && !time_parse(text, strlen(text), &us))
        return req_fail(req, ERR_BAD_QUERY,
                        "%s=%s: use a time with offset, as 2026-11-23T20:00:00Z", key,
                        text);
    add_text(req, key, b);
    return ERR_OK;
}

/* 3,1,2 */
static enum err add_ids(struct request *req, struct buf *b)
{
    const char *text = req_query(req, "id"), *p = text;
    char *end;

    if (text == NULL)
        return ERR_OK;
    add_key(b, "ids");
    for (int n = 1;; n++, p = end + 1) {
        int64_t id = *p >= '0' && *p <= '9' ? strtoll(p, &end, 10) : 0;
        if (id <= 0 || id > JOB_ID_MAX || (*end != ',' && *end != '\0') || n > IDS_MAX)
            return req_fail(req, ERR_BAD_QUERY, "id=%s: use 1 to %d ids, as 3,1,2", text,
                            IDS_MAX);
        buf_addf(b, "%c%" PRId64, n == 1 ? '[' : ',', id);
        if (*end == '\0')
            break;
    }
    buf_addc(b, ']');
    return ERR_OK;
}

static enum err add_metadata(struct request *req, struct buf *b)
{
    const char *text = req_query(req, "metadata");
    struct json_error error;
    enum json_type type;

    if (text == NULL)
        return ERR_OK;
    if (json_check(text, strlen(text), &type, &error) != ERR_OK || type != JSON_OBJECT)
        return req_fail(req, ERR_BAD_QUERY,
                        "metadata=%s: use a JSON object, as {\"customer\":7}", text);
    add_key(b, "metadata");
    buf_adds(b, text);
    return ERR_OK;
}

enum err list_filters_read(struct request *req, struct db_value *out_more)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    enum err e = add_ids(req, &b);

    if (e == ERR_OK)
        e = add_metadata(req, &b);
    if (e == ERR_OK)
        e = add_time(req, "scheduled_after", &b);
    if (e == ERR_OK)
        e = add_time(req, "scheduled_before", &b);
    if (e != ERR_OK)
        return e;
    add_text(req, "queueing_lock", &b);
    add_text(req, "worker", &b);
    *out_more = db_null();
    if (b.len == 0)
        return ERR_OK;
    buf_addc(&b, '}');
    if (b.failed)
        return ERR_NO_MEMORY;
    *out_more = db_text(req_strdup(req, b.text, b.len));
    return ERR_OK;
}
