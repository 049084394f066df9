/* model: the cancellation contract as a machine, to judge what several callers were told.
 *
 * A job is in one of few states. Callers' operations move it and are answered from where
 * it is; claims, ends, retries and lost leases move it in between, unseen. A set of
 * answers is right when there is an order of the operations (one that ended before
 * another began comes first) in which each was answered as its state demands, and which
 * can lead to the state that was found in the end. It is a contradiction otherwise,
 * whatever the words. Threads: no state of its own. */
#ifndef BELAY_TESTS_CHAOS_MODEL_H
#define BELAY_TESTS_CHAOS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum operation {
    OP_CANCEL,
    OP_ABORT,
    OP_CANCEL_DELETE,
    OP_DELETE,
    OP_DELETE_ABORT,
    OP_RETRY,
    OP_COUNT
};

struct said {
    enum operation operation;
    int64_t begin_us, end_us;
    long status;
    char result[64]; /* the answer's `result`, or the problem's `code` */
    int attempt;     /* of the job in the answer; -1: none */
};

/* What may happen to the job by itself. */
struct nature {
    bool fails, retries, loses_lease;
};

/* `status` is "gone" when there is no such job. */
bool model_allows(const struct said *said, int n, struct nature nature,
                  const char *status, int attempt);

#endif
