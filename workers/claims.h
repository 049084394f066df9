/* claims: how many jobs this node takes at a time, and where it looks for them.
 *
 *     struct claim_wish wish = claims_wish(&c, &local);
 *     if (wish.n > 0)
 *         claims_prepare(&c, &wish, &claim);         one statement, in somebody's batch
 *     claims_take(&c, &claim, &rows, woken, &jobs);   its answer
 *
 * It takes what threads are free for, and ahead of that what they will do in
 * CLAIM_AHEAD_MS, as far as the jobs that ended lately tell. A job that was claimed ahead
 * and waits for longer than CLAIM_LATE_MS goes back to the others.
 *
 * Threads and loop have room of their own. While both have some a claim takes what comes,
 * as many as the share of async jobs among those that came lately lets expect; when one
 * is full, it asks for jobs of the other kind, which is a slower look.
 *
 * A queue or task that has a quota here is a source of its own, of which a claim takes
 * what the quota has room for; the first source is all the rest. They take turns, and
 * each knows by itself where to look and when. Without quotas there is one source.
 *
 * All of it belongs to the dispatcher's thread. */
#ifndef BELAY_WORKERS_CLAIMS_H
#define BELAY_WORKERS_CLAIMS_H

#include "db/db.h"
#include "workers/job.h"
#include "workers/marks.h"
#include "workers/quotas.h"

struct node;

/* How many jobs this node has that have not ended, for threads and for the loop. */
struct claims_local {
    int sync, async;
};

enum {
    CLAIM_AHEAD_MS = 100,
    CLAIM_LATE_MS = 500,
    CLAIM_PARAMS = 6,
    CLAIM_MOST = 1000, /* as many as end in one batch, so that a lease ends whole */
};

/* Of which kind the jobs of a claim are: of one where the other has no room. */
enum claim_kind { CLAIM_ANY, CLAIM_SYNC, CLAIM_ASYNC };

struct claim_wish {
    int n;    /* 0: none now */
    int sure; /* how many of them start at once */
    enum claim_kind kind;
    int source;
};

/* Until when it is not looked there; somebody who says that there are jobs shortens it.
 */
struct claim_rest {
    int64_t until_ms, least_ms;
};

/* Where jobs come from. */
struct claim_source {
    struct quota *quota; /* NULL: all that is of none */
    struct marks marks;
    bool more;               /* there may be jobs that nobody has claimed */
    int64_t at_ms;           /* but nothing is found before then */
    struct claim_rest kind;  /* and not by a look at one kind of jobs */
    struct claim_rest tasks; /* nor by any, where it has to look at tasks */
};

struct claims {
    struct node *node;
    struct claim_source *sources;
    int n_sources;
    int turn;           /* the source that is asked first */
    int64_t poll_at_ms; /* when to look although nobody said anything */
    int64_t average_us; /* of the sync jobs that ended lately; 0: not known */
    int64_t async_average_us;
    double async_share; /* of the jobs that were claimed lately: 0..1 */
};

/* One claim under way. */
struct claim {
    struct db_value values[CLAIM_PARAMS];
    struct db_call call; /* of job_claim.sql or job_claim_of.sql; points at values */
    struct buf lows, queues, tasks; /* the texts of values */
    struct claim_wish wish;
    bool full; /* it looks from the start, not from the marks */
    int64_t worker_id, began_us;
};

enum err claims_init(struct claims *c, struct node *node) MUST_CHECK;
void claims_release(struct claims *c);
/* There may be jobs now. */
void claims_wake(struct claims *c);
/* A queue that had no room has some: there may be jobs now, of tasks that have quotas. */
void claims_wake_tasks(struct claims *c);
/* There may be jobs now, where the time to look has come. */
void claims_wake_if_due(struct claims *c);
struct claim_wish claims_wish(const struct claims *c, const struct claims_local *local);
void claims_prepare(struct claims *c, const struct claim_wish *wish, struct claim *out);
void claim_release(struct claim *claim);
/* Makes jobs of the rows, watched for aborts, in out_jobs. woken: somebody said that
 * there are jobs since the claim was prepared. */
void claims_take(struct claims *c, const struct claim *claim, const struct db_rows *rows,
                 bool woken, struct job_list *out_jobs);
/* A job has ended, or has waited too long: how short are they? */
void claims_learn(struct claims *c, const struct job *job);
void claims_learn_late(struct claims *c, const struct job *job);
/* When there may be something to claim without anybody saying so, by clock_ms(). */
int64_t claims_next_ms(const struct claims *c, const struct claims_local *local);

#endif
