/* isolate_child: the inside of a child process that runs isolated tasks: what it does for
 * its life, and the parts of task.h that need the node, which it asks over its socket.
 *
 * Threads: the child's first, on which the task runs. */
#ifndef BELAY_WORKERS_ISOLATE_CHILD_H
#define BELAY_WORKERS_ISOLATE_CHILD_H

#include "workers/task.h"

/* The first thing that comes, with two descriptors: the abort cells, and an eventfd that
 * is readable while the job is to stop. */
struct isolate_hello {
    int64_t n_cells;
    int64_t memory_bytes; /* 0: no limit */
};

struct isolate_child;

/* Before the zygote: the tasks that a child knows, ends in NULL. */
void isolate_child_set_tasks(const struct task *const *tasks);
/* Stdin is the socket. Returns when Belay closes it. */
void isolate_child_main(void);

void isolate_child_seen(struct isolate_child *c);
/* The texts live until the task returns. */
bool isolate_child_abort_info(struct isolate_child *c, struct abort_info *out);
int isolate_child_abort_fd(const struct isolate_child *c);
void isolate_child_progress(struct isolate_child *c, double percent, const char *words);
void isolate_child_log(struct isolate_child *c, const char *line);

#endif
