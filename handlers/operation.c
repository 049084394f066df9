/* listWorkers, livez, readyz, version, openapi: what runs here,
 * and whether it can serve. */
#include "build/gen/operations.h"
#include "db/migrate.h"
#include "handlers/submit.h"

#include <string.h>

extern const char openapi_document[];
extern const size_t openapi_document_len;

static void reply_workers(struct request *req, const struct db_rows *rows)
{
    reply_list(req, rows, "workers", 1);
}

/* The lease is the measure: a worker whose heartbeat is older may be given up by any
 * other. */
enum err list_workers(struct request *req)
{
    struct db_value *v = submit_values(req, SQL_worker_list, 1);

    v[0] = db_int(req_app(req)->config->lease_seconds * 1000);
    return submit(req, LANE_READ, SQL_worker_list, 1, v, reply_workers);
}

/* Answers as long as the loop turns, and looks at nothing else: a supervisor that
 * restarts the service because the database is away would end jobs that run well. */
enum err livez(struct request *req)
{
    static const char body[] = "{\"status\":\"ok\"}";

    req_reply(req, 200, NULL, body, sizeof body - 1);
    return ERR_OK;
}

static const char *word(bool truth)
{
    return truth ? "true" : "false";
}

static void reply_readyz(struct request *req, bool database)
{
    struct app *app = req_app(req);
    bool migrated = atomic_load(&app->migrated), draining = atomic_load(&app->draining);
    bool ready = database && migrated && !draining;
    const char *body = req_printf(
        req, "{\"status\":\"%s\",\"database\":%s,\"migrated\":%s,\"draining\":%s}",
        ready ? "ok" : "unavailable", word(database), word(migrated), word(draining));

    if (!ready)
        req_set_header(req, "Retry-After", "1");
    req_reply(req, ready ? 200 : 503, NULL, body, strlen(body));
}

/* A standby answers, but takes no job: after a failover it is not the one to talk to. */
static void on_ready_check(void *arg, const struct db_rows *rows, enum err why,
                           const char *message)
{
    (void)message;
    reply_readyz(arg, why == ERR_OK && rows->count == 1 && row_bool(rows, 0, 0));
}

/* No wait for a connection: when the lanes are down, that is the answer, at once.
 * Otherwise the statement is asked of the read lane, which fails it by itself when the
 * connection is lost. */
enum err readyz(struct request *req)
{
    struct db_op op = {.lane = LANE_READ,
                       .sql = SQL_ready_check,
                       .n_rows = 1,
                       .done = on_ready_check,
                       .arg = req};

    if (!lanes_are_up(req_app(req)->lanes) ||
        db_submit(req_app(req)->lanes, &op) != ERR_OK)
        reply_readyz(req, false); /* known already: nobody waits for it */
    return ERR_OK;
}

enum err version(struct request *req)
{
    const char *body =
        req_printf(req, "{\"name\":\"belay\",\"version\":\"%s\",\"schema\":%d}",
                   BELAY_VERSION, migrate_version());

    req_reply(req, 200, NULL, body, strlen(body));
    return ERR_OK;
}

enum err openapi(struct request *req)
{
    req_reply(req, 200, NULL, openapi_document, openapi_document_len);
    return ERR_OK;
}
