/* What a node may do without hearing of the others (sure_until_ms) is counted from before
 * the statement was sent: its answer may be late, and the lease is not longer for it. */
#include "workers/presence.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "workers/parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { NAME_BYTES = 128 };

static bool ask(struct link *link, enum sql sql, const struct db_value *values,
                struct db_rows *rows)
{
    if (db_exec(link->db, sql, 1, values, rows) == ERR_OK)
        return true;
    link_complain(link, sql_name(sql), db_errmsg(link->db));
    return false;
}

/* Sure for one lease from then on. */
static void be_sure_from(struct node *node, int64_t ms)
{
    int64_t lease_ms = node->options.config->lease_seconds * MS_PER_SECOND;

    atomic_store(&node->sure_until_ms, ms + lease_ms);
    runs_poke(node);
}

static void register_worker(struct link *link, struct node *node)
{
    const struct config *c = node->options.config;
    char host[64] = "", name[NAME_BYTES];
    CLEANUP(buf_release) struct buf queues = BUF_INIT, limits = BUF_INIT;
    struct db_rows rows;
    int64_t sent_ms = clock_ms();

    gethostname(host, sizeof host - 1);
    if (c->node_name[0] != '\0')
        snprintf(name, sizeof name, "%s", c->node_name);
    else
        snprintf(name, sizeof name, "%s:%d", host, (int)getpid());
    buf_addf(&queues, "{%s}", c->queues);
    quotas_add_json(c, &limits);
    struct db_value values[] = {db_text(name),
                                db_text(host),
                                db_int(getpid()),
                                db_text(BELAY_VERSION),
                                db_int(c->concurrency),
                                c->queues[0] != '\0' ? db_text(queues.text) : db_null(),
                                db_textn(limits.text, (int)limits.len)};
    if (!ask(link, SQL_worker_register, values, &rows))
        return;
    atomic_store(&node->worker_id, row_int(&rows, 0, 0));
    db_rows_free(&rows);
    log_info("worker_register", "worker=%" PRId64 " name=%s",
             atomic_load(&node->worker_id), log_quoted(name));
    be_sure_from(node, sent_ms);
    dispatcher_wake(node->dispatcher);
}

/* Others have taken its jobs: what runs is stopped, what waits is forgotten. */
static void give_up_worker(struct node *node, int64_t worker_id)
{
    struct job_list waiting = {.n = 0};
    int running;

    atomic_store(&node->worker_id, 0);
    runs_take_waiting(node, INT64_MAX, &waiting);
    for (struct job *job = waiting.first; job != NULL; job = job->next)
        job->fate = FATE_UNSTARTED; /* the fence will refuse it */
    log_warn("worker_heartbeat", "worker=%" PRId64 " lost=true waiting=%d hint=%s",
             worker_id, waiting.n,
             log_quoted("it was not heard of for longer than its lease; its jobs are "
                        "with other workers now"));
    dispatcher_end_all(node->dispatcher, &waiting);
    running = abort_request_all(node->aborts, worker_id, ABORT_WORKER_LOST);
    if (running > 0)
        log_warn("worker_heartbeat", "told_to_stop=%d", running);
}

void presence_tell(struct link *link, struct node *node, bool *out_aborts)
{
    int64_t worker_id = atomic_load(&node->worker_id), sent_ms = clock_ms();
    struct pool_count count = runs_count(node);
    struct db_value values[] = {db_int(worker_id), db_int(count.running)};
    struct db_rows rows;

    if (worker_id == 0) {
        register_worker(link, node);
        return;
    }
    if (!ask(link, SQL_worker_heartbeat, values, &rows))
        return;
    bool alive = row_bool(&rows, 0, 0);
    if (row_int(&rows, 0, 1) > 0)
        *out_aborts = true;
    db_rows_free(&rows);
    if (alive) {
        be_sure_from(node, sent_ms);
        return;
    }
    give_up_worker(node, worker_id);
    register_worker(link, node);
}

void presence_end(struct link *link, struct node *node)
{
    struct db_value values[] = {db_int(atomic_load(&node->worker_id))};
    struct db_rows rows;

    if (link->db != NULL && values[0].num != 0 &&
        ask(link, SQL_worker_stop, values, &rows))
        db_rows_free(&rows);
}
