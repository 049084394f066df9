/* command: runs one declared command for one job: the run function of every task of
 * exec.c. */
#ifndef BELAY_WORKERS_COMMAND_H
#define BELAY_WORKERS_COMMAND_H

#include "workers/task.h"

/* The task's data is its struct declaration. Returns when the program and all that it
 * started are gone. */
enum job_result command_run(struct job_ctx *ctx);

#endif
