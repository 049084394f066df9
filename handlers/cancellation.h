/* cancellation: what cancelJob, cancelByKey, deleteJob and retryJob have in common:
 * reading an answer of the database, telling this node's workers, waiting for the end,
 * and the problem documents of a refusal. */
#ifndef BELAY_HANDLERS_CANCELLATION_H
#define BELAY_HANDLERS_CANCELLATION_H

#include "handlers/submit.h"

/* The columns of job_cancel.sql and job_delete.sql. */
enum {
    ANSWER_ORD,
    ANSWER_RESULT,
    ANSWER_STATUS,
    ANSWER_ETAG,
    ANSWER_JOB,
    ANSWER_CANCELLATION,
    ANSWER_N,
    ANSWER_WORKER,
    ANSWER_ATTEMPT,
    ANSWER_QUEUE
};

struct cancel_options {
    bool abort, delete;
    const char *reason, *actor, *only_if; /* only_if: an array literal */
    const char *retry;                    /* "none", "requeue"; NULL: not given */
    int64_t grace_seconds, attempt;       /* < 0: not given */
    int64_t undo_seconds;                 /* 0: not given */
};

/* {"result","job","cancellation"} with this status. */
void reply_answer(struct request *req, int status, const char *result, const char *job,
                  const char *cancellation);

/* The 202 of what has not ended yet, "aborting" or "cancel_pending", for a request that
 * waits. */
const struct first_answer *first_pending(struct request *req, const struct db_rows *rows);

/* The problem of a result that is a refusal ("job-running", "job-not-found", ...); job
 * and cancellation go along. */
void reply_refusal(struct request *req, const char *result, const char *etag,
                   const char *job, const char *cancellation);

/* What cancelJob and its like answer with a result: 200, 202 or the status of a refusal,
 * whose public code goes to out_code (NULL: it is none). */
int status_of_result(const char *result, const char **out_code);

/* {"id","status","result","code","cancellation"}, one of an array that b has begun: what
 * the call for this one job would have answered. cancellation: "" or NULL for none. */
void add_result(struct buf *b, int64_t id, const char *result, const char *cancellation);

/* The abort is committed: the worker of this node is told at once. */
void tell_worker(struct request *req, const struct db_rows *rows, int row, int64_t job_id,
                 const struct cancel_options *opt);

/* Where the receipt is. */
void set_receipt_location(struct request *req, int64_t job_id, int64_t n);

/* After a wait: what came of the receipt of that Location, as a row for `reply`. */
void look_at_receipt(struct request *req, int64_t job_id,
                     const struct first_answer *first, reply_fn *reply);

#endif
