/* The outside of the library. What belay_register_tasks() finds wrong is kept for
 * belay_run(), so that a program needs no checks of its own before main's only line that
 * can fail. */
#include "server/belay.h"

#include "server/core/cleanup.h"
#include "server/serve.h"

#include <stdlib.h>
#include <string.h>

/* The tasks of the program; one thread, before all others. */
static struct {
    struct task_table *tasks;
    enum err e; /* the first that went wrong, and why */
    struct buf why;
    bool has_run;
} program = {.why = {.text = buf_empty}};

static void make_table(void)
{
    if (program.tasks == NULL && program.e == ERR_OK)
        program.e = task_table_new(&program.tasks, &program.why);
}

void belay_register_tasks(const struct belay_tasks *tasks)
{
    make_table();
    if (program.e == ERR_OK)
        program.e = task_table_add_compiled(program.tasks, tasks, "belay_register()",
                                            &program.why);
}

/* serve() rearranges the list of arguments, which is not ours. */
static int run_with(int argc, char *const *argv)
{
    CLEANUP(free_ptr) char **copy = calloc((size_t)argc + 1, sizeof *copy);

    if (copy == NULL)
        return serve_fail(ERR_NO_MEMORY, &program.why);
    memcpy(copy, argv, (size_t)argc * sizeof *copy);
    return serve(argc, copy, program.tasks);
}

int belay_run(const struct belay_options *options)
{
    char *const none[] = {(char[]){"belay"}};
    bool has_flags = options != NULL && options->argc > 0;

    make_table();
    if (program.e == ERR_OK && program.has_run) {
        buf_adds(&program.why, "belay_run() can be called only once in a process");
        program.e = ERR_INTERNAL;
    }
    if (program.e != ERR_OK)
        return serve_fail(program.e, &program.why);
    program.has_run = true;
    /* The table is kept: a task that did not obey may still look into it. */
    return run_with(has_flags ? options->argc : 1, has_flags ? options->argv : none);
}
