/* isolate: runs tasks of kind TASK_PROCESS, in child processes.
 *
 *     isolate_prepare(tasks);  process_zygote_start();      main, before any thread
 *     result = isolate_run(node->isolates, ctx);            a thread of the pool
 *
 * The thread that has the job waits for a child that has it, too: a fork of the zygote,
 * which has all tasks in its memory and maps the abort cells. The job goes over a socket,
 * and its result, progress and log lines come back (frames.h). A child is used again
 * while it behaves: for max_jobs_per_child jobs, and never after an abort. Whatever it
 * does, a crash, an exit, an endless loop, ends the attempt and nothing else; and it runs
 * under a supervisor, so that it leaves nothing behind (process.h).
 *
 * A child that ends without a result makes a failed attempt: error.kind `crashed` (a
 * signal of its own making), `killed` (SIGKILL from outside, as by the kernel without
 * memory), `exited`, `disconnected` (it closed what it had to answer on),
 * `supervisor_killed` or `not_started`. What it writes to stdout and stderr goes to the
 * log, and a crash tells where it was.
 *
 * Threads: isolate_run() from any; the others from main. */
#ifndef BELAY_WORKERS_ISOLATE_H
#define BELAY_WORKERS_ISOLATE_H

#include "server/core/buf.h"
#include "server/core/config.h"
#include "workers/cells.h"
#include "workers/task.h"

struct isolates;

/* What children can run: all of `tasks`, which stays as it is until they have gone. */
void isolate_prepare(const struct task *const *tasks);

/* Both are borrowed. */
enum err isolates_new(const struct config *config, const struct cells *cells,
                      struct isolates **out_isolates) MUST_CHECK;
/* After the last job; ends the children that wait for one. */
void isolates_free(struct isolates *s);

enum job_result isolate_run(struct isolates *s, struct job_ctx *ctx);

#endif
