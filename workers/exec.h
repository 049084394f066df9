/* exec: declared commands as tasks.
 *
 *     e = commands_load("belay.yaml", &commands, &why);
 *     for (const struct task *const *t = commands_tasks(commands); *t != NULL; t++) ...
 *
 * Each command of the file (declaration.h) is a task that runs its program as a child
 * process (process.h): args in as JSON on stdin and in its arguments, stdout out as the
 * result, stderr to the log, the exit code as the fate. Nothing else than a declared
 * command can be run. docs/exec-tasks.md says what a program sees.
 *
 * Threads: load and free from main; the tasks run on any thread. The tasks live as long
 * as the commands. */
#ifndef BELAY_WORKERS_EXEC_H
#define BELAY_WORKERS_EXEC_H

#include "server/core/buf.h"
#include "server/core/err.h"
#include "workers/task.h"

struct commands;

/* Reads the commands of a file; NULL: there is none. ERR_CONFIG and words for what is
 * wrong in it. */
enum err commands_load(const char *file, struct commands **out,
                       struct buf *why) MUST_CHECK;

/* The tasks, ends in NULL; never NULL itself. */
const struct task *const *commands_tasks(const struct commands *commands);

void commands_free(struct commands *commands);

#endif
