/* submit: from a request to a statement and back.
 *
 *     struct db_value *v = submit_values(req, SQL_job_get, 1);
 *     v[0] = db_int(id);
 *     return submit(req, LANE_READ, SQL_job_get, 1, v, reply_job);
 *
 * Values and what they point at live in the request. The reply function runs on the HTTP
 * thread, with the statement's rows for this request; it answers, exactly once, now or
 * later (wait.h). When the statement failed, submit() has answered already, and the reply
 * function is not called. */
#ifndef BELAY_HANDLERS_SUBMIT_H
#define BELAY_HANDLERS_SUBMIT_H

#include "handlers/app.h"

typedef void reply_fn(struct request *req, const struct db_rows *rows);

/* Room for n_rows rows of values. */
struct db_value *submit_values(struct request *req, enum sql sql, int n_rows);

enum err submit(struct request *req, enum lane lane, enum sql sql, int n_rows,
                const struct db_value *values, reply_fn *reply) MUST_CHECK;

/* The same for a change that may be sent twice and happens once. When its answer is lost
 * it is sent again for 10 s, and only then is its outcome unknown; and while it answers
 * "again" in its second column, for 2 s. */
enum err submit_repeatable(struct request *req, enum lane lane, enum sql sql, int n_rows,
                           const struct db_value *values, reply_fn *reply) MUST_CHECK;

/* What a request that waits answers when there is nothing newer to tell: its change has
 * been committed, whatever becomes of the database or of the job. Copies the texts. */
struct first_answer {
    int status;
    const char *etag, *body; /* etag: "" for none */
};
const struct first_answer *first_answer(struct request *req, int status, const char *etag,
                                        const char *body);

/* The second look of a request that has waited: one row of the read lane. Answers `first`
 * when it fails or finds nothing; NULL: then it fails. */
void submit_again(struct request *req, enum sql sql, const struct db_value *values,
                  reply_fn *reply, const struct first_answer *first);

/* Sets ETag from an etag column (which has no quotes). */
void set_etag(struct request *req, const char *etag);

/* The tags of a request's If-Match without quotes, separated by commas; "*", or NULL when
 * there is none. */
const char *if_match(struct request *req);

/* {"key":[a,b,c]} of one text column, as a 200. */
void reply_list(struct request *req, const struct db_rows *rows, const char *key,
                int column);

#endif
