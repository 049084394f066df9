/* plugin: tasks from shared objects (`belay serve --tasks ./count.so`).
 *
 * A plugin is a shared object in which BELAY_TASKS() of task.h stands once. It is loaded
 * for the life of the process, because a thread may be in its code until the very end,
 * and calls the functions of task.h in the program that has loaded it. One thread, before
 * the node opens. */
#ifndef BELAY_WORKERS_PLUGIN_H
#define BELAY_WORKERS_PLUGIN_H

#include "workers/task_table.h"

/* Adds the tasks of these files, "a.so,./b.so"; a name without a slash is a file, too.
 * ERR_CONFIG and words for the first that is not right. */
enum err plugins_load(const char *files, struct task_table *tasks,
                      struct buf *why) MUST_CHECK;

#endif
