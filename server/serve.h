/* serve: what `belay serve`, `belay migrate` and belay_run() do.
 *
 * Both return the exit code of the process, after saying on stderr what went wrong, in
 * one line. argv[0] is skipped; argv is rearranged. Threads: the one of main, before any
 * other is started; serve() once in a process. */
#ifndef BELAY_SERVER_SERVE_H
#define BELAY_SERVER_SERVE_H

#include "server/core/buf.h"
#include "server/core/err.h"
#include "workers/task_table.h"

/* Serves until SIGTERM or SIGINT, with these tasks (borrowed), the plugins and the
 * declared commands. Blocks both signals in this thread and all that it starts. */
int serve(int argc, char **argv, struct task_table *tasks);

/* Brings the schema of the database up to date. */
int serve_migrate(int argc, char **argv);

/* Says why, and answers the exit code. */
int serve_fail(enum err e, const struct buf *why);

#endif
