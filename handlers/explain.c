/* explainJob: why a job has not started or has not stopped, or how it ended. The
 * statement tells, because only one snapshot of the tables makes a true story; what it
 * cannot know goes with the question: how long a lease is, and what follows the grace of
 * each task, which is in no table. All nodes are the same, so that any may be asked. */
#include "build/gen/operations.h"
#include "handlers/submit.h"
#include "handlers/tasks.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <inttypes.h>
#include <string.h>

static void reply_explanation(struct request *req, const struct db_rows *rows)
{
    if (rows->count == 0)
        req_error(req, req_fail(req, ERR_JOB_NOT_FOUND, "there is no job %s",
                                req_path(req, "jobId")));
    else
        req_reply(req, 200, NULL, row_text(rows, 0, 1), (size_t)row_len(rows, 0, 1));
}

static void add_task(struct buf *b, const struct config *config, const struct task *task)
{
    struct task_rules rules = task_rules(config, task);

    buf_add_json_string(b, task->name, strlen(task->name));
    buf_addf(b, ":{\"grace_ms\":%" PRId64 ",\"timeout_ms\":%" PRId64,
             rules.grace_seconds * MS_PER_SECOND, rules.timeout_seconds * MS_PER_SECOND);
    if (rules.after_grace != NULL)
        buf_addf(b, ",\"after_grace\":\"%s\"", rules.after_grace);
    buf_addc(b, '}');
}

/* The statement's p_node. */
static void add_node(struct buf *b, const struct app *app)
{
    const struct task *const *t = node_tasks(app->node);

    buf_addf(b, "{\"lease_ms\":%" PRId64 ",\"poll_ms\":%" PRId64 ",\"tasks\":{",
             app->config->lease_seconds * MS_PER_SECOND,
             app->config->abort_poll_seconds * MS_PER_SECOND);
    for (size_t i = 0; t[i] != NULL; i++) {
        if (i > 0)
            buf_addc(b, ',');
        add_task(b, app->config, t[i]);
    }
    buf_adds(b, "}}");
}

enum err explain_job(struct request *req)
{
    CLEANUP(buf_release) struct buf node = BUF_INIT;
    int64_t job_id;
    enum err e = req_path_id(req, "jobId", ERR_JOB_NOT_FOUND, &job_id);

    if (e != ERR_OK)
        return e;
    add_node(&node, req_app(req));
    if (node.failed)
        return ERR_NO_MEMORY;
    struct db_value *v = submit_values(req, SQL_job_explain, 1);
    v[0] = db_int(job_id);
    v[1] = db_text(req_strdup(req, node.text, node.len));
    return submit(req, LANE_READ, SQL_job_explain, 1, v, reply_explanation);
}
