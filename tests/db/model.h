/* model: what the tables should say, kept in C, one step after another.
 *
 * Every operation changes the model as the contract has it and answers the words that the
 * statement should answer. Jobs are numbered as the database numbers them. One thread. */
#ifndef BELAY_TESTS_DB_MODEL_H
#define BELAY_TESTS_DB_MODEL_H

#include "server/core/buf.h"

#include <stdbool.h>

enum { MODEL_JOBS = 12000, MODEL_LOCKS = 6, MODEL_WORKERS = 2 };

enum place { NOWHERE, READY, SCHEDULED, BLOCKED, PARKED, LEASE, ENDS };
enum ending { NO_END, SUCCEEDED, FAILED, CANCELLED, ABORTED };

struct model_job {
    enum place place;
    enum ending ending;
    int priority, lock, queueing_lock; /* locks: 0: none */
    int attempts, uncounted, base, max_attempts;
    int worker;         /* where it runs */
    bool strict, later; /* later: waits for its time, or would, had it its turn */
    bool has_turn, asked, delete_asked;
};

struct model {
    struct model_job jobs[MODEL_JOBS + 1]; /* [0] is none */
    int n;
    int waiting[MODEL_LOCKS]; /* which job has the queueing lock; 0: none */
    bool paused;
};

/* The id, or 0: its queueing lock is taken. */
int model_insert(struct model *m, struct model_job job);
/* "{1,2}" of at most n, or "". */
void model_claim(struct model *m, int worker, int n, struct buf *out);
/* how: "succeeded", "failed", "aborted"; the answer is "status/outcome" or "status". */
void model_finish(struct model *m, int id, const char *how, struct buf *out);
/* kind: "retry", "shutdown", "unstarted"; "status[/outcome][/scheduled]". */
void model_give_back(struct model *m, int id, const char *kind, bool later,
                     struct buf *out);
const char *model_cancel(struct model *m, int id, bool abort, bool delete);
const char *model_delete(struct model *m, int id, bool abort);
const char *model_retry(struct model *m, int id);
const char *model_hold(struct model *m, int id);
const char *model_release(struct model *m, int id);
/* Its queueing lock is taken: the job that waits becomes this one. Answers its id. */
int model_replace(struct model *m, struct model_job job);
/* By one request all jobs of a lock; answers how many, "cancelled aborting". */
void model_cancel_all(struct model *m, int lock, bool abort, struct buf *out);
/* The time of all that waits for it has come. */
void model_due(struct model *m);

/* Where every job is that has not ended: "3 ready 0\n...". */
void model_live(const struct model *m, struct buf *out);
/* The same of one, ended or gone: "3 succeeded 1", "3 none". */
void model_one(const struct model *m, int id, struct buf *out);

#endif
