/* bulk: what the bodies of cancelJobs, retryJobs and deleteJobs say.
 *
 * Either `ids`, each of which gets a result of its own, or a filter, which becomes an
 * operation (operations.c). One thread: HTTP's; all texts belong to the request. */
#ifndef BELAY_HANDLERS_BULK_H
#define BELAY_HANDLERS_BULK_H

#include "handlers/fields.h"
#include "handlers/retry_options.h"

enum { BULK_IDS_MAX = 1000 };

struct bulk {
    struct span ids, filter; /* as they came; text NULL: not given */
    bool abort, delete, dry_run, all;
    const char *reason, *actor;
    int64_t grace_seconds; /* < 0: not given */
    int64_t until;         /* microseconds since 1970; INT64_MIN: not a rule */
    struct retry_options retry;
    int n_ids;
    const int64_t *id;
};

struct bulk_kind {
    const char *name; /* of operations.kind */
    const struct field *fields;
    size_t n_fields;
    const char *statuses; /* those that a filter may name, between blanks */
};

/* ERR_INVALID with each mistake. */
enum err bulk_read(struct request *req, const struct bulk_kind *kind,
                   struct bulk *out) MUST_CHECK;

#endif
