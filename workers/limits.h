/* limits: what the janitor does about what has taken too long: attempts that are past
 * their timeout on this node, jobs anywhere that are past their deadline, and idempotency
 * keys that have expired.
 *
 * The first two end in the statement of every cancel and abort, with its guards and its
 * receipt.
 * Threads: the janitor's, whose link it is. */
#ifndef BELAY_WORKERS_LIMITS_H
#define BELAY_WORKERS_LIMITS_H

#include "db/link.h"
#include "workers/timeouts.h"

struct node;

enum { LIMITS_LATE_MOST = 64 };

/* Attempts that are late, and of which the database does not know yet. All zero is
 * none. */
struct limits {
    struct timeouts_late late[LIMITS_LATE_MOST];
    int n_late;
};

/* Asks for the abort of what is late. What cannot be written now stays in n_late, to be
 * tried again: the task is late all the same. */
void limits_abort_late(struct limits *l, struct link *link, struct node *node);

/* Cancels and aborts what is past its deadline, and what can be undone no more. Answers
 * in how many ms to look again: when the next one comes, and after poll_seconds in any
 * case. *out_aborting: one runs. */
int64_t limits_expire(struct link *link, struct node *node, bool *out_aborting);

/* Removes expired keys, some at a time. True: there may be more. */
bool limits_expire_keys(struct link *link);

#endif
