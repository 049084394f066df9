/* created: how a request that has put jobs in is answered, whichever statement did it.
 *
 * Everything runs on the HTTP thread, and copies the texts. */
#ifndef BELAY_HANDLERS_CREATED_H
#define BELAY_HANDLERS_CREATED_H

#include "handlers/submit.h"

/* After the commit. n_ready: of the jobs, those that may start now. in_calendar: one is
 * due later, or has a deadline. */
void created_wake(struct request *req, int n_ready, bool in_calendar);

/* One job, with its Location; when the request asked to wait, at its end, and as it is
 * then. */
void reply_created(struct request *req, int status, int64_t id, const char *etag,
                   const char *body);

/* Of a result: a job that the new one names is not there. */
bool is_without_parent(const char *result);

/* existing: the id of the job that waits, or "null". place: which of the batch was
 * refused; < 0: it was one job. */
void reply_already_enqueued(struct request *req, const char *existing, int place);

/* The same for each result that stands for one job that is not put in: 'already-enqueued'
 * and 'refused', and of a job that is missing 'parent-not-found' and
 * 'dependency-not-found'. id: of that other job. */
void reply_not_created(struct request *req, const char *result, const char *id,
                       int place);

#endif
