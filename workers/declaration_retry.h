/* declaration_retry: the retry strategy of a declared command or endpoint.
 *
 * libcyaml fills the first part; declared_retry_make() works out the second, which the
 * task borrows. Read once and never changed; any thread may look. */
#ifndef BELAY_WORKERS_DECLARATION_RETRY_H
#define BELAY_WORKERS_DECLARATION_RETRY_H

#include "server/core/buf.h"
#include "workers/task.h"

#include <stdbool.h>
#include <stdint.h>

struct declared_retry {
    enum retry_kind kind;
    enum retry_jitter jitter;
    double *wait_seconds, *max_wait_seconds; /* NULL: the setting */
    char **on;
    uint32_t on_count;

    struct retry_strategy made;
    const char **kinds; /* of `made` */
};

/* False: `why` says what is wrong, or is empty when there was no memory. NULL is fine,
 * here and below. */
bool declared_retry_make(struct declared_retry *r, struct buf *why);
void declared_retry_release(struct declared_retry *r);

/* For the task; NULL: it has none of its own. */
const struct retry_strategy *declared_retry_strategy(const struct declared_retry *r);

#endif
