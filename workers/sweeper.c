/* Takes bulk requests on, a step at a time. Each step is one transaction of about
 * STEP_AIM_MS, so that what else goes on waits for none of it for long; how many jobs
 * that is depends on the filter and the machine, and is found by doing.
 *
 * All nodes do this (SKIP LOCKED), and what a step has done and where the next one begins
 * are one commit: a node that dies takes nothing with it. Rejected: a chore of the
 * janitor, whose heartbeat must not wait behind a long look. */
#include "db/link.h"
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "server/core/monitor.h"
#include "workers/parts.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    STEP_AIM_MS = 40,
    STEP_MIN = 100,
    STEP_MAX = 50000,
    STEP_FIRST = 1000,
    LOOK_MS = 60000, /* what a step may take at most: the look at the end of a pass */
};

/* The columns of operation_step.sql. */
enum {
    STEP_ID,
    STEP_KIND,
    STEP_LOOKED,
    STEP_STATUS,
    STEP_DOCUMENT,
    STEP_WAKE,
    STEP_NEXT
};

struct sweeper {
    struct node *node;
    pthread_t thread;
    struct monitor monitor;
    bool stopping, wanted; /* under monitor */
    int stop_fd;           /* readable: stopping, for who waits for an answer */
    /* the thread's own */
    struct link link;
    int64_t next_ms; /* clock_ms() */
    int64_t n_jobs;  /* of the next step */
};

/* Twice as many at most from one step to the next, because a first one is slow for
 * reasons of its own. */
static void adapt(struct sweeper *s, int64_t looked, int64_t took_ms)
{
    int64_t n = looked * STEP_AIM_MS / (took_ms > 0 ? took_ms : 1);

    if (looked < s->n_jobs / 2 && took_ms < STEP_AIM_MS)
        return; /* the end of something: it says nothing about a whole step */
    n = n < 2 * s->n_jobs ? n : 2 * s->n_jobs;
    s->n_jobs = n < STEP_MIN ? STEP_MIN : n > STEP_MAX ? STEP_MAX : n;
}

static void tell(struct sweeper *s, const struct db_rows *rows)
{
    const char *status = row_text(rows, 0, STEP_STATUS);

    if (row_int(rows, 0, STEP_WAKE) > 0) {
        node_wake(s->node, "", (int)row_int(rows, 0, STEP_WAKE));
        node_wake_scheduled(s->node); /* a retry may have given them a time */
    }
    if (strcmp(status, "running") != 0)
        log_info("operation_step", "operation=%" PRId64 " kind=%s status=%s",
                 row_int(rows, 0, STEP_ID), row_text(rows, 0, STEP_KIND), status);
}

static void step(struct sweeper *s)
{
    int64_t poll_ms = s->node->options.config->poll_seconds * MS_PER_SECOND;
    int64_t from_ms = clock_ms(), next_ms = poll_ms;
    struct db_value values[] = {db_int(s->n_jobs)};
    struct db_rows rows;

    s->next_ms = from_ms + poll_ms;
    if (db_exec(s->link.db, SQL_operation_step, 1, values, &rows) != ERR_OK) {
        link_complain(&s->link, "operation_step", db_errmsg(s->link.db));
        s->n_jobs = STEP_MIN; /* it may have been too much */
        s->next_ms = clock_ms() + MS_PER_SECOND;
        return;
    }
    if (!row_is_null(&rows, 0, STEP_ID)) {
        adapt(s, row_int(&rows, 0, STEP_LOOKED), clock_ms() - from_ms);
        tell(s, &rows);
        next_ms = 0; /* there may be another */
    } else if (!row_is_null(&rows, 0, STEP_NEXT) &&
               row_int(&rows, 0, STEP_NEXT) < poll_ms) {
        next_ms = row_int(&rows, 0, STEP_NEXT);
    }
    db_rows_free(&rows);
    s->next_ms = clock_ms() + next_ms;
}

/* False: the sweeper is to stop. */
static bool wait_for_work(struct sweeper *s)
{
    int64_t at_ms = s->link.db != NULL ? s->next_ms : s->link.next_try_ms;

    monitor_lock(&s->monitor);
    while (!s->stopping && (s->link.db == NULL || !s->wanted) &&
           monitor_wait(&s->monitor, at_ms))
        ;
    s->wanted = false;
    bool goes_on = !s->stopping;
    monitor_unlock(&s->monitor);
    return goes_on;
}

static void *run(void *arg)
{
    struct sweeper *s = arg;

    while (wait_for_work(s)) {
        if (!link_connect(&s->link))
            continue;
        if (db_is_broken(s->link.db) || !db_is_alive(s->link.db))
            link_drop(&s->link);
        else
            step(s);
    }
    link_drop(&s->link);
    return NULL;
}

static bool start(struct sweeper *s)
{
    struct db_options options = {.url = s->node->options.url,
                                 .application_name = "belay sweeper",
                                 .statement_timeout_ms = LOOK_MS,
                                 .pin_plans = true};

    s->stop_fd = options.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->stop_fd < 0)
        return false;
    link_init(&s->link, &options, "sweeper");
    return pthread_create(&s->thread, NULL, run, s) == 0;
}

enum err sweeper_open(struct node *node, struct sweeper **out_s)
{
    struct sweeper *s = calloc(1, sizeof *s);

    if (s == NULL)
        return ERR_NO_MEMORY;
    s->node = node;
    s->n_jobs = STEP_FIRST;
    monitor_init(&s->monitor);
    if (start(s)) {
        *out_s = s;
        return ERR_OK;
    }
    sweeper_free(s);
    return ERR_NO_MEMORY;
}

/* -- from other threads -------------------------------------------------------------- */

static void want(struct sweeper *s, bool *wish)
{
    monitor_lock(&s->monitor);
    *wish = true;
    monitor_signal(&s->monitor);
    monitor_unlock(&s->monitor);
}

void sweeper_wake(struct sweeper *s)
{
    want(s, &s->wanted);
}

void sweeper_close(struct sweeper *s)
{
    if (s == NULL)
        return;
    want(s, &s->stopping);
    if (eventfd_write(s->stop_fd, 1) != 0)
        log_warn("sweeper", "stop_failed=%d", errno);
    pthread_join(s->thread, NULL);
}

void sweeper_free(struct sweeper *s)
{
    if (s == NULL)
        return;
    monitor_release(&s->monitor);
    if (s->stop_fd >= 0)
        close(s->stop_fd);
    free(s);
}
