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

/* existing: the id of the job that waits, or "null". place: which of the batch was
 * refused; < 0: it was one job. */
void reply_already_enqueued(struct request *req, const char *existing, int place);

#endif
