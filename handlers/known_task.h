/* known_task: the task that a body names, or what to say when nobody here has it. */
#ifndef BELAY_HANDLERS_KNOWN_TASK_H
#define BELAY_HANDLERS_KNOWN_TASK_H

#include "handlers/app.h"

/* `where` is the JSON pointer of the object that has the member task; NULL: none. Fails
 * with ERR_INVALID or ERR_UNKNOWN_TASK. */
enum err known_task(struct request *req, const char *where, const char *name,
                    const struct task **out) MUST_CHECK;

/* How often a job of the task may start where its client does not say. */
int64_t known_task_attempts(struct request *req, const struct task *task);

#endif
