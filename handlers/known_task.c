/* One place that says what is wrong with a task's name, for all that make jobs. */
#include "handlers/known_task.h"

#include "server/core/cleanup.h"

/* Names what there is, because the list is short and the mistake is a typing mistake or a
 * node that is too old. */
static enum err fail_unknown_task(struct request *req, const char *where,
                                  const char *task)
{
    CLEANUP(buf_release) struct buf names = BUF_INIT;
    const struct task *const *t = node_tasks(req_app(req)->node);

    for (; *t != NULL; t++)
        buf_addf(&names, "%s%s", names.len > 0 ? ", " : "", (*t)->name);
    return req_fail_at(req, ERR_UNKNOWN_TASK, req_printf(req, "%s/task", where),
                       "%s is not a task here; there are %.400s", task, names.text);
}

enum err known_task(struct request *req, const char *where, const char *name,
                    const struct task **out)
{
    const struct task *task;

    if (name == NULL)
        return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/task", where),
                           "is needed");
    task = node_task(req_app(req)->node, name);
    if (task == NULL)
        return fail_unknown_task(req, where, name);
    *out = task;
    return ERR_OK;
}

int64_t known_task_attempts(struct request *req, const struct task *task)
{
    return task->max_attempts > 0 ? task->max_attempts
                                  : req_app(req)->config->max_attempts;
}
