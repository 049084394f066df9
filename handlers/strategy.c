/* Only checked here: the text that came is what is kept, and workers/strategy.c reads it
 * when an attempt has failed. */
#include "handlers/strategy.h"

#include "workers/strategy.h"

#include <stddef.h>

struct given {
    const char *kind, *on;
    double wait_seconds, max_wait_seconds;
    bool jitter;
};

enum err strategy_check(struct request *req, const char *where, struct span object)
{
    static const struct field fields[] = {
        {"kind", FIELD_TEXT, offsetof(struct given, kind), 1, 16},
        {"wait_seconds", FIELD_NUMBER, offsetof(struct given, wait_seconds), 0,
         STRATEGY_SECONDS_MAX},
        {"max_wait_seconds", FIELD_NUMBER, offsetof(struct given, max_wait_seconds), 0,
         STRATEGY_SECONDS_MAX},
        {"jitter", FIELD_BOOL, offsetof(struct given, jitter), 0, 0},
        {"on", FIELD_STRINGS, offsetof(struct given, on), 0, STRATEGY_KINDS_MAX},
    };
    struct given given = {.kind = NULL};
    enum retry_kind kind;
    enum err e =
        fields_read(req, where, object, fields, sizeof fields / sizeof *fields, &given);

    if (given.kind == NULL || strategy_kind(given.kind, &kind))
        return e;
    return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/kind", where),
                       "must be fixed, linear or exponential");
}
