/* What few retries ask for, a time or another queue, is one JSON value, as the rare
 * options of a new job are. Rejected: a parameter of the statement for each. */
#include "handlers/retry_options.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <inttypes.h>
#include <string.h>

enum err retry_options_check(struct request *req, const struct retry_options *opt)
{
    if (opt->scheduled_at != INT64_MIN && opt->delay_seconds >= 0)
        return req_fail_at(req, ERR_INVALID, "/delay_seconds",
                           "cannot stand beside scheduled_at");
    return ERR_OK;
}

static void add_number(struct buf *b, const char *name, int64_t value)
{
    if (value != INT64_MIN)
        buf_addf(b, ",\"%s\":%" PRId64, name, value);
}

static void add_text(struct buf *b, const char *name, const char *text)
{
    if (text == NULL)
        return;
    buf_addf(b, ",\"%s\":", name);
    if (*text != '\0')
        buf_add_json_string(b, text, strlen(text));
    else
        buf_adds(b, "null");
}

struct db_value retry_options_value(struct request *req, const struct retry_options *opt)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    add_number(&b, "scheduled_us", opt->scheduled_at);
    if (opt->delay_seconds >= 0)
        add_number(&b, "delay_ms", (int64_t)(opt->delay_seconds * MS_PER_SECOND));
    add_text(&b, "queue", opt->queue);
    add_number(&b, "priority", opt->priority);
    add_text(&b, "lock", opt->lock);
    add_text(&b, "queueing_lock", opt->queueing_lock);
    add_number(&b, "max_attempts", opt->max_attempts);
    return b.len > 0 ? db_text(req_printf(req, "{%s}", b.text + 1)) : db_null();
}
