/* runner: runs one claimed job on the calling thread: makes its context, calls its task,
 * and notes in the job how it ended.
 *
 * This header is internal to workers/: it also has what tasks that come with Belay may
 * tell the runner beyond task.h. */
#ifndef BELAY_WORKERS_RUNNER_H
#define BELAY_WORKERS_RUNNER_H

#include "workers/job.h"
#include "workers/task.h"

struct node;

/* Returns when the job's code has stopped; its end is not written yet. */
void run_job(struct node *node, struct job *job, struct abort_slot *slot);

/* The abort had to be enforced: SIGKILL was sent. With job_aborted() the receipt's
 * outcome is `killed`. Called by the task's thread, before it returns. */
void job_set_killed(struct job_ctx *ctx);

#endif
