#include "workers/orders.h"

#include "server/core/clock.h"

#include <string.h>

/* The columns of abort_poll.sql. */
enum {
    POLL_JOB,
    POLL_ATTEMPT,
    POLL_N,
    POLL_CAUSE,
    POLL_REASON,
    POLL_ACTOR,
    POLL_GRACE,
    POLL_DELETE,
    POLL_REQUESTS,
    POLL_AGO
};

static enum abort_cause cause_of(const char *word)
{
    static const char *const words[] = {
        [ABORT_USER] = "user",
        [ABORT_TIMEOUT] = "timeout",
        [ABORT_DEADLINE] = "deadline",
        [ABORT_SHUTDOWN] = "shutdown",
        [ABORT_SUPERSEDED] = "superseded",
        [ABORT_PARENT] = "parent",
        [ABORT_WORKER_LOST] = "worker_lost",
        [ABORT_ADMIN] = "admin",
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i], word) == 0)
            return (enum abort_cause)i;
    }
    return ABORT_USER;
}

struct abort_order order_of_row(const struct db_rows *rows, int row, int64_t worker_id)
{
    return (struct abort_order){
        .job_id = row_int(rows, row, POLL_JOB),
        .worker_id = worker_id,
        .attempt = (int)row_int(rows, row, POLL_ATTEMPT),
        .cause = cause_of(row_text(rows, row, POLL_CAUSE)),
        .reason = row_text(rows, row, POLL_REASON),
        .actor = row_text(rows, row, POLL_ACTOR),
        .grace_ms =
            row_is_null(rows, row, POLL_GRACE) ? -1 : row_int(rows, row, POLL_GRACE),
        .requests = (int)row_int(rows, row, POLL_REQUESTS),
        .asked_us = clock_us() - row_int(rows, row, POLL_AGO),
    };
}
