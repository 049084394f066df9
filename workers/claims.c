/* Claiming ahead is what makes short jobs fast, and what makes long ones unfair: a job
 * that waits behind a long one on this node could have started on another. So nothing is
 * claimed ahead before the jobs here have shown that they are short, and what waits all
 * the same goes back. Rejected: a fixed prefetch, which is wrong for one of the two. */
#include "workers/claims.h"

#include "server/core/clock.h"
#include "server/core/config.h"
#include "workers/parts.h"

#include <stdlib.h>

enum {
    WEIGHT = 16, /* of the past against the newest job */
    MOST =
        1000, /* in one claim: as many as end in one batch, so that a lease ends whole */
};

/* Moved by every look, also by one that claims nothing: a node without a free thread
 * would look again and again. */
static void put_off_poll(struct claims *c)
{
    c->poll_at_ms = clock_ms() + c->node->options.config->poll_seconds * MS_PER_SECOND;
}

void claims_wake(struct claims *c)
{
    c->more = true;
    c->at_ms = 0;
    put_off_poll(c);
}

void claims_wake_if_due(struct claims *c)
{
    int64_t now_ms = clock_ms();

    if (now_ms >= c->poll_at_ms || (c->at_ms > 0 && now_ms >= c->at_ms))
        claims_wake(c);
}

/* Whether this worker may hold jobs at all. */
static bool may_claim(const struct node *node)
{
    return !atomic_load(&node->draining) && atomic_load(&node->worker_id) != 0 &&
           clock_ms() < atomic_load(&node->sure_until_ms);
}

int claims_size(const struct claims *c, int n_local, int *out_sure)
{
    const struct config *config = c->node->options.config;
    int64_t threads = config->concurrency, ahead = 0;

    *out_sure = 0;
    if (!c->more || clock_ms() < c->at_ms || !may_claim(c->node))
        return 0;
    if (c->average_us > 0 && c->average_us < CLAIM_AHEAD_MS * US_PER_MS)
        ahead = threads * CLAIM_AHEAD_MS * US_PER_MS / c->average_us;
    if (ahead > config->prefetch)
        ahead = config->prefetch;
    if (threads > n_local)
        *out_sure = (int)threads - n_local;
    int64_t room = threads + ahead - n_local;
    if (room > MOST)
        room = MOST;
    /* Half empty is soon enough: a statement for each job that ends would be the price.
     */
    return *out_sure > 0 || room > ahead / 2 || room == MOST ? (int)room : 0;
}

void claims_prepare(struct claims *c, int n, int sure, struct claim *out)
{
    *out = (struct claim){
        .lows = BUF_INIT,
        .queues = BUF_INIT,
        .n = n,
        .full = marks_want_full(&c->marks, clock_ms()),
        .worker_id = atomic_load(&c->node->worker_id),
        .began_us = clock_us(),
    };
    if (!out->full)
        marks_add_json(&c->marks, &out->lows);
    if (c->node->options.config->queues[0] != '\0')
        buf_addf(&out->queues, "{%s}", c->node->options.config->queues);
    out->values[0] = db_int(out->worker_id);
    out->values[1] = db_int(n);
    out->values[2] = db_int(sure);
    out->values[3] = db_text(out->queues.len > 0 ? out->queues.text : NULL);
    out->values[4] = out->full ? db_null() : db_textn(out->lows.text, (int)out->lows.len);
    out->call =
        (struct db_call){.sql = SQL_job_claim, .n_rows = 1, .values = out->values};
}

void claim_release(struct claim *claim)
{
    buf_release(&claim->lows);
    buf_release(&claim->queues);
}

/* Makes the abort table know it. */
static void watch(struct node *node, struct job *job, int64_t worker_id)
{
    int64_t grace = node->options.config->grace_seconds;

    job->worker_id = worker_id;
    job->task = node_task(node, job->task_name);
    if (job->task != NULL && job->task->grace_seconds > 0)
        grace = job->task->grace_seconds;
    job->watch = (struct abort_watch){
        .job_id = job->id,
        .lease = job->lease,
        .worker_id = worker_id,
        .attempt = job->attempt,
        .grace_ms = job->task != NULL && job->task->escalation == ESCALATE_KILL
                        ? grace * MS_PER_SECOND
                        : INT64_MAX,
    };
    abort_watch_begin(node->aborts, &job->watch);
}

void claims_take(struct claims *c, const struct claim *claim, const struct db_rows *rows,
                 bool woken, struct job_list *out_jobs)
{
    bool all = rows->count >= claim->n;

    for (int i = 0; i < rows->count; i++) {
        struct job *job = job_of_row(rows, i);
        if (job == NULL)
            abort(); /* claimed, and nowhere to keep it: the lease brings it back */
        watch(c->node, job, claim->worker_id);
        marks_saw(&c->marks, job->priority, job->id);
        job_list_add(out_jobs, job);
    }
    marks_note(&c->marks, claim->full, clock_us() - claim->began_us, clock_ms());
    /* Less than was asked for, from the marks on: what is below them is left. */
    c->more = all || !claim->full || woken;
    c->at_ms = all || claim->full || woken ? 0 : c->marks.full_at_ms;
    put_off_poll(c);
}

void claims_learn(struct claims *c, const struct job *job)
{
    if (job->started_us == 0)
        return;
    int64_t took_us = job->ended_us - job->started_us + 1;
    c->average_us = c->average_us == 0
                        ? took_us
                        : (c->average_us * (WEIGHT - 1) + took_us) / WEIGHT + 1;
}

void claims_learn_late(struct claims *c)
{
    c->average_us = CLAIM_AHEAD_MS * US_PER_MS;
}

int64_t claims_next_ms(const struct claims *c)
{
    return c->more && c->at_ms > 0 && c->at_ms < c->poll_at_ms ? c->at_ms : c->poll_at_ms;
}
