/* One statement for all scrapes that wait, and its answer is kept as text. The lane is
 * asked for as long as the answer takes and rests ten times as long, so that neither many
 * scrapers nor many jobs keep it from others. Rejected: counters in the database that
 * each insert and each claim would have to touch; a thread that reads all the time, also
 * for nobody. */
#include "handlers/gauges.h"

#include "handlers/exposition.h"
#include "server/core/clock.h"
#include "server/core/log.h"

#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 500, REST_FACTOR = 10 };

struct waiting {
    struct waiting *next;
    struct request *req;
    gauges_fn *ready;
};

struct gauges {
    struct app *app;
    struct buf text;
    int64_t asked_us, read_us, took_us; /* read_us 0: there are none */
    bool asking;
    struct db_value lease_ms;
    struct waiting *waiting; /* in the memory of the requests */
};

enum err gauges_new(struct app *app, struct gauges **out_gauges)
{
    struct gauges *g = calloc(1, sizeof *g);

    if (g == NULL)
        return ERR_NO_MEMORY;
    g->app = app;
    buf_init(&g->text);
    g->lease_ms = db_int(app->config->lease_seconds * MS_PER_SECOND);
    *out_gauges = g;
    return ERR_OK;
}

void gauges_free(struct gauges *g)
{
    if (g == NULL)
        return;
    buf_release(&g->text);
    free(g);
}

const char *gauges_text(const struct gauges *g)
{
    return g->text.text;
}

int64_t gauges_age_us(const struct gauges *g)
{
    return g->read_us == 0 ? -1 : clock_us() - g->read_us;
}

/* -- the answer ---------------------------------------------------------------------- */

enum { COLUMN_GAUGE, COLUMN_QUEUE, COLUMN_STATUS, COLUMN_VALUE };

static bool is_of(const struct db_rows *rows, int i, const char *gauge)
{
    return strcmp(row_text(rows, i, COLUMN_GAUGE), gauge) == 0;
}

static void add_rows(struct buf *b, const struct db_rows *rows)
{
    expo_family(b, "belay_jobs", "gauge",
                "Jobs that have not ended. An estimate where there are more than some "
                "190,000 of a status.");
    for (int i = 0; i < rows->count; i++) {
        if (is_of(rows, i, "jobs"))
            expo_sample(b, "belay_jobs",
                        LABELS({"queue", row_text(rows, i, COLUMN_QUEUE)},
                               {"status", row_text(rows, i, COLUMN_STATUS)}),
                        row_int(rows, i, COLUMN_VALUE));
    }
    expo_family(b, "belay_queue_latency_seconds", "gauge",
                "How long the next job of the queue has waited since it could have "
                "started.");
    for (int i = 0; i < rows->count; i++) {
        if (is_of(rows, i, "latency_us"))
            expo_seconds(b, "belay_queue_latency_seconds",
                         LABELS({"queue", row_text(rows, i, COLUMN_QUEUE)}),
                         row_int(rows, i, COLUMN_VALUE));
    }
    expo_family(b, "belay_workers", "gauge", "Workers of all nodes that are alive.");
    for (int i = 0; i < rows->count; i++) {
        if (is_of(rows, i, "workers"))
            expo_sample(b, "belay_workers", NO_LABELS, row_int(rows, i, COLUMN_VALUE));
    }
}

static void reply_to(struct gauges *g, struct waiting *w)
{
    struct waiting **link = &g->waiting;

    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
    w->ready(w->req);
}

/* A figure that is not known is left out: the last one would look like news. */
static void on_gauges(void *arg, const struct db_rows *rows, enum err why,
                      const char *message)
{
    struct gauges *g = arg;

    g->asking = false;
    buf_clear(&g->text);
    g->read_us = 0;
    if (why == ERR_OK) {
        add_rows(&g->text, rows);
        g->read_us = clock_us();
        g->took_us = g->read_us - g->asked_us;
    } else if (why == ERR_INTERNAL || why == ERR_INVALID) {
        log_error("gauges", "failed=%s", log_quoted(message));
    }
    if (g->text.failed)
        buf_clear(&g->text);
    while (g->waiting != NULL) {
        req_timer_stop(g->waiting->req);
        reply_to(g, g->waiting);
    }
}

/* -- the question -------------------------------------------------------------------- */

static bool are_fresh(const struct gauges *g)
{
    int64_t rest_us = REST_FACTOR * g->took_us;

    return g->read_us != 0 &&
           gauges_age_us(g) < (rest_us > US_PER_SECOND ? rest_us : US_PER_SECOND);
}

static void ask(struct gauges *g)
{
    struct db_op op = {.lane = LANE_READ,
                       .sql = SQL_gauges,
                       .n_rows = 1,
                       .values = &g->lease_ms,
                       .done = on_gauges,
                       .arg = g};

    g->asked_us = clock_us();
    g->asking = lanes_are_up(g->app->lanes) && db_submit(g->app->lanes, &op) == ERR_OK;
}

static void on_late(struct request *req, void *arg)
{
    (void)req;
    struct gauges *g = req_app(req)->gauges;

    reply_to(g, arg);
}

void gauges_wait(struct gauges *g, struct request *req, gauges_fn *ready)
{
    struct waiting *w;

    if (!g->asking && !are_fresh(g))
        ask(g);
    if (!g->asking) {
        if (!are_fresh(g)) { /* the database is away */
            buf_clear(&g->text);
            g->read_us = 0;
        }
        ready(req);
        return;
    }
    w = req_alloc(req, sizeof *w);
    *w = (struct waiting){.next = g->waiting, .req = req, .ready = ready};
    g->waiting = w;
    req_timer_start(req, PATIENCE_MS, on_late, w);
}
