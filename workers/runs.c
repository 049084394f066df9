#include "server/core/clock.h"
#include "workers/parts.h"

void runs_give(struct node *node, struct job_list *jobs)
{
    struct job_list sync = {.n = 0}, async = {.n = 0};
    struct job *job;

    while ((job = job_list_take(jobs)) != NULL)
        job_list_add(job_is_async(job) ? &async : &sync, job);
    if (sync.n > 0)
        pool_give(node->pool, &sync);
    if (async.n > 0)
        async_give(node->async, &async);
}

struct job *runs_take_out(struct node *node, int64_t job_id)
{
    struct job *job = pool_take_out(node->pool, job_id);

    return job != NULL ? job : async_take_out(node->async, job_id);
}

void runs_take_waiting(struct node *node, int64_t claimed_before_us, struct job_list *out)
{
    pool_take_waiting(node->pool, claimed_before_us, out);
    async_take_waiting(node->async, claimed_before_us, out);
}

struct pool_count runs_count(struct node *node)
{
    struct pool_count a = pool_count(node->pool), b = async_count(node->async);

    return (struct pool_count){.threads = a.threads + b.threads,
                               .running = a.running + b.running,
                               .waiting = a.waiting + b.waiting};
}

void runs_poke(struct node *node)
{
    pool_poke(node->pool);
    async_poke(node->async);
}

bool runs_may_start(const struct node *node)
{
    return !atomic_load(&node->draining) &&
           clock_ms() < atomic_load(&node->sure_until_ms);
}
