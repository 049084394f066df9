/* runner: runs one claimed job: makes its context, calls its task, and notes in the job
 * how it ended. run_job() does all of it on the calling thread; what runs elsewhere calls
 * its first and its last part.
 *
 * This header is internal to workers/: it also has what tasks that come with Belay may
 * tell the runner beyond task.h. */
#ifndef BELAY_WORKERS_RUNNER_H
#define BELAY_WORKERS_RUNNER_H

#include "workers/job.h"
#include "workers/task.h"

struct node;
struct job_ctx;

/* Returns when the job's code has stopped; its end is not written yet. */
void run_job(struct node *node, struct job *job, struct abort_slot *slot);

/* Makes the context, which holds no memory yet. False: an abort came before the start;
 * the job's end says so. */
bool run_begin(struct job_ctx *ctx, struct node *node, struct job *job,
               struct abort_slot *slot);
/* The code has stopped, and has returned this. Releases what the context holds. */
void run_end(struct job_ctx *ctx, enum job_result result);

/* The abort had to be enforced: SIGKILL was sent. With job_aborted() the receipt's
 * outcome is `killed`. Called by the task's thread, before it returns. */
void job_set_killed(struct job_ctx *ctx);

#endif
