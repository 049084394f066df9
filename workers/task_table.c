/* The built-in tasks are found by the file names in workers/tasks/: tasks/echo.c defines
 * task_echo and needs no other mention.
 *
 * A name is compared with all others, which is quick enough for what people write by
 * hand. */
#include "workers/task_table.h"

#include "workers/command.h"
#include "workers/strategy.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MAX_BYTES = 128,
    SECONDS_MAX = 86400,
    WEEK = 7 * SECONDS_MAX,
    ATTEMPTS_MAX = 1000
};

#define TASK(name) extern const struct task task_##name;
#include "build/gen/tasks.def"
#undef TASK

static const struct task *const builtin_tasks[] = {
#define TASK(name) &task_##name,
#include "build/gen/tasks.def"
#undef TASK
};

struct task_table {
    size_t n;
    const struct task **list; /* ends in NULL */
    struct task_origin {
        char *words;
        struct task *copy; /* NULL: the task is borrowed */
    } * origins;
};

/* -- what a task must be ------------------------------------------------------------- */

static bool name_is_fine(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                              "0123456789_.:-");

    return len > 0 && len <= NAME_MAX_BYTES && name[len] == '\0';
}

static bool in_range(int value, int most)
{
    return value >= 0 && value <= most;
}

static bool kind_is_fine(const struct task *task)
{
    switch (task->kind) {
    case TASK_SYNC:
    case TASK_ASYNC:
    case TASK_PROCESS:
        return true;
    case TASK_COMMAND:
        return task->run == command_run;
    }
    return false;
}

/* What is wrong with it, or NULL. */
static const char *fault_of(const struct task *task)
{
    if (!name_is_fine(task->name))
        return "the name should be 1 to 128 of A-Z a-z 0-9 _ . : -";
    if (task->run == NULL)
        return "it has no function to run (.run)";
    if (!kind_is_fine(task))
        return "its kind should be TASK_SYNC, TASK_ASYNC or TASK_PROCESS";
    if (!in_range(task->max_attempts, ATTEMPTS_MAX))
        return "max_attempts should be from 1 to 1000, or 0 for the setting";
    if (!in_range(task->grace_seconds, SECONDS_MAX))
        return "grace_seconds should be from 1 to 86400, or 0 for the setting";
    if (!in_range(task->timeout_seconds, WEEK))
        return "timeout_seconds should be from 1 to 604800, or 0 for none";
    if (task->retry != NULL)
        return strategy_fault(task->retry);
    return NULL;
}

static enum err check_task(const struct task_table *t, const struct task *task,
                           const char *origin, struct buf *why)
{
    const char *fault;

    if (task->name == NULL) {
        buf_addf(why, "%s: a task has no name (.name)", origin);
        return ERR_CONFIG;
    }
    fault = fault_of(task);
    if (fault != NULL) {
        buf_addf(why, "%s: task %s: %s", origin, task->name, fault);
        return ERR_CONFIG;
    }
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->list[i]->name, task->name) != 0)
            continue;
        buf_addf(why, "%s: task %s: the name is taken (%s); choose another", origin,
                 task->name, t->origins[i].words);
        return ERR_CONFIG;
    }
    return ERR_OK;
}

/* -- the table ----------------------------------------------------------------------- */

static enum err make_room(struct task_table *t)
{
    const struct task **list = realloc(t->list, (t->n + 2) * sizeof *list);

    if (list == NULL)
        return ERR_NO_MEMORY;
    t->list = list;
    struct task_origin *origins = realloc(t->origins, (t->n + 1) * sizeof *origins);
    if (origins == NULL)
        return ERR_NO_MEMORY;
    t->origins = origins;
    return ERR_OK;
}

/* Takes `copy` when it is not NULL, also after an error. */
static enum err add(struct task_table *t, const struct task *task, struct task *copy,
                    const char *origin, struct buf *why)
{
    enum err e = check_task(t, task, origin, why);

    if (e == ERR_OK)
        e = make_room(t);
    char *words = e == ERR_OK ? strdup(origin) : NULL;
    if (words == NULL) {
        free(copy);
        return e != ERR_OK ? e : ERR_NO_MEMORY;
    }
    t->origins[t->n] = (struct task_origin){.words = words, .copy = copy};
    t->list[t->n++] = task;
    t->list[t->n] = NULL;
    return ERR_OK;
}

enum err task_table_add(struct task_table *t, const struct task *task, const char *origin,
                        struct buf *why)
{
    return add(t, task, NULL, origin, why);
}

/* The numbers of another task.h. A larger struct task has fields that this Belay does not
 * know, and so would not heed. */
static enum err check_compiled(const struct belay_tasks *c, const char *origin,
                               struct buf *why)
{
    if (c->abi != BELAY_ABI) {
        buf_addf(
            why,
            "%s: compiled for ABI %u of task.h, but this is ABI %d: compile it again",
            origin, c->abi, BELAY_ABI);
        return ERR_CONFIG;
    }
    if (c->task_size > sizeof(struct task)) {
        buf_addf(why, "%s: compiled for a newer Belay than this (%s)", origin,
                 BELAY_VERSION);
        return ERR_CONFIG;
    }
    if (c->task_size < offsetof(struct task, run) + sizeof(void *) || c->tasks == NULL ||
        c->cell_size != sizeof(struct abort_cell) ||
        c->info_size != sizeof(struct abort_info)) {
        buf_addf(why, "%s: its table was not made by BELAY_TASKS() of task.h", origin);
        return ERR_CONFIG;
    }
    return ERR_OK;
}

enum err task_table_add_compiled(struct task_table *t, const struct belay_tasks *compiled,
                                 const char *origin, struct buf *why)
{
    enum err e = check_compiled(compiled, origin, why);

    for (size_t i = 0; e == ERR_OK && compiled->tasks[i] != NULL; i++) {
        struct task *copy = calloc(1, sizeof *copy);
        if (copy == NULL)
            return ERR_NO_MEMORY;
        memcpy(copy, compiled->tasks[i], compiled->task_size);
        e = add(t, copy, copy, origin, why);
    }
    return e;
}

/* -- into processes of their own ----------------------------------------------------- */

/* The next word of "a,b"; its length, 0 at the end. */
static size_t next_word(const char **at)
{
    *at += strspn(*at, ", ");
    return strcspn(*at, ", ");
}

static bool is_word(const char *word, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(word, name, len) == 0;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
/* The copy is the table's: origins[i] has it. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
static enum err isolate(struct task_table *t, size_t i)
{
    struct task *copy = t->origins[i].copy;

    if (t->list[i]->kind == TASK_PROCESS)
        return ERR_OK;
    if (copy == NULL) {
        copy = malloc(sizeof *copy);
        if (copy == NULL)
            return ERR_NO_MEMORY;
        *copy = *t->list[i];
        t->origins[i].copy = copy;
        t->list[i] = copy;
    }
    copy->kind = TASK_PROCESS;
    return ERR_OK;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

static bool may_be_isolated(const struct task *task)
{
    return task->kind == TASK_SYNC || task->kind == TASK_PROCESS;
}

static enum err isolate_all(struct task_table *t)
{
    enum err e = ERR_OK;

    for (size_t i = 0; i < t->n && e == ERR_OK; i++) {
        if (may_be_isolated(t->list[i]))
            e = isolate(t, i);
    }
    return e;
}

static enum err isolate_one(struct task_table *t, const char *word, size_t len,
                            struct buf *why)
{
    size_t i = 0;

    while (i < t->n && !is_word(word, len, t->list[i]->name))
        i++;
    if (i < t->n && may_be_isolated(t->list[i]))
        return isolate(t, i);
    buf_addf(why, "isolate: %.*s is not a task%s", (int)len, word,
             i < t->n ? " that runs on a thread" : "");
    return ERR_CONFIG;
}

enum err task_table_isolate(struct task_table *t, const char *names, struct buf *why)
{
    enum err e = ERR_OK;
    size_t len;

    for (; e == ERR_OK && (len = next_word(&names)) > 0; names += len)
        e = is_word(names, len, "*") ? isolate_all(t) : isolate_one(t, names, len, why);
    return e;
}

/* -- made, read, freed --------------------------------------------------------------- */

enum err task_table_new(struct task_table **out_table, struct buf *why)
{
    struct task_table *t = calloc(1, sizeof *t);
    enum err e = t != NULL ? make_room(t) : ERR_NO_MEMORY;

    for (size_t i = 0; e == ERR_OK && i < sizeof builtin_tasks / sizeof *builtin_tasks;
         i++)
        e = task_table_add(t, builtin_tasks[i], "built in", why);
    if (e == ERR_OK)
        *out_table = t;
    else
        task_table_free(t);
    return e;
}

void task_table_free(struct task_table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++) {
        free(t->origins[i].words);
        free(t->origins[i].copy);
    }
    free(t->origins);
    free(t->list);
    free(t);
}

const struct task *const *task_table_list(const struct task_table *t)
{
    return t->list;
}
