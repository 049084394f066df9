/* tasks: what holds for the jobs of a task where they say nothing of their own: the
 * task's figures, and the settings of this node behind them. */
#ifndef BELAY_HANDLERS_TASKS_H
#define BELAY_HANDLERS_TASKS_H

#include "server/core/config.h"
#include "workers/task.h"

struct task_rules {
    const char *kind; /* "sync", "async", "process", "command" */
    /* What follows when an abort is not obeyed within the grace: "kill", "cancel" (what
     * it waits for, once more), or NULL: nothing. */
    const char *after_grace;
    int64_t max_attempts, grace_seconds;
    int64_t timeout_seconds; /* 0: none */
};

struct task_rules task_rules(const struct config *config, const struct task *task);

#endif
