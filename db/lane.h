/* lane: how everything but the workers talks to the database.
 *
 * A lane is a queue and two hands, each a thread with a connection. A hand takes ALL
 * waiting operations of one statement, sends them as ONE array-form statement, and hands
 * each its own rows back. Under load many requests share one commit; alone, an operation
 * is a batch of one and goes at once: no timer, no added latency. The second hand helps
 * where 32 rows wait, or the first has been at work for 5 ms. A batch that fails is
 * halved until the bad operation stands alone. When the database is away an operation
 * fails within 2 s with ERR_UNAVAILABLE, and with ERR_OUTCOME_UNKNOWN when a change had
 * been sent and its answer was lost.
 *
 * Threads: db_submit() from any thread. done() runs on the thread that calls
 * lanes_complete(), which is the HTTP loop: lanes_open() is given a function that wakes
 * it. */
#ifndef BELAY_DB_LANE_H
#define BELAY_DB_LANE_H

#include "db/db.h"

enum lane {
    LANE_CONTROL, /* cancel, abort, delete: never queued behind other work */
    LANE_WRITE,   /* enqueue, retry */
    LANE_READ,    /* get, list */
    LANE_COUNT
};

struct lanes;

/* Called once for each operation. `rows` is the operation's own part of the answer, valid
 * until return, and empty when why is not ERR_OK. `message` is PostgreSQL's, or "". Must
 * not block. */
typedef void db_done_fn(void *arg, const struct db_rows *rows, enum err why,
                        const char *message);

/* One operation: n_rows rows of sql_params() values. `values` and what they point at are
 * borrowed until done(). The struct is copied. */
struct db_op {
    enum lane lane;
    enum sql sql;
    int n_rows;
    const struct db_value *values;
    db_done_fn *done;
    void *arg;
    int64_t since_ms; /* since when somebody waits for it, by clock_ms(); 0: now */
};

typedef void lane_wake_fn(void *arg);

/* Starts the threads; they connect by themselves, so this succeeds while the database is
 * away. */
enum err lanes_open(const char *url, lane_wake_fn *wake, void *wake_arg,
                    struct lanes **out_lanes) MUST_CHECK;

/* ERR_TOO_MANY_REQUESTS when 20,000 operations wait already; else done() will be called
 * exactly once. */
enum err db_submit(struct lanes *lanes, const struct db_op *op) MUST_CHECK;

/* Calls done() for all that has been answered; on the HTTP thread. */
void lanes_complete(struct lanes *lanes);

/* Whether all lanes are connected (for readyz). */
bool lanes_are_up(struct lanes *lanes);

/* Answers what waits with ERR_UNAVAILABLE, ends the threads. Call lanes_complete() once
 * more after it, then lanes_free(). */
void lanes_stop(struct lanes *lanes);
void lanes_free(struct lanes *lanes);

#endif
