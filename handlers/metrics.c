/* getMetrics: what this node has counted since its start, and what the database knows of
 * all. Labels are names that operators choose (queues, tasks) or that the contract knows
 * (operations, statuses), never ids or texts of jobs. */
#include "handlers/metrics.h"

#include "build/gen/operations.h"
#include "handlers/exposition.h"
#include "handlers/gauges.h"
#include "server/core/cleanup.h"
#include "server/core/log.h"
#include "server/http/meter.h"
#include "workers/tally.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char content_type[] = "text/plain; version=0.0.4; charset=utf-8";

/* -- counted by handlers ------------------------------------------------------------- */

static const char *const cancel_results[CANCEL_RESULTS] = {
    "cancelled",           "aborting",        "deleted",
    "already_cancelled",   "already_aborted", "already_todo",
    "job-running",         "job-finished",    "job-not-found",
    "precondition-failed", "cancel_pending"};

void metrics_count_cancel(struct request *req, const char *result)
{
    struct request_counts *counts = &req_app(req)->counts;

    for (int i = 0; i < CANCEL_RESULTS; i++) {
        if (strcmp(cancel_results[i], result) == 0)
            counts->cancels[i]++;
    }
}

static void add_counts(struct buf *b, const struct request_counts *counts)
{
    expo_family(b, "belay_jobs_enqueued_total", "counter",
                "Jobs that were put in over HTTP at this node.");
    expo_sample(b, "belay_jobs_enqueued_total", NO_LABELS, counts->enqueued);
    expo_family(b, "belay_cancel_requests_total", "counter",
                "Requests to cancel, abort or delete a job at this node, by what came of "
                "them.");
    for (int i = 0; i < CANCEL_RESULTS; i++)
        expo_sample(b, "belay_cancel_requests_total",
                    LABELS({"result", cancel_results[i]}), counts->cancels[i]);
}

/* -- the node ------------------------------------------------------------------------ */

static void add_one(struct buf *b, const char *name, const char *type, const char *help,
                    int64_t value)
{
    expo_family(b, name, type, help);
    expo_sample(b, name, NO_LABELS, value);
}

static void add_node(struct buf *b, struct app *app)
{
    struct node_status s;

    node_status(app->node, &s);
    expo_family(b, "belay_build_info", "gauge", "The version that runs here.");
    expo_sample(b, "belay_build_info", LABELS({"version", BELAY_VERSION}), 1);
    add_one(b, "belay_db_up", "gauge",
            "1 while the connections of this node to the database are up.",
            s.database_up && lanes_are_up(app->lanes));
    add_one(b, "belay_listen_ok", "gauge", "1 while this node hears notifications.",
            s.listening);
    add_one(b, "belay_draining", "gauge", "1 while this node goes down.", s.draining);
    add_one(b, "belay_node_jobs_running", "gauge", "Jobs that this node runs.",
            s.running);
    add_one(b, "belay_node_jobs_waiting", "gauge",
            "Jobs that this node has claimed and not started.", s.waiting);
    add_one(b, "belay_stale_writes_total", "counter",
            "Results that were dropped because the job had been taken from this node.",
            s.stale_writes);
    add_one(b, "belay_jobs_rescued_total", "counter",
            "Jobs that this node has taken from workers that were lost.", s.rescued);
    add_one(b, "belay_log_lines_lost_total", "counter",
            "Lines of the log that could not be written: a full disk, a pipe that nobody "
            "reads.",
            log_lines_lost());
}

/* -- tasks --------------------------------------------------------------------------- */

static void add_outcomes(struct buf *b, const struct app *app)
{
    static const char name[] = "belay_jobs_finished_total";
    static const char *const outcomes[TALLY_OUTCOMES] = {
        [TALLY_SUCCEEDED] = "succeeded", [TALLY_FAILED] = "failed",
        [TALLY_CANCELLED] = "cancelled", [TALLY_ABORTED] = "aborted",
        [TALLY_RETRIED] = "retried",     [TALLY_RELEASED] = "released"};
    const struct task *const *t = node_tasks(app->node);

    expo_family(b, name, "counter",
                "Attempts of this node that are over, by what became of the job: "
                "retried and released jobs start again.");
    for (; *t != NULL; t++) {
        const struct task_tally *tally = node_tally(app->node, *t);
        for (int i = 0; i < TALLY_OUTCOMES; i++)
            expo_sample(b, name, LABELS({"task", (*t)->name}, {"outcome", outcomes[i]}),
                        atomic_load(&tally->ended[i]));
    }
}

/* One number of each task, at this place of its tally. */
static void add_task_counts(struct buf *b, const struct app *app, size_t at,
                            const char *name, const char *help)
{
    const struct task *const *t = node_tasks(app->node);

    expo_family(b, name, "counter", help);
    for (; *t != NULL; t++) {
        const char *tally = (const char *)node_tally(app->node, *t);
        const _Atomic int64_t *n = (const void *)(tally + at);
        expo_sample(b, name, LABELS({"task", (*t)->name}), atomic_load(n));
    }
}

static void add_task_times(struct buf *b, const struct app *app, size_t at,
                           const char *name, const char *help)
{
    const struct task *const *t = node_tasks(app->node);

    expo_family(b, name, "histogram", help);
    for (; *t != NULL; t++) {
        const char *tally = (const char *)node_tally(app->node, *t);
        expo_histogram(b, name, LABELS({"task", (*t)->name}), (const void *)(tally + at));
    }
}

static void add_tasks(struct buf *b, const struct app *app)
{
    add_outcomes(b, app);
    add_task_counts(b, app, offsetof(struct task_tally, stalls),
                    "belay_loop_stalls_total",
                    "How often a task kept the loop for 0.1 s without an await.");
    add_task_counts(b, app, offsetof(struct task_tally, ignored),
                    "belay_abort_ignored_total",
                    "Aborts at which a task had not looked after 5 s.");
    add_task_times(b, app, offsetof(struct task_tally, waited), "belay_job_wait_seconds",
                   "From when a job could have started (made, scheduled, or due for its "
                   "next attempt) to the start of its code.");
    add_task_times(b, app, offsetof(struct task_tally, run), "belay_job_run_seconds",
                   "From the start of a job's code to its end.");
    add_task_times(b, app, offsetof(struct task_tally, delivered),
                   "belay_cancel_delivery_seconds",
                   "From the request of an abort until it had reached the job's code.");
    add_task_times(b, app, offsetof(struct task_tally, acknowledged),
                   "belay_cancel_ack_seconds",
                   "From the request of an abort until the job's code had seen it.");
    add_task_times(b, app, offsetof(struct task_tally, stopped),
                   "belay_cancel_stop_seconds",
                   "From the request of an abort until the job's code had stopped.");
}

/* -- HTTP ---------------------------------------------------------------------------- */

static void add_requests(struct buf *b, const struct meter_row *row)
{
    static const char name[] = "belay_http_request_seconds";
    char code[16];

    expo_family(b, name, "histogram",
                "From the first byte of a request to its answer; code 0: it was cut.");
    for (; row != NULL; row = row->next) {
        snprintf(code, sizeof code, "%d", row->status);
        expo_histogram(b, name, LABELS({"operation", row->operation}, {"code", code}),
                       &row->took);
    }
}

/* -- the answer ---------------------------------------------------------------------- */

static void reply_metrics(struct request *req)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    struct app *app = req_app(req);
    int64_t age_us = gauges_age_us(app->gauges);

    add_node(&b, app);
    buf_adds(&b, gauges_text(app->gauges));
    if (age_us >= 0) {
        expo_family(&b, "belay_gauges_age_seconds", "gauge",
                    "How old belay_jobs, belay_queue_latency_seconds and belay_workers "
                    "are.");
        expo_seconds(&b, "belay_gauges_age_seconds", NO_LABELS, age_us);
    }
    add_counts(&b, &app->counts);
    add_tasks(&b, app);
    add_requests(&b, req_timings(req));
    if (b.failed)
        req_error(req, ERR_NO_MEMORY);
    else
        req_reply(req, 200, content_type, b.text, b.len);
}

enum err get_metrics(struct request *req)
{
    gauges_wait(req_app(req)->gauges, req, reply_metrics);
    return ERR_OK;
}
