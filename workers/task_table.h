/* task_table: all tasks that this process can run, under names that are theirs alone.
 *
 *     e = task_table_new(&table, &why);                   the built-in ones
 *     e = task_table_add(table, task, "belay.yaml", &why);
 *     for (const struct task *const *t = task_table_list(table); *t != NULL; t++) ...
 *
 * `origin` is where a task comes from: the words for what is wrong begin with it, and it
 * is named where somebody else wants the same name. Filled before the node opens and
 * never changed afterwards; any thread may read it then. */
#ifndef BELAY_WORKERS_TASK_TABLE_H
#define BELAY_WORKERS_TASK_TABLE_H

#include "server/core/buf.h"
#include "server/core/err.h"
#include "workers/task.h"

struct task_table;

enum err task_table_new(struct task_table **out_table, struct buf *why) MUST_CHECK;
void task_table_free(struct task_table *t); /* NULL is fine */

/* A task of this process; borrowed. ERR_CONFIG: it has no good name, no function, a
 * number out of its range, or a name that is taken. */
enum err task_table_add(struct task_table *t, const struct task *task, const char *origin,
                        struct buf *why) MUST_CHECK;

/* Tasks that were compiled elsewhere, perhaps with an older task.h: copied, and what
 * their struct task did not have yet is 0. ERR_CONFIG also when their task.h was another
 * one. */
enum err task_table_add_compiled(struct task_table *t, const struct belay_tasks *compiled,
                                 const char *origin, struct buf *why) MUST_CHECK;

/* Makes processes of sync tasks (TASK_PROCESS): those that are named, "a,b", or all, "*".
 * What the tasks are otherwise stays. ERR_CONFIG: a name is not one of a task, or of one
 * that has no thread to leave. */
enum err task_table_isolate(struct task_table *t, const char *names,
                            struct buf *why) MUST_CHECK;

/* Ends in NULL; valid until the next task is added. */
const struct task *const *task_table_list(const struct task_table *t);

#endif
