/* Claiming ahead is what makes short jobs fast, and what makes long ones unfair: a job
 * that waits behind a long one on this node could have started on another. So nothing is
 * claimed ahead before the jobs here have shown that they are short, and what waits all
 * the same goes back. Rejected: a fixed prefetch, which is wrong for one of the two. */
#include "workers/claims.h"

#include "server/core/clock.h"
#include "server/core/config.h"
#include "workers/parts.h"
#include "workers/rooms.h"

#include <stdlib.h>

enum {
    WEIGHT = 16, /* of the past against the newest job */
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

enum err claims_init(struct claims *c, struct node *node)
{
    struct quotas *q = &node->quotas;

    *c = (struct claims){.node = node, .n_sources = (int)q->n + 1};
    c->sources = calloc(q->n + 1, sizeof *c->sources);
    if (c->sources == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < q->n; i++)
        c->sources[i + 1].quota = &q->list[i];
    return ERR_OK;
}

void claims_release(struct claims *c)
{
    free(c->sources);
}

static void shorten(struct claim_rest *r)
{
    if (r->until_ms > r->least_ms)
        r->until_ms = r->least_ms;
}

static bool is_of_task(const struct claim_source *s)
{
    return s->quota != NULL && s->quota->task != NULL;
}

static void wake(struct claim_source *s)
{
    s->more = true;
    s->at_ms = 0;
    shorten(&s->kind);
    shorten(&s->tasks);
}

void claims_wake(struct claims *c)
{
    for (struct claim_source *s = c->sources; s < c->sources + c->n_sources; s++)
        wake(s);
    atomic_store(&c->node->nothing_left, false);
    put_off_poll(c);
}

void claims_wake_tasks(struct claims *c)
{
    for (struct claim_source *s = c->sources; s < c->sources + c->n_sources; s++) {
        if (!is_of_task(s))
            continue;
        wake(s);
        atomic_store(&c->node->nothing_left, false);
    }
}

void claims_wake_if_due(struct claims *c)
{
    int64_t now_ms = clock_ms();
    bool is_due = now_ms >= c->poll_at_ms;

    for (int i = 0; i < c->n_sources; i++)
        is_due = is_due || (c->sources[i].at_ms > 0 && now_ms >= c->sources[i].at_ms);
    if (is_due)
        claims_wake(c);
}

/* Whether this worker may hold jobs at all. */
static bool may_claim(const struct node *node)
{
    return node->options.config->concurrency > 0 && !atomic_load(&node->draining) &&
           atomic_load(&node->worker_id) != 0 &&
           clock_ms() < atomic_load(&node->sure_until_ms);
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
    double n = least(CLAIM_MOST,
                     least((double)of_async / share, (double)sync->all / (1 - share)));
    double sure = least(n, (double)sync->free + n * share);

    return (struct claim_wish){.n = n < 1 ? 1 : (int)n, .sure = (int)sure};
}

/* One of threads and loop is full, or not asked for. */
static struct claim_wish wish_of_kind(const struct room *sync, int64_t async)
{
    if (sync->all > 0)
        return (struct claim_wish){.n = (int)least((double)sync->all, CLAIM_MOST),
                                   .sure = (int)sync->free,
                                   .kind = CLAIM_SYNC};
    int n = (int)least((double)async, CLAIM_MOST);
    return (struct claim_wish){.n = n, .sure = n, .kind = CLAIM_ASYNC};
}

static struct claim_wish wish_of_any(const struct claims *c, const struct claim_source *s,
                                     const struct rooms *rooms, int64_t now_ms)
{
    const struct room *sync = &rooms->sync;
    bool is_mixed = c->async_share >= LEAST_SHARE;

    if (sync->all > 0 && rooms->async > 0 && is_mixed)
        return mixed_wish(c, sync, rooms->async);
    if (sync->all > 0 && !is_mixed)
        return (struct claim_wish){.n = (int)least((double)sync->all, CLAIM_MOST),
                                   .sure = (int)sync->free};
    if ((sync->all > 0) == (rooms->async > 0) || now_ms < s->kind.until_ms)
        return (struct claim_wish){.n = 0};
    return wish_of_kind(sync, rooms->async);
}

static struct claim_wish wish_of_task(const struct task *task, const struct rooms *rooms)
{
    const struct room none = {.all = 0};
    bool is_async = task->kind == TASK_ASYNC;
    struct claim_wish wish =
        wish_of_kind(is_async ? &none : &rooms->sync, is_async ? rooms->async : 0);

    wish.kind = CLAIM_ANY; /* the task says it */
    return wish;
}

/* Of a task's jobs, which may be in any queue, as many as the least room of the queues
 * that are not full: those are left out of the claim. */
static int64_t room_of_source(const struct claims *c, const struct claim_source *s)
{
    const struct quotas *q = &c->node->quotas;
    int64_t room = s->quota != NULL ? quotas_room(s->quota) : INT64_MAX;

    if (!is_of_task(s))
        return room;
    for (size_t i = 0; i < q->n_queues; i++) {
        int64_t of_queue = quotas_room(&q->list[i]);
        if (of_queue > 0 && of_queue < room)
            room = of_queue;
    }
    return room;
}

static bool may_look(const struct claim_source *s, int64_t now_ms)
{
    return s->more && now_ms >= s->at_ms && now_ms >= s->tasks.until_ms;
}

/* By that time. */
static struct claim_wish wish_of(const struct claims *c, const struct claim_source *s,
                                 const struct rooms *rooms, int64_t now_ms)
{
    int64_t room = room_of_source(c, s);
    struct claim_wish wish = {.n = 0};

    if (!may_look(s, now_ms))
        return wish;
    if (is_of_task(s))
        wish = wish_of_task(s->quota->task, rooms);
    else
        wish = wish_of_any(c, s, rooms, now_ms);
    wish.n = (int)least(wish.n, (double)room);
    wish.sure = (int)least(wish.sure, wish.n);
    wish.source = (int)(s - c->sources);
    return wish;
}

struct claim_wish claims_wish(const struct claims *c, const struct claims_local *local)
{
    struct claim_wish wish = {.n = 0};
    int64_t now_ms = clock_ms();

    if (!may_claim(c->node))
        return wish;
    struct rooms rooms = rooms_look(c, local);
    for (int i = 0; i < c->n_sources && wish.n == 0; i++)
        wish = wish_of(c, &c->sources[(c->turn + i) % c->n_sources], &rooms, now_ms);
    return wish;
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
    quotas_take(&node->quotas, job);
    abort_watch_begin(node->aborts, &job->watch);
}

/* A look at tasks walks over all that it passes: it may take a twentieth of the time, and
 * one for async jobs where there may be none at all is a rare one. One that found nothing
 * is made again when somebody says that there are jobs, or a second later. */
static void put_off_kind(const struct claims *c, struct claim_source *s,
                         const struct claim *claim, int n_found)
{
    int64_t rest_ms = (clock_us() - claim->began_us) * MARKS_SHARE / US_PER_MS;
    int64_t least_ms = c->async_share >= LEAST_SHARE ? KIND_LOOK_MS : MS_PER_SECOND;
    bool is_of_kind = claim->wish.kind != CLAIM_ANY;
    struct claim_rest *rest = is_of_kind ? &s->kind : &s->tasks;

    if (!is_of_kind) /* of tasks that have quotas, which are there */
        least_ms = 0;
    rest->least_ms = clock_ms() + (rest_ms > least_ms ? rest_ms : least_ms);
    rest->until_ms = rest->least_ms + (n_found > 0 ? 0 : MS_PER_SECOND);
}

/* Jobs of a task stand among all others: where there are many, there may be more. */
static void look_for_tasks(struct claims *c)
{
    for (struct claim_source *s = c->sources; s < c->sources + c->n_sources; s++)
        s->more = s->more || is_of_task(s);
}

static void note_what_is_left(const struct claims *c)
{
    bool left = false;

    for (int i = 0; i < c->n_sources; i++)
        left = left || c->sources[i].more;
    atomic_store(&c->node->nothing_left, !left);
}

/* Less than was asked for, from the marks on: what is below them is left. */
static void note_end(struct claim_source *s, const struct claim *claim, bool all,
                     bool woken)
{
    bool at_once = all || woken;

    s->more = at_once || !claim->full;
    s->at_ms = at_once || claim->full ? 0 : s->marks.full_at_ms;
}

/* When to look there again, after a claim that brought `n_found`. */
static void note_source(struct claims *c, const struct claim *claim, int n_found,
                        bool woken)
{
    struct claim_source *s = &c->sources[claim->wish.source];
    bool all = n_found >= claim->wish.n, of_kind = claim->wish.kind != CLAIM_ANY;

    if (claim->call.sql == SQL_job_claim)
        marks_note(&s->marks, claim->full, clock_us() - claim->began_us, clock_ms());
    else if (of_kind || !all)
        put_off_kind(c, s, claim, woken && !of_kind ? 1 : n_found);
    if (of_kind)
        return;
    note_end(s, claim, all, woken);
    if (all && s->quota == NULL)
        look_for_tasks(c);
    note_what_is_left(c);
}

void claims_take(struct claims *c, const struct claim *claim, const struct db_rows *rows,
                 bool woken, struct job_list *out_jobs)
{
    struct marks *marks = &c->sources[claim->wish.source].marks;

    for (int i = 0; i < rows->count; i++) {
        struct job *job = job_of_row(rows, i);
        if (job == NULL)
            abort(); /* claimed, and nowhere to keep it: the lease brings it back */
        watch(c->node, job, claim->worker_id);
        if (claim->call.sql == SQL_job_claim) /* else there are others below it */
            marks_saw(marks, job->priority, job->id);
        c->async_share += ((job_is_async(job) ? 1 : 0) - c->async_share) / SHARE_WEIGHT;
        job_list_add(out_jobs, job);
    }
    put_off_poll(c);
    note_source(c, claim, rows->count, woken);
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

/* When a source that rests has something to give; INT64_MAX: nothing that is known. */
static int64_t rest_ends_ms(const struct claims *c, const struct claim_source *s,
                            const struct rooms *rooms)
{
    int64_t kind_ms = s->kind.until_ms, tasks_ms = s->tasks.until_ms;
    const int64_t times_ms[] = {tasks_ms, kind_ms > tasks_ms ? kind_ms : tasks_ms};

    for (int i = 0; i < 2; i++) {
        if (times_ms[i] > s->at_ms && wish_of(c, s, rooms, times_ms[i]).n > 0)
            return times_ms[i];
    }
    return INT64_MAX;
}

int64_t claims_next_ms(const struct claims *c, const struct claims_local *local)
{
    struct rooms rooms = rooms_look(c, local);
    int64_t next_ms = c->poll_at_ms;
    bool may = may_claim(c->node);

    for (int i = 0; i < c->n_sources; i++) {
        const struct claim_source *s = &c->sources[i];
        int64_t rest_ms = may ? rest_ends_ms(c, s, &rooms) : INT64_MAX;
        if (s->more && s->at_ms > 0 && s->at_ms < next_ms)
            next_ms = s->at_ms;
        if (rest_ms < next_ms)
            next_ms = rest_ms;
    }
    return next_ms;
}
