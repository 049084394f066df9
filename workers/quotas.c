/* What is over the quota stays in the database, where other nodes may take it: claims
 * (claims.c) leave out queues and tasks that have no room. Rejected: to claim all the
 * same and let jobs wait here for their turn, which keeps them from nodes that are free;
 * and to give back what is too much, which claims the same jobs again and again. */
#include "workers/quotas.h"

#include "workers/job.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* One item of "a=1,b=2". */
struct item {
    const char *name;
    size_t len;
    int64_t number;
};

/* False at the end. config_set() has checked the form. */
static bool next_item(const char **at, struct item *out)
{
    if (**at == '\0')
        return false;
    char *end;
    *out = (struct item){.name = *at, .len = strcspn(*at, "=")};
    out->number = strtoll(*at + out->len + 1, &end, 10);
    *at = end + (*end == ',');
    return true;
}

/* Whether one of the comma-separated patterns that begin with `!`, or of the others, is
 * met. out_any: there is a pattern of that sort. */
static bool matches(const char *patterns, const char *name, bool of_not, bool *out_any)
{
    char pattern[256];
    bool met = false;
    size_t len;

    *out_any = false;
    for (; *patterns != '\0'; patterns += len + (patterns[len] == ',')) {
        len = strcspn(patterns, ",");
        if ((*patterns == '!') != of_not || len >= sizeof pattern)
            continue;
        memcpy(pattern, patterns + of_not, len - of_not);
        pattern[len - of_not] = '\0';
        *out_any = true;
        met = met || fnmatch(pattern, name, 0) == 0;
    }
    return met;
}

/* As belay.takes_queue() says it. */
static bool takes_queue(const char *patterns, const char *name)
{
    bool any_taken, any_left_out;
    bool taken = matches(patterns, name, false, &any_taken);

    return (taken || !any_taken) && !matches(patterns, name, true, &any_left_out);
}

static const struct task *task_of(const struct task *const *tasks,
                                  const struct item *item)
{
    while (*tasks != NULL && (strlen((*tasks)->name) != item->len ||
                              strncmp((*tasks)->name, item->name, item->len) != 0))
        tasks++;
    return *tasks;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
/* The name is the list's, which quotas_release() frees. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
static enum err add(struct quotas *q, const struct item *item, const struct task *task)
{
    struct quota *quota = &q->list[q->n];

    *quota = (struct quota){
        .name = strndup(item->name, item->len), .task = task, .most = item->number};
    if (quota->name == NULL)
        return ERR_NO_MEMORY;
    q->n++;
    return ERR_OK;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

static size_t count_items(const char *text)
{
    struct item item;
    size_t n = 0;

    while (next_item(&text, &item))
        n++;
    return n;
}

static enum err add_all(struct quotas *q, const struct config *config,
                        const struct task *const *tasks)
{
    const char *queues = config->queue_concurrency, *names = config->task_concurrency;
    struct item item;
    enum err e = ERR_OK;

    while (e == ERR_OK && next_item(&queues, &item)) {
        e = add(q, &item, NULL);
        if (e == ERR_OK && !takes_queue(config->queues, q->list[q->n - 1].name))
            free(q->list[--q->n].name);
    }
    q->n_queues = q->n;
    while (e == ERR_OK && next_item(&names, &item)) {
        const struct task *task = task_of(tasks, &item);
        if (task != NULL)
            e = add(q, &item, task);
    }
    return e;
}

enum err quotas_init(struct quotas *q, const struct config *config,
                     const struct task *const *tasks)
{
    size_t most =
        count_items(config->queue_concurrency) + count_items(config->task_concurrency);

    *q = (struct quotas){.list = calloc(most + 1, sizeof *q->list)};
    return q->list != NULL ? add_all(q, config, tasks) : ERR_NO_MEMORY;
}

void quotas_release(struct quotas *q)
{
    for (size_t i = 0; i < q->n; i++)
        free(q->list[i].name);
    free(q->list);
    *q = (struct quotas){.list = NULL};
}

enum err quotas_check(const struct config *config, const struct task *const *tasks,
                      struct buf *why)
{
    const char *at = config->task_concurrency;
    struct item item;

    while (next_item(&at, &item)) {
        if (task_of(tasks, &item) == NULL) {
            buf_addf(why, "task_concurrency: %.*s is not a task", (int)item.len,
                     item.name);
            return ERR_CONFIG;
        }
    }
    return ERR_OK;
}

void quotas_take(struct quotas *q, struct job *job)
{
    for (size_t i = 0; i < q->n; i++) {
        struct quota *quota = &q->list[i];
        if (quota->task == NULL ? strcmp(quota->name, job->queue) != 0
                                : quota->task != job->task)
            continue;
        job->quotas[quota->task != NULL] = quota;
        quota->held++;
    }
}

bool quotas_leave(struct job *job)
{
    bool was_full = job->quotas[0] != NULL && quotas_room(job->quotas[0]) == 0;

    for (int i = 0; i < 2; i++) {
        if (job->quotas[i] != NULL)
            job->quotas[i]->held--;
        job->quotas[i] = NULL;
    }
    return was_full;
}

int64_t quotas_room(const struct quota *quota)
{
    return quota->most > quota->held ? quota->most - quota->held : 0;
}

static void add_json(const char *key, const char *text, struct buf *b)
{
    const char *between = "";
    struct item item;

    buf_addf(b, "\"%s\":{", key);
    while (next_item(&text, &item)) {
        buf_addf(b, "%s\"%.*s\":%lld", between, (int)item.len, item.name,
                 (long long)item.number);
        between = ",";
    }
    buf_addc(b, '}');
}

void quotas_add_json(const struct config *config, struct buf *b)
{
    buf_addc(b, '{');
    add_json("queue_concurrency", config->queue_concurrency, b);
    buf_addc(b, ',');
    add_json("task_concurrency", config->task_concurrency, b);
    buf_addc(b, '}');
}
