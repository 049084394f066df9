#include "tests/chaos/clients.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/chaos/http.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAUSE_MS = 2,
    UNKNOWN_PAUSE_MS = 50,
    COMMAND_EVERY = 20,
    CHANGE_EVERY = 5,
    ANSWER_MS = 6000
};

/* -- calls --------------------------------------------------------------------------- */

struct client {
    struct clients *all;
    struct http_client http;
    unsigned seed;
    int64_t last_job;
};

static struct call *new_call(struct clients *c, enum call_kind kind, int *out_key)
{
    int n = atomic_fetch_add(&c->n_calls, 1);

    if (n >= CALLS_MAX)
        die("calls", "too many for the record");
    c->calls[n].kind = kind;
    *out_key = n;
    return &c->calls[n];
}

/* 503 means that nothing was recorded, but for one that says that it does not know. */
static enum fate fate_of(struct client *c, long status)
{
    char code[64];

    http_member(&c->http, "code", code, sizeof code);
    if (status == 0 || strcmp(code, "outcome-unknown") == 0)
        return FATE_UNKNOWN;
    if (status >= 500 && status != 503)
        atomic_fetch_add(&c->all->n_odd, 1);
    return status < 300 ? FATE_ACCEPTED : FATE_REFUSED;
}

static void send_call(struct client *c, struct call *call, const char *method,
                      const char *path, const char *body)
{
    int64_t begin_ms = clock_ms();

    call->status = http_send(&c->http, method, path, body);
    call->fate = fate_of(c, call->status);
    if (call->fate == FATE_UNKNOWN)
        sleep_ms(UNKNOWN_PAUSE_MS);
    if (clock_ms() - begin_ms > ANSWER_MS)
        atomic_fetch_add(&c->all->n_late, 1);
}

static void enqueue(struct client *c)
{
    char body[128];
    int key;
    struct call *call = new_call(c->all, CALL_ENQUEUE, &key);

    snprintf(body, sizeof body, "{\"task\":\"%s\",\"metadata\":{\"key\":\"%d\"}}",
             key % COMMAND_EVERY == 0 ? "write-ledger" : "echo", key);
    send_call(c, call, "POST", "/jobs", body);
    if (call->status != 201)
        return;
    json_t *job = http_json(&c->http);
    call->id = json_integer_value(json_object_get(job, "id"));
    c->last_job = call->id;
    json_decref(job);
}

static void change(struct client *c, enum call_kind kind)
{
    static const char *const tails[CALL_KINDS] = {[CALL_CANCEL] = "/cancel",
                                                  [CALL_ABORT] = "/cancel?abort=true",
                                                  [CALL_DELETE] = "?abort=true"};
    char path[96], result[64];
    int key;
    struct call *call = new_call(c->all, kind, &key);

    call->id = c->last_job;
    c->last_job = 0;
    snprintf(path, sizeof path, "/jobs/%" PRId64 "%s", call->id, tails[kind]);
    send_call(c, call, kind == CALL_DELETE ? "DELETE" : "POST", path, NULL);
    http_answer(&c->http, result, sizeof result, &call->attempt);
}

static void *run_client(void *arg)
{
    struct client *c = arg;

    http_client_init(&c->http, 0);
    while (!atomic_load(&c->all->closing)) {
        c->http.port = atomic_load(&c->all->port);
        int dice = rand_r(&c->seed) % (CHANGE_EVERY * 3);
        if (c->last_job != 0 && dice < 3)
            change(c, (enum call_kind)(CALL_CANCEL + dice));
        else
            enqueue(c);
        sleep_ms(PAUSE_MS);
    }
    http_client_release(&c->http);
    free(c);
    return NULL;
}

void clients_start(struct clients *c, int port)
{
    *c = (struct clients){.port = port};
    c->calls = calloc(CALLS_MAX, sizeof *c->calls);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = calloc(1, sizeof *client);
        if (client == NULL || c->calls == NULL)
            die("clients", "out of memory");
        client->all = c;
        client->seed = (unsigned)random();
        pthread_create(&c->threads[i], NULL, run_client, client);
    }
}

void clients_stop(struct clients *c)
{
    atomic_store(&c->closing, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(c->threads[i], NULL);
}

/* -- the audit ----------------------------------------------------------------------- */

static void load_calls(const struct clients *c, struct world *w)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;

    world_run(w, "CREATE TEMP TABLE calls (key text, kind int, fate int, id bigint,"
                 " status int, attempt int)");
    buf_adds(&sql, "INSERT INTO calls VALUES ('none', -1, 2, 0, 0, 0)");
    for (int i = 0; i < c->n_calls; i++) {
        const struct call *call = &c->calls[i];
        buf_addf(&sql, ",('%d',%d,%d,%" PRId64 ",%ld,%d)", i, (int)call->kind,
                 (int)call->fate, call->id, call->status, call->attempt);
    }
    world_run(w, sql.text);
    world_run(w,
              "CREATE INDEX ON calls (id); CREATE INDEX ON calls (key); ANALYZE calls;"
              "CREATE INDEX ON lines (id); ANALYZE lines;"
              "CREATE TEMP TABLE keys AS SELECT id, metadata ->> 'key' AS key"
              " FROM belay.jobs; CREATE INDEX ON keys (id); CREATE INDEX ON keys (key);"
              "ANALYZE keys");
}

/* kind 0: enqueue, 1: cancel, 2: abort, 3: delete with abort; fate 0: unknown,
 * 1: accepted, 2: refused. */
static const struct {
    const char *what, *count_of_wrong;
} checks[] = {
    {"every accepted job is there, once, unless somebody deleted it",
     "SELECT count(*) FROM calls c WHERE kind = 0 AND fate = 1 AND 1 <> (SELECT count(*)"
     " FROM keys j WHERE j.id = c.id AND j.key = c.key) AND NOT EXISTS"
     " (SELECT FROM calls d WHERE d.id = c.id AND d.kind = 3 AND d.fate < 2)"},
    {"no call made two jobs, whatever its outcome",
     "SELECT count(*) FROM (SELECT FROM keys GROUP BY key HAVING count(*) > 1) x"},
    {"a refused call made no job",
     "SELECT count(*) FROM calls c JOIN keys j USING (key) WHERE kind = 0 AND fate = 2"},
    {"every job has come to its end, once",
     "SELECT count(*) FROM belay.jobs j FULL JOIN belay.ends e USING (id)"
     " WHERE j.id IS NULL OR e.id IS NULL"},
    {"and succeeded, where nobody asked for anything else",
     "SELECT count(*) FROM belay.ends e WHERE status <> 2 AND NOT EXISTS"
     " (SELECT FROM calls d WHERE d.id = e.id AND d.kind > 0 AND d.fate < 2)"},
    {"what was cancelled has stayed so, and was never started again",
     "SELECT count(*) FROM calls c JOIN belay.ends e USING (id) WHERE c.kind IN (1, 2)"
     " AND c.status = 200 AND (e.status NOT IN (4, 5) OR e.attempts <> c.attempt"
     " OR EXISTS (SELECT FROM lines l WHERE l.id = c.id AND l.attempt > c.attempt))"},
    {"a 200 or a 202 on a cancel has a receipt, and it is closed",
     "SELECT count(*) FROM calls c WHERE c.kind IN (1, 2) AND c.fate = 1 AND NOT EXISTS"
     " (SELECT FROM belay.cancellations r WHERE r.job_id = c.id"
     " AND r.stopped_at IS NOT NULL)"},
    {"no receipt is open",
     "SELECT count(*) FROM belay.cancellations WHERE stopped_at IS NULL"},
    {"what was deleted is gone, with one record of it",
     "SELECT count(*) FROM calls c WHERE c.kind = 3 AND c.fate = 1 AND (EXISTS (SELECT"
     " FROM keys j WHERE j.id = c.id) OR 1 <> (SELECT count(*) FROM belay.events v"
     " WHERE v.job_id = c.id AND v.type = 'deleted'))"},
    {"nothing was deleted that nobody wanted deleted",
     "SELECT count(*) FROM belay.events v WHERE type = 'deleted' AND NOT EXISTS (SELECT"
     " FROM calls d WHERE d.id = v.job_id AND d.kind = 3 AND d.fate < 2)"},
    {"what succeeded has run to its end, and said so in the attempt that counts",
     "SELECT count(*) FROM belay.ends e JOIN belay.jobs j USING (id) JOIN belay.tasks t"
     " ON t.id = j.task_id WHERE t.name = 'write-ledger' AND e.status = 2 AND NOT EXISTS"
     " (SELECT FROM lines l WHERE l.id = e.id AND l.attempt = e.attempts"
     " AND l.what = 'end')"},
    {"no attempt was started twice",
     "SELECT count(*) FROM (SELECT FROM lines WHERE what = 'start' GROUP BY id, attempt"
     " HAVING count(*) > 1) x"},
    {"nothing was started after the end",
     "SELECT count(*) FROM lines l JOIN belay.ends e USING (id)"
     " WHERE l.attempt > e.attempts"},
    {"attempts that left no start are those that were recorded as lost",
     "SELECT count(*) FROM belay.ends e JOIN belay.jobs j USING (id) JOIN belay.tasks t"
     " ON t.id = j.task_id WHERE t.name = 'write-ledger' AND e.status = 2 AND e.attempts "
     "-"
     " (SELECT count(*) FROM lines l WHERE l.id = e.id AND what = 'start') > (SELECT"
     " count(*) FROM belay.events v WHERE v.job_id = e.id AND v.type IN ('rescued',"
     " 'released', 'retried'))"},
    {"each start but the first follows a recorded loss of the one before",
     "SELECT count(*) FROM (SELECT id, count(*) AS n FROM lines WHERE what = 'start'"
     " GROUP BY 1) l WHERE n > 1 + (SELECT count(*) FROM belay.events v WHERE v.job_id ="
     " l.id AND v.type IN ('rescued', 'released', 'retried'))"},
    {"no lease, lock or place is left",
     "SELECT (SELECT count(*) FROM belay.leases) + (SELECT count(*) FROM belay.held)"
     " + (SELECT count(*) FROM belay.uniq)"},
};

void clients_audit(const struct clients *c, struct world *w, int interruptions)
{
    char sql[256];
    int unknown = 0, accepted = 0;

    for (int i = 0; i < c->n_calls; i++) {
        unknown += c->calls[i].fate == FATE_UNKNOWN;
        accepted += c->calls[i].fate == FATE_ACCEPTED;
    }
    world_load_lines(w);
    load_calls(c, w);
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        world_check_sql(w, checks[i].what, checks[i].count_of_wrong);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM (SELECT FROM lines WHERE what = 'start' GROUP BY id"
             " HAVING count(*) > 1 + %d) x",
             interruptions);
    world_check_sql(w, "starts of a job <= 1 + interruptions", sql);
    world_check(w, "every call was answered, or cut off, within 6 s", c->n_late);
    world_check(w, "no answer was 500", c->n_odd);
    printf("%d calls: %d accepted, %d unknown; %d interruptions; %" PRId64
           " starts in the ledger, %" PRId64 " rescued, %" PRId64
           " stale writes refused\n",
           c->n_calls, accepted, unknown, interruptions,
           world_count(w, "SELECT count(*) FROM lines WHERE what = 'start'"),
           world_count(w, "SELECT count(*) FROM belay.events WHERE type = 'rescued'"),
           world_count(w, "SELECT count(*) - 1 FROM stale"));
    free(c->calls);
}
