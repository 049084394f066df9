/* isolate_children: the children of isolate.c: made, handed a job, kept for the next.
 *
 * A child belongs to the thread whose job it has, and to the stack while it waits.
 * Threads: any; the stack has a lock of its own. */
#ifndef BELAY_WORKERS_ISOLATE_CHILDREN_H
#define BELAY_WORKERS_ISOLATE_CHILDREN_H

#include "server/core/config.h"
#include "workers/cells.h"
#include "workers/frames.h"
#include "workers/output.h"
#include "workers/process.h"

#include <pthread.h>

struct job_ctx;

enum { CHILD_CHUNK_BYTES = 16 * 1024 };

struct child {
    struct child *next;
    struct process *process;
    int socket, abort_fd;
    int n_jobs;
    struct frames frames;
    struct output_lines out, err;
    char chunk[CHILD_CHUNK_BYTES];
};

struct isolates {
    const struct config *config;
    const struct cells *cells;
    pthread_mutex_t mutex;
    struct child *idle; /* under mutex */
};

/* Hands the job of `ctx` to a child that waits, or to a new one. */
enum err child_start_job(struct isolates *s, const struct job_ctx *ctx,
                         struct child **out_child, struct buf *why) MUST_CHECK;
/* It has answered, and waits for the next. */
void child_give_idle(struct isolates *s, struct child *c);
/* Ends one that waits, for its descriptors; false: none does. */
bool child_let_go(struct isolates *s);
/* Ends it, and all that it has started. NULL is fine. */
void child_free(struct child *c);

#endif
