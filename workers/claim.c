/* The statement of one claim: which queues and tasks it asks for. Where there are no
 * quotas and both kinds of jobs have room, that is what the settings say, and the
 * statement is the fast one. Rejected: one statement for all, whose plan would serve
 * none. */
#include "server/core/clock.h"
#include "server/core/config.h"
#include "workers/claims.h"
#include "workers/parts.h"

static bool has_quota(const struct quotas *q, const struct task *task)
{
    for (size_t i = q->n_queues; i < q->n; i++) {
        if (q->list[i].task == task)
            return true;
    }
    return false;
}

/* Of which tasks, or of which not: out->tasks, values[5]. Tasks that have a quota come
 * from their own source only. */
static void prepare_tasks(const struct claims *c, const struct claim_source *s,
                          struct claim *out)
{
    const struct task *const *t = node_tasks(c->node);
    bool of_task = s->quota != NULL && s->quota->task != NULL;
    bool of_async = out->wish.kind == CLAIM_ASYNC;
    bool needs_async = out->wish.kind != CLAIM_ANY;

    buf_addc(&out->tasks, '{');
    for (; *t != NULL; t++) {
        bool has_own = has_quota(&c->node->quotas, *t);
        bool is_async = needs_async && (*t)->kind == TASK_ASYNC;
        if (of_task    ? s->quota->task == *t
            : of_async ? is_async && !has_own
                       : is_async || has_own)
            buf_addf(&out->tasks, "%s%s", out->tasks.len > 1 ? "," : "", (*t)->name);
    }
    buf_addc(&out->tasks, '}');
    out->values[4] = db_textn(out->tasks.text, (int)out->tasks.len);
    out->values[5] = db_int(of_task || of_async);
    out->call.sql = SQL_job_claim_of;
}

/* From which queues. Those that have a quota come from their own source, unless it is a
 * task's turn: then only those are left out that are full. */
static void add_queues(const struct claims *c, const struct claim_source *s,
                       struct buf *b)
{
    const struct quotas *q = &c->node->quotas;

    if (s->quota != NULL && s->quota->task == NULL) {
        buf_addf(b, "{%s}", s->quota->name);
        return;
    }
    buf_addf(b, "{%s", c->node->options.config->queues);
    for (size_t i = 0; i < q->n_queues; i++) {
        if (s->quota == NULL || quotas_room(&q->list[i]) == 0)
            buf_addf(b, "%s!%s", b->len > 1 ? "," : "", q->list[i].name);
    }
    buf_addc(b, '}');
    if (b->len == 2)
        buf_clear(b);
}

void claims_prepare(struct claims *c, const struct claim_wish *wish, struct claim *out)
{
    struct claim_source *s = &c->sources[wish->source];
    bool of_tasks = wish->kind != CLAIM_ANY || quotas_has_tasks(&c->node->quotas);

    c->turn = (wish->source + 1) % c->n_sources;
    *out = (struct claim){
        .lows = BUF_INIT,
        .queues = BUF_INIT,
        .tasks = BUF_INIT,
        .wish = *wish,
        .full = of_tasks || marks_want_full(&s->marks, clock_ms()),
        .worker_id = atomic_load(&c->node->worker_id),
        .began_us = clock_us(),
    };
    if (!out->full)
        marks_add_json(&s->marks, &out->lows);
    add_queues(c, s, &out->queues);
    out->values[0] = db_int(out->worker_id);
    out->values[1] = db_int(wish->n);
    out->values[2] = db_int(wish->sure);
    out->values[3] = db_text(out->queues.len > 0 ? out->queues.text : NULL);
    out->values[4] = out->full ? db_null() : db_textn(out->lows.text, (int)out->lows.len);
    out->call =
        (struct db_call){.sql = SQL_job_claim, .n_rows = 1, .values = out->values};
    if (of_tasks)
        prepare_tasks(c, s, out);
}

void claim_release(struct claim *claim)
{
    buf_release(&claim->lows);
    buf_release(&claim->queues);
    buf_release(&claim->tasks);
}
