/* runner: runs one claimed job: makes its context, calls its task, hands in its end.
 *
 * This header is internal to workers/: what tasks that come with Belay may tell the
 * runner beyond task.h. */
#ifndef BELAY_WORKERS_RUNNER_H
#define BELAY_WORKERS_RUNNER_H

#include "workers/task.h"

/* The abort had to be enforced: SIGKILL was sent. With job_aborted() the receipt's
 * outcome is `killed`. Called by the task's thread, before it returns. */
void job_set_killed(struct job_ctx *ctx);

#endif
