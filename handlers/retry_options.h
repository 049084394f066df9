/* retry_options: what a retry by hand changes, of one job or of many.
 *
 *     static const struct field fields[] = {RETRY_FIELDS(offsetof(struct mine, retry))};
 *     struct mine m = {.retry = RETRY_OPTIONS_NONE};
 *     e = fields_read(req, "", body, fields, n, &m);
 *     if (e == ERR_OK)
 *         e = retry_options_check(req, &m.retry);
 *     v[3] = retry_options_value(req, &m.retry);
 *
 * One thread: HTTP's; all texts belong to the request. */
#ifndef BELAY_HANDLERS_RETRY_OPTIONS_H
#define BELAY_HANDLERS_RETRY_OPTIONS_H

#include "db/db.h"
#include "handlers/fields.h"
#include "handlers/new_job.h"

#include <stddef.h>

/* What the next attempt shall have, where it differs. */
struct retry_options {
    const char *queue, *lock, *queueing_lock;     /* locks: "" takes them away */
    int64_t priority, max_attempts, scheduled_at; /* INT64_MIN: not given */
    double delay_seconds;                         /* < 0: not given */
};

#define RETRY_OPTIONS_NONE                                                               \
    {                                                                                    \
        .priority = INT64_MIN, .max_attempts = INT64_MIN, .scheduled_at = INT64_MIN,     \
        .delay_seconds = -1                                                              \
    }

/* Their fields, for a struct that has them at `at`. */
#define RETRY_FIELD(at, member) ((at) + offsetof(struct retry_options, member))
#define RETRY_FIELDS(at)                                                                 \
    {"scheduled_at", FIELD_TIME, RETRY_FIELD(at, scheduled_at), 0, 0},                   \
        {"delay_seconds", FIELD_NUMBER, RETRY_FIELD(at, delay_seconds), 0,               \
         DELAY_MAX_SECONDS},                                                             \
        {"queue", FIELD_NAME, RETRY_FIELD(at, queue), 1, 128},                           \
        {"priority", FIELD_INT, RETRY_FIELD(at, priority), INT32_MIN, INT32_MAX},        \
        {"lock", FIELD_TEXT, RETRY_FIELD(at, lock), 0, 255},                             \
        {"queueing_lock", FIELD_TEXT, RETRY_FIELD(at, queueing_lock), 0, 255},           \
    {                                                                                    \
        "max_attempts", FIELD_INT, RETRY_FIELD(at, max_attempts), 1, 1000                \
    }

/* ERR_INVALID where two of them contradict each other. */
enum err retry_options_check(struct request *req,
                             const struct retry_options *opt) MUST_CHECK;

/* As belay.retry_one() takes them, JSON; null where nothing changes. */
struct db_value retry_options_value(struct request *req, const struct retry_options *opt);

#endif
