/* wait: requests that wait until a job has ended.
 *
 * A handler that was asked to wait calls wait_for_end() instead of answering. `then` is
 * called once on the HTTP thread: when the job has ended, when the time is up, when the
 * client has hung up or the server shuts down. It looks at the job again and answers.
 *
 * Jobs that end on this node are heard of at once (waiters_ended()); those of other nodes
 * are found by asking for all waiting ids in one statement, four times a second.
 *
 * Threads: waiters_ended() and waiters_release() from any; the rest on the HTTP thread.
 */
#ifndef BELAY_HANDLERS_WAIT_H
#define BELAY_HANDLERS_WAIT_H

#include "handlers/app.h"

/* `first` is what the handler gave: its answer when the second look fails. */
struct first_answer;
typedef void wait_fn(struct request *req, int64_t job_id,
                     const struct first_answer *first);

void wait_for_end(struct request *req, int64_t job_id, int64_t seconds, wait_fn *then,
                  const struct first_answer *first);

enum err waiters_new(struct app *app, struct waiters **out_waiters) MUST_CHECK;
/* True when somebody may wait for one of them: then the HTTP loop has to be woken. */
bool waiters_ended(struct waiters *w, const int64_t *ids, size_t n);
void waiters_run(struct waiters *w);
/* All waits end now: the server shuts down. */
void waiters_release(struct waiters *w);
void waiters_free(struct waiters *w);

#endif
