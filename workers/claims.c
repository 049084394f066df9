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
    KIND_LOOK_MS = 100,
    SHARE_WEIGHT = 64, /* of the past against the newest job, in the share of a kind */
};

/* A node that sees no async job is one that has none; and no kind is believed to be gone
 * for good. */
static const double LEAST_SHARE = 1.0 / 1024;

/* Moved by every look, also by one that claims nothing: a node without a free thread
 * would look again and again. */
static void put_off_poll(struct claims *c)
{
    c->poll_at_ms = clock_ms() + c->node->options.config->poll_seconds * MS_PER_SECOND;
}

void claims_wake(struct claims *c)
{
    c->more = true;
    atomic_store(&c->node->nothing_left, false);
    c->at_ms = 0;
    if (c->kind_at_ms > c->kind_rest_ms)
        c->kind_at_ms = c->kind_rest_ms;
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
    return node->options.config->concurrency > 0 && !atomic_load(&node->draining) &&
           atomic_load(&node->worker_id) != 0 &&
           clock_ms() < atomic_load(&node->sure_until_ms);
}

/* What threads, or the loop, may take: at once, and ahead of that. */
struct room {
    int64_t free, ahead, all;
};

/* most: how many run at a time; average_us: how long they take. */
static struct room room_of(const struct claims *c, int64_t most, int64_t average_us,
                           int n_local)
{
    int64_t prefetch = c->node->options.config->prefetch;
    struct room room = {.free = most > n_local ? most - n_local : 0};

    if (average_us > 0 && average_us < CLAIM_AHEAD_MS * US_PER_MS)
        room.ahead = most * CLAIM_AHEAD_MS * US_PER_MS / average_us;
    if (room.ahead > prefetch)
        room.ahead = prefetch;
    room.all = most + room.ahead - n_local;
    /* Half empty is soon enough: a statement for each job that ends would be the price.
     */
    if (room.free == 0 && room.all <= room.ahead / 2 && room.all < MOST)
        room.all = 0;
    return room;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* So many that neither kind is expected to have more than its room. */
static struct claim_wish mixed_wish(const struct claims *c, const struct room *sync,
                                    int64_t of_async)
{
    double share = least(c->async_share, 1 - LEAST_SHARE);
    double n =
        least(MOST, least((double)of_async / share, (double)sync->all / (1 - share)));
    double sure = least(n, (double)sync->free + n * share);

    return (struct claim_wish){.n = n < 1 ? 1 : (int)n, .sure = (int)sure};
}

/* Whether threads and loop have room. */
static void look_for_room(const struct claims *c, const struct claims_local *local,
                          struct room *out_sync, int64_t *out_async)
{
    const struct config *config = c->node->options.config;

    *out_sync = room_of(c, config->concurrency, c->average_us, local->sync);
    *out_async =
        room_of(c, config->async_concurrency, c->async_average_us, local->async).all;
}

/* One of threads and loop is full. */
static struct claim_wish wish_of_kind(const struct room *sync, int64_t async)
{
    if (sync->all > 0)
        return (struct claim_wish){.n = (int)least((double)sync->all, MOST),
                                   .sure = (int)sync->free,
                                   .kind = CLAIM_SYNC};
    int n = (int)least((double)async, MOST);
    return (struct claim_wish){.n = n, .sure = n, .kind = CLAIM_ASYNC};
}

struct claim_wish claims_wish(const struct claims *c, const struct claims_local *local)
{
    const struct claim_wish none = {.n = 0};
    struct room sync;
    int64_t async, now_ms = clock_ms();

    if (!c->more || now_ms < c->at_ms || !may_claim(c->node))
        return none;
    look_for_room(c, local, &sync, &async);
    bool is_mixed = c->async_share >= LEAST_SHARE;
    if (sync.all > 0 && async > 0 && is_mixed)
        return mixed_wish(c, &sync, async);
    if (sync.all > 0 && !is_mixed)
        return (struct claim_wish){.n = (int)least((double)sync.all, MOST),
                                   .sure = (int)sync.free};
    if ((sync.all > 0) == (async > 0) || now_ms < c->kind_at_ms)
        return none;
    return wish_of_kind(&sync, async);
}

/* The names of the async tasks that this node has. */
static void add_async_tasks(const struct node *node, struct buf *b)
{
    const struct task *const *t = node_tasks(node);
    const char *between = "";

    buf_addc(b, '{');
    for (; *t != NULL; t++) {
        if ((*t)->kind != TASK_ASYNC)
            continue;
        buf_addf(b, "%s%s", between, (*t)->name);
        between = ",";
    }
    buf_addc(b, '}');
}

static void prepare_kind(const struct node *node, struct claim *out)
{
    add_async_tasks(node, &out->tasks);
    out->values[4] = db_textn(out->tasks.text, (int)out->tasks.len);
    out->values[5] = db_int(out->wish.kind == CLAIM_ASYNC);
    out->call.sql = SQL_job_claim_of;
}

void claims_prepare(struct claims *c, const struct claim_wish *wish, struct claim *out)
{
    *out = (struct claim){
        .lows = BUF_INIT,
        .queues = BUF_INIT,
        .tasks = BUF_INIT,
        .wish = *wish,
        .full = marks_want_full(&c->marks, clock_ms()),
        .worker_id = atomic_load(&c->node->worker_id),
        .began_us = clock_us(),
    };
    if (!out->full)
        marks_add_json(&c->marks, &out->lows);
    if (c->node->options.config->queues[0] != '\0')
        buf_addf(&out->queues, "{%s}", c->node->options.config->queues);
    out->values[0] = db_int(out->worker_id);
    out->values[1] = db_int(wish->n);
    out->values[2] = db_int(wish->sure);
    out->values[3] = db_text(out->queues.len > 0 ? out->queues.text : NULL);
    out->values[4] = out->full ? db_null() : db_textn(out->lows.text, (int)out->lows.len);
    out->call =
        (struct db_call){.sql = SQL_job_claim, .n_rows = 1, .values = out->values};
    if (wish->kind != CLAIM_ANY)
        prepare_kind(c->node, out);
}

void claim_release(struct claim *claim)
{
    buf_release(&claim->lows);
    buf_release(&claim->queues);
    buf_release(&claim->tasks);
}

/* Makes the abort table know it. */
static void watch(struct node *node, struct job *job, int64_t worker_id)
{
    int64_t grace = node->options.config->grace_seconds;

    job->worker_id = worker_id;
    job->task = node_task(node, job->task_name);
    if (job->task != NULL && job->task->grace_seconds > 0)
        grace = job->task->grace_seconds;
    if (job->timeout_ms < 0)
        job->timeout_ms =
            job->task != NULL ? job->task->timeout_seconds * MS_PER_SECOND : 0;
    job->watch = (struct abort_watch){
        .job_id = job->id,
        .lease = job->lease,
        .worker_id = worker_id,
        .attempt = job->attempt,
        .task = job->task,
        .grace_ms = job->task != NULL && job->task->kind != TASK_SYNC
                        ? grace * MS_PER_SECOND
                        : INT64_MAX,
    };
    abort_watch_begin(node->aborts, &job->watch);
}

/* A look for one kind walks over all that it passes: it may take a twentieth of the time,
 * and where there may be no async job at all it is a rare one. One that found nothing is
 * made again when somebody says that there are jobs, or a second later. */
static void put_off_kind(struct claims *c, int64_t took_us, int n_found)
{
    int64_t rest_ms = took_us * MARKS_SHARE / US_PER_MS, now_ms = clock_ms();
    int64_t least_ms = c->async_share >= LEAST_SHARE ? KIND_LOOK_MS : MS_PER_SECOND;

    c->kind_rest_ms = now_ms + (rest_ms > least_ms ? rest_ms : least_ms);
    c->kind_at_ms = c->kind_rest_ms + (n_found > 0 ? 0 : MS_PER_SECOND);
}

void claims_take(struct claims *c, const struct claim *claim, const struct db_rows *rows,
                 bool woken, struct job_list *out_jobs)
{
    bool all = rows->count >= claim->wish.n, any_kind = claim->wish.kind == CLAIM_ANY;

    for (int i = 0; i < rows->count; i++) {
        struct job *job = job_of_row(rows, i);
        if (job == NULL)
            abort(); /* claimed, and nowhere to keep it: the lease brings it back */
        watch(c->node, job, claim->worker_id);
        if (any_kind) /* else there are others below it */
            marks_saw(&c->marks, job->priority, job->id);
        c->async_share += ((job_is_async(job) ? 1 : 0) - c->async_share) / SHARE_WEIGHT;
        job_list_add(out_jobs, job);
    }
    put_off_poll(c);
    if (!any_kind) {
        put_off_kind(c, clock_us() - claim->began_us, rows->count);
        return;
    }
    marks_note(&c->marks, claim->full, clock_us() - claim->began_us, clock_ms());
    /* Less than was asked for, from the marks on: what is below them is left. */
    c->more = all || !claim->full || woken;
    c->at_ms = all || claim->full || woken ? 0 : c->marks.full_at_ms;
    atomic_store(&c->node->nothing_left, !c->more);
}

static int64_t *average_of(struct claims *c, const struct job *job)
{
    return job_is_async(job) ? &c->async_average_us : &c->average_us;
}

void claims_learn(struct claims *c, const struct job *job)
{
    int64_t *average_us = average_of(c, job);

    if (job->started_us == 0)
        return;
    int64_t took_us = job->ended_us - job->started_us + 1;
    *average_us =
        *average_us == 0 ? took_us : (*average_us * (WEIGHT - 1) + took_us) / WEIGHT + 1;
}

void claims_learn_late(struct claims *c, const struct job *job)
{
    *average_of(c, job) = CLAIM_AHEAD_MS * US_PER_MS;
}

int64_t claims_next_ms(const struct claims *c, const struct claims_local *local)
{
    int64_t next_ms = c->poll_at_ms, async;
    struct room sync;

    look_for_room(c, local, &sync, &async);
    if (c->more && c->at_ms > 0 && c->at_ms < next_ms)
        next_ms = c->at_ms;
    if (c->more && (sync.all > 0) != (async > 0) && may_claim(c->node) &&
        c->kind_at_ms > c->at_ms && c->kind_at_ms < next_ms)
        next_ms = c->kind_at_ms;
    return next_ms;
}
