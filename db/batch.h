/* batch: operations of one statement that go to PostgreSQL together; a part of the lanes.
 *
 * The rows of a batch are one result that its operations share. A batch that fails is
 * halved until the bad operation stands alone. Threads: each list and batch belongs to
 * one thread at a time. */
#ifndef BELAY_DB_BATCH_H
#define BELAY_DB_BATCH_H

#include "db/lane.h"
#include "db/link.h"

enum { BATCH_OPS_MAX = 1000, BATCH_MESSAGE_BYTES = 200 };

struct shared_rows;

/* An operation on its way. */
struct pending {
    struct db_op op;
    struct pending *next;
    int64_t since_ms;
    enum err why;
    struct shared_rows *shared;
    int first, count;
    char message[BATCH_MESSAGE_BYTES];
};

struct pending_list {
    struct pending *head, **tail;
    int n, rows;
};
void pending_init(struct pending_list *l);
void pending_add(struct pending_list *l, struct pending *p);
/* Moves all of `from` to the end of `to`. */
void pending_splice(struct pending_list *to, struct pending_list *from);
struct pending *pending_take(struct pending_list *l); /* the first, or NULL */

/* Takes the first operation and all others of its statement, up to the limits, in their
 * order; returns how many, at most BATCH_OPS_MAX. The list is not empty. */
int batch_take(struct pending_list *waiting, struct pending **batch);
/* Sends it; each operation knows its answer afterwards. A statement that `changes` and
 * whose answer was lost has the outcome ERR_OUTCOME_UNKNOWN. */
void batch_exec(struct link *link, bool changes, struct pending **batch, int n);
void batch_fail(struct pending **batch, int n, enum err e, const char *message);
/* Calls done() of all, and frees them. On the completing thread. */
void batch_complete(struct pending_list *answered);

#endif
