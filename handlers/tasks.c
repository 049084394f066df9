/* listTasks: what this node can run, and what holds for it. Out of memory, without a
 * statement: tasks are compiled in or declared, and cannot change while the process runs.
 */
#include "handlers/tasks.h"

#include "build/gen/operations.h"
#include "handlers/app.h"
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
static void add_task(struct buf *b, const struct config *config, const struct task *task)
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
    buf_addc(b, '}');
}

enum err list_tasks(struct request *req)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    const struct app *app = req_app(req);
    const struct task *const *t = node_tasks(app->node);

    buf_adds(&b, "{\"tasks\":[");
    for (size_t i = 0; t[i] != NULL; i++) {
        if (i > 0)
            buf_addc(&b, ',');
        add_task(&b, app->config, t[i]);
    }
    buf_adds(&b, "]}");
    req_reply_buf(req, 200, &b);
    return ERR_OK;
}
