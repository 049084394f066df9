/* belay: Belay as a part of a program of yours (libbelay). Tasks are written with task.h.
 *
 *     #include <belay/belay.h>
 *
 *     int main(int argc, char **argv)
 *     {
 *         belay_register(&task_count);
 *         return belay_run(&(struct belay_options){.argc = argc, .argv = argv});
 *     }
 *
 * The program is then a node like any other: the same settings as flags, in the
 * environment and in a file, the same API, and the tasks of Belay beside its own.
 *
 * Threads: all from the thread of main, before others are started: belay_run() makes
 * child processes, and blocks SIGTERM and SIGINT for the threads to come. */
#ifndef BELAY_BELAY_H
#define BELAY_BELAY_H

#include "workers/task.h"

#ifdef __cplusplus
extern "C" {
#endif

struct belay_options {
    int argc;    /* as main() has them: argv[0] is skipped; the rest are flags of */
    char **argv; /* `belay serve`, and words such as --help; borrowed; 0 and NULL: none */
};

/* Serves the API and runs jobs until SIGTERM or SIGINT; drains as `belay serve` does.
 * Returns the exit code for the process: 0, or, after a line on stderr, 2 for a wrong
 * flag, 78 for a wrong configuration or task, 69 and 1 for the rest. NULL: no flags. A
 * default of your own is a variable that is set before: setenv("PORT", "9090", 0). To
 * stop it from inside: kill(getpid(), SIGTERM). Once in a process; end the process when
 * it returns: a task that did not obey may still run. */
int belay_run(const struct belay_options *options);

/* Tasks as they were compiled; belay_register() is the short form. Copied, but for what
 * they point to, which must stay. What is wrong with one is said by belay_run(). */
void belay_register_tasks(const struct belay_tasks *tasks);

static inline void belay_register(const struct task *task)
{
    const struct task *const list[] = {task, NULL};
    const struct belay_tasks tasks = BELAY_TASKS_OF(list);

    belay_register_tasks(&tasks);
}

#ifdef __cplusplus
}
#endif

#endif
