#include "workers/async/query_pool.h"

#include "server/core/clock.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_MOST = 16, KEPT_US = 5 * US_PER_SECOND };

struct kept {
    char *url;
    struct query *q;
    int64_t until_us;
};

/* The one that was used last is at the end. */
struct query_pool {
    struct loop_part part; /* first */
    struct loop *loop;
    struct deadline oldest;
    struct kept kept[KEPT_MOST];
    int n;
};

static struct query *take_out(struct query_pool *p, int i)
{
    struct query *q = p->kept[i].q;

    free(p->kept[i].url);
    p->n--;
    memmove(&p->kept[i], &p->kept[i + 1], (size_t)(p->n - i) * sizeof *p->kept);
    return q;
}

/* All that are too old, and when to look again; without memory for that, all. */
static void close_old(struct query_pool *p, int64_t now_us)
{
    while (p->n > 0 && p->kept[0].until_us <= now_us)
        query_close(take_out(p, 0));
    deadline_clear(&p->loop->deadlines, &p->oldest);
    if (p->n > 0 && !deadline_set(&p->loop->deadlines, &p->oldest, p->kept[0].until_us))
        close_old(p, INT64_MAX);
}

static void on_due(struct deadline *d)
{
    close_old(
        (struct query_pool *)(void *)((char *)d - offsetof(struct query_pool, oldest)),
        clock_us());
}

static void release(struct loop_part *part)
{
    struct query_pool *p = (struct query_pool *)(void *)part;

    close_old(p, INT64_MAX);
    free(p);
}

struct query *query_pool_take(struct loop *loop, const char *url)
{
    struct query_pool *p = (struct query_pool *)(void *)loop_part(loop, release);

    for (int i = p != NULL ? p->n - 1 : -1; i >= 0; i--) {
        if (strcmp(p->kept[i].url, url) != 0)
            continue;
        struct query *q = take_out(p, i);
        if (query_is_clean(q))
            return q;
        query_close(q);
    }
    return NULL;
}

void query_pool_put(struct loop *loop, const char *url, struct query *q)
{
    struct query_pool *p = (struct query_pool *)(void *)loop_part(loop, release);
    char *copy = strdup(url);

    if (p == NULL && (p = calloc(1, sizeof *p)) != NULL) {
        p->part.release = release;
        p->loop = loop;
        p->oldest.due = on_due;
        loop_add_part(loop, &p->part);
    }
    if (p == NULL || copy == NULL) {
        free(copy);
        query_close(q);
        return;
    }
    if (p->n == KEPT_MOST)
        query_close(take_out(p, 0));
    p->kept[p->n++] =
        (struct kept){.url = copy, .q = q, .until_us = clock_us() + KEPT_US};
    close_old(p, clock_us());
}
