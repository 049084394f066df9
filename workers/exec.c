/* A declared command or endpoint becomes a task like any other: its `data` is the
 * declaration, its `run` is command.c or endpoint.c. Rejected: a way of their own for
 * commands through pool and runner (all that holds for tasks would have to be said
 * twice). */
#include "workers/exec.h"

#include "workers/command.h"
#include "workers/declaration.h"
#include "workers/endpoint.h"

#include <stdlib.h>

struct commands {
    struct declarations *declared;
    struct task *tasks;
    const struct task **list;
};

static struct task command_task(const struct declaration *d)
{
    return (struct task){.name = d->name,
                         .kind = TASK_COMMAND,
                         .run = command_run,
                         .description = d->description,
                         .max_attempts = d->max_attempts,
                         .grace_seconds = d->grace_seconds,
                         .timeout_seconds = d->timeout_seconds,
                         .delete_policy = d->delete_policy,
                         .data = d,
                         .retry = declared_retry_strategy(d->retry)};
}

static enum err make_tasks(struct commands *c)
{
    const struct declarations *all = c->declared; /* NULL: nothing is declared */
    size_t n_commands = all != NULL ? all->commands_count : 0;
    size_t n_endpoints = all != NULL ? all->endpoints_count : 0;
    size_t n = 0, most = n_commands + n_endpoints + 1;

    c->tasks = calloc(most, sizeof *c->tasks);
    c->list = calloc(most, sizeof *c->list);
    if (c->tasks == NULL || c->list == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n_commands; i++)
        c->tasks[n++] = command_task(&all->commands[i]);
    for (size_t i = 0; i < n_endpoints; i++)
        c->tasks[n++] = endpoint_task(&all->endpoints[i]);
    for (size_t i = 0; i < n; i++)
        c->list[i] = &c->tasks[i];
    return ERR_OK;
}

enum err commands_load(const char *file, struct commands **out, struct buf *why)
{
    struct commands *c = calloc(1, sizeof *c);
    enum err e = c != NULL ? ERR_OK : ERR_NO_MEMORY;

    if (e == ERR_OK && file != NULL)
        e = declarations_load(file, &c->declared, why);
    if (e == ERR_OK)
        e = make_tasks(c);
    if (e == ERR_OK)
        *out = c;
    else
        commands_free(c);
    return e;
}

const struct task *const *commands_tasks(const struct commands *commands)
{
    return commands->list;
}

void commands_free(struct commands *commands)
{
    if (commands == NULL)
        return;
    declarations_free(commands->declared);
    free(commands->tasks);
    free(commands->list);
    free(commands);
}
