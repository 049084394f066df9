/* listTasks, pauseTask, resumeTask, setTaskLimits: /tasks. What this node can run, and
 * what holds for it: compiled in or declared, and beside that what the database has of
 * its gate. */
#include "handlers/tasks.h"

#include "build/gen/operations.h"
#include "handlers/gates.h"
#include "server/core/cleanup.h"
#include "workers/strategy.h"

#include <inttypes.h>
#include <string.h>

struct task_rules task_rules(const struct config *config, const struct task *task)
{
    static const char *const kinds[] = {[TASK_SYNC] = "sync",
                                        [TASK_ASYNC] = "async",
                                        [TASK_PROCESS] = "process",
                                        [TASK_COMMAND] = "command"};

    return (struct task_rules){
        .kind = kinds[task->kind],
        .after_grace = task->kind == TASK_SYNC    ? NULL
                       : task->kind == TASK_ASYNC ? "cancel"
                                                  : "kill",
        .max_attempts =
            task->max_attempts > 0 ? task->max_attempts : config->max_attempts,
        .grace_seconds =
            task->grace_seconds > 0 ? task->grace_seconds : config->grace_seconds,
        .timeout_seconds = task->timeout_seconds,
    };
}

static void add_text(struct buf *b, const char *key, const char *text)
{
    buf_addf(b, ",\"%s\":", key);
    if (text != NULL)
        buf_add_json_string(b, text, strlen(text));
    else
        buf_adds(b, "null");
}

/* No grace where nothing follows it; no timeout is null, as in a job. */
static void add_task(struct buf *b, const struct config *config, const struct task *task,
                     const char *members)
{
    struct task_rules rules = task_rules(config, task);

    buf_adds(b, "{\"name\":");
    buf_add_json_string(b, task->name, strlen(task->name));
    add_text(b, "description", task->description);
    add_text(b, "kind", rules.kind);
    buf_addf(b, ",\"max_attempts\":%" PRId64, rules.max_attempts);
    if (rules.timeout_seconds > 0)
        buf_addf(b, ",\"timeout_seconds\":%" PRId64, rules.timeout_seconds);
    else
        buf_adds(b, ",\"timeout_seconds\":null");
    if (rules.after_grace != NULL)
        buf_addf(b, ",\"grace_seconds\":%" PRId64, rules.grace_seconds);
    else
        buf_adds(b, ",\"grace_seconds\":null");
    add_text(b, "after_grace", rules.after_grace);
    buf_adds(b, ",\"retry\":");
    strategy_add_json(b, config, task->retry);
    buf_addf(b, ",%s}", members);
}

/* Of its gate: what the statement says, or that there is nothing. `rows` NULL: nobody
 * knows. */
static const char *members_of(const struct db_rows *rows, const char *task)
{
    if (rows == NULL)
        return "\"paused\":null,\"pause\":null,\"limits\":null,\"doing\":null,\"parked\":"
               "null";
    for (int i = 0; i < rows->count; i++) {
        if (strcmp(row_text(rows, i, 0), task) == 0)
            return row_text(rows, i, 1);
    }
    return "\"paused\":false,\"pause\":null,\"limits\":null,\"doing\":0,\"parked\":0";
}

static void add_tasks(struct buf *b, const struct app *app, const struct db_rows *rows)
{
    const struct task *const *t = node_tasks(app->node);

    buf_adds(b, "{\"tasks\":[");
    for (size_t i = 0; t[i] != NULL; i++) {
        if (i > 0)
            buf_addc(b, ',');
        add_task(b, app->config, t[i], members_of(rows, t[i]->name));
    }
    buf_adds(b, "]}");
}

static void reply_tasks(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    add_tasks(&b, req_app(req), rows);
    req_reply_buf(req, 200, &b);
}

/* What can run here is known without a database. */
enum err list_tasks(struct request *req)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    add_tasks(&b, req_app(req), NULL);
    submit_again(req, SQL_task_list, NULL, reply_tasks,
                 first_answer(req, 200, "", b.text));
    return ERR_OK;
}

/* -- pause and limits ---------------------------------------------------------------- */

static enum err task_of(struct request *req, const char **out)
{
    const char *name = req_path(req, "task");

    if (node_task(req_app(req)->node, name) == NULL)
        return req_fail(req, ERR_TASK_NOT_FOUND, "%s is not a task here", name);
    *out = name;
    return ERR_OK;
}

enum err pause_task(struct request *req)
{
    const char *name = NULL;
    enum err e = task_of(req, &name);

    return e == ERR_OK ? pause_gate(req, "task", name) : e;
}

enum err resume_task(struct request *req)
{
    const char *name = NULL;
    enum err e = task_of(req, &name);

    return e == ERR_OK ? resume_gate(req, "task", name) : e;
}

enum err set_task_limits(struct request *req)
{
    const char *name = NULL;
    enum err e = task_of(req, &name);

    return e == ERR_OK ? limit_gate(req, "task", name) : e;
}
