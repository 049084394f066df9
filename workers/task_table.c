/* task_table: the built-in tasks. The list is made from the file names in workers/tasks/:
 * tasks/echo.c defines task_echo and needs no other mention. */
#include "workers/task.h"

#include <stddef.h>

#define TASK(name) extern const struct task task_##name;
#include "build/gen/tasks.def"
#undef TASK

extern const struct task *const builtin_tasks[];

const struct task *const builtin_tasks[] = {
#define TASK(name) &task_##name,
#include "build/gen/tasks.def"
#undef TASK
    NULL,
};
