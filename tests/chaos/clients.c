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
    ANSWER_MS = 6000,
    BATCH = 5,
    REPEATS = 200,
    CALLS_A_SECOND = 400 /* what two nodes keep up with: more is only waited for */
};

/* -- calls --------------------------------------------------------------------------- */

struct client {
    struct clients *all;
    struct http_client http;
    unsigned seed;
    int64_t job;          /* the last one of its own */
    int64_t batch[BATCH]; /* the last ones of one request; 0: none */
};

static int new_calls(struct clients *c, enum call_kind kind, int n)
{
    int first = atomic_fetch_add(&c->n_calls, n);

    if (first + n > CALLS_MAX)
        die("calls", "too many for the record");
    for (int i = first; i < first + n; i++)
        c->calls[i] = (struct call){.kind = kind, .attempt = -1};
    return first;
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

static long send_once(struct client *c, const char *method, const char *path,
                      const char *body)
{
    c->http.port = atomic_load(&c->all->port);
    int64_t begin_ms = clock_ms();
    long status = http_send(&c->http, method, path, body);
    int64_t ms = clock_ms() - begin_ms;

    if (ms > ANSWER_MS && atomic_fetch_add(&c->all->n_late, 1) == 0)
        printf("late: %s %s: %ld after %" PRId64 " ms\n", method, path, status, ms);
    if (status == 0)
        sleep_ms(UNKNOWN_PAUSE_MS);
    return status;
}

/* With a key the same request may be sent until somebody says what has become of it. */
static enum fate send_call(struct client *c, const char *method, const char *path,
                           const char *body, long *out_status)
{
    bool unknown = false;

    for (int i = 0; i < REPEATS; i++) {
        *out_status = send_once(c, method, path, body);
        enum fate fate = fate_of(c, *out_status);
        unknown |= fate == FATE_UNKNOWN;
        bool is_final = *out_status != 0 && *out_status != 503 && *out_status != 409;
        if (fate == FATE_ACCEPTED || is_final || c->http.key[0] == '\0')
            return fate;
        atomic_fetch_add(&c->all->n_repeats, 1);
        sleep_ms(UNKNOWN_PAUSE_MS);
    }
    return unknown ? FATE_UNKNOWN : FATE_REFUSED;
}

/* -- enqueue ------------------------------------------------------------------------- */

/* Most jobs only echo; the others write to the ledger. */
static const char *const tasks[] = {
    "write-ledger", "ledger-thread",   "ledger-deaf-thread", "ledger-fails",
    "ledger-async", "ledger-isolated", "ledger-deaf-async",  "ledger-deaf-isolated"};
enum { N_TASKS = sizeof tasks / sizeof *tasks, TASK_RANGE = 20, DOOMED_EVERY = 40 };

static void add_job(struct buf *b, int key)
{
    int i = key % TASK_RANGE;
    const char *task = i < N_TASKS ? tasks[i] : "echo";

    if (i == 0 && key % DOOMED_EVERY != 0) /* programs are slow */
        task = key % (2 * DOOMED_EVERY) == i + TASK_RANGE ? "write-deaf-ledger" : "echo";
    buf_addf(b, "{\"task\":\"%s\",\"metadata\":{\"key\":\"%d\"}", task, key);
    if (i == 3 && key % DOOMED_EVERY == i) /* fails for good */
        buf_adds(b, ",\"max_attempts\":2");
    buf_adds(b, "}");
}

static void take_id(struct client *c, struct call *call, const json_t *id)
{
    call->id = json_integer_value(id);
    c->job = call->id;
}

static void enqueue(struct client *c, int n)
{
    CLEANUP(buf_release) struct buf body = BUF_INIT;
    int first = new_calls(c->all, CALL_ENQUEUE, n);
    struct call *calls = &c->all->calls[first];
    long status;

    for (int i = 0; i < n; i++) {
        buf_adds(&body, n == 1 ? "" : i == 0 ? "[" : ",");
        add_job(&body, first + i);
    }
    buf_adds(&body, n == 1 ? "" : "]");
    if (rand_r(&c->seed) % 2 == 0)
        snprintf(c->http.key, sizeof c->http.key, "chaos-%u-%d", c->all->seed, first);
    enum fate fate =
        send_call(c, "POST", n == 1 ? "/jobs" : "/jobs/batch", body.text, &status);
    c->http.key[0] = '\0';
    json_t *doc = fate == FATE_ACCEPTED ? http_json(&c->http) : NULL;
    for (int i = 0; i < n; i++) {
        calls[i].status = status;
        if (n == 1)
            take_id(c, &calls[i], json_object_get(doc, "id"));
        else
            take_id(c, &calls[i], json_array_get(json_object_get(doc, "ids"), (size_t)i));
        calls[i].fate = fate;
        if (n > 1)
            c->batch[i] = calls[i].id;
    }
    json_decref(doc);
}

/* -- change -------------------------------------------------------------------------- */

static void change(struct client *c, enum call_kind kind)
{
    static const char *const tails[CALL_KINDS] = {[CALL_CANCEL] = "/cancel",
                                                  [CALL_ABORT] = "/cancel?abort=true",
                                                  [CALL_DELETE] = "?abort=true",
                                                  [CALL_RETRY] = "/retry"};
    char path[96], result[64];

    if (c->job == 0)
        return;
    struct call *call = &c->all->calls[new_calls(c->all, kind, 1)];
    call->id = c->job;
    snprintf(path, sizeof path, "/jobs/%" PRId64 "%s", call->id, tails[kind]);
    call->fate =
        send_call(c, kind == CALL_DELETE ? "DELETE" : "POST", path, NULL, &call->status);
    http_answer(&c->http, result, sizeof result, &call->attempt);
    if (kind == CALL_DELETE)
        c->job = 0;
}

/* Each id has a result of its own; r NULL: there is none. */
static void take_result(struct call *call, const json_t *r, long status, enum fate fate)
{
    call->status = r != NULL ? json_integer_value(json_object_get(r, "status")) : status;
    call->fate = r != NULL && call->status >= 300 ? FATE_REFUSED : fate;
}

static void change_many(struct client *c, enum call_kind kind)
{
    static const char *const paths[CALL_KINDS] = {[CALL_ABORT] = "/cancellations",
                                                  [CALL_DELETE] = "/deletions",
                                                  [CALL_RETRY] = "/retries"};
    char body[256];
    long status;
    int len = snprintf(body, sizeof body, "{%s\"ids\":[",
                       kind == CALL_RETRY ? "" : "\"abort\":true,");

    if (c->batch[0] == 0)
        return;
    for (int i = 0; i < BATCH; i++)
        len += snprintf(body + len, sizeof body - (size_t)len, "%s%" PRId64,
                        i > 0 ? "," : "", c->batch[i]);
    snprintf(body + len, sizeof body - (size_t)len, "]}");
    int first = new_calls(c->all, kind, BATCH);
    enum fate fate = send_call(c, "POST", paths[kind], body, &status);
    json_t *doc = fate == FATE_ACCEPTED ? http_json(&c->http) : NULL;
    for (int i = 0; i < BATCH; i++) {
        struct call *call = &c->all->calls[first + i];
        const json_t *r = json_array_get(json_object_get(doc, "results"), (size_t)i);
        call->id = c->batch[i];
        take_result(call, r, status, fate);
        c->job = c->job == call->id && kind == CALL_DELETE ? 0 : c->job;
    }
    if (kind == CALL_DELETE)
        memset(c->batch, 0, sizeof c->batch);
    json_decref(doc);
}

/* -- what a client does -------------------------------------------------------------- */

static void act(struct client *c)
{
    int dice = rand_r(&c->seed) % 100;

    if (dice < 60)
        enqueue(c, 1);
    else if (dice < 68)
        enqueue(c, BATCH);
    else if (dice < 88)
        change(c, (enum call_kind)(CALL_CANCEL + dice % 4));
    else if (dice < 92)
        change_many(c, CALL_ABORT);
    else if (dice < 94)
        change_many(c, CALL_DELETE);
    else if (dice < 96)
        change_many(c, CALL_RETRY);
}

/* On the average from the start: what an outage has held up is made up for. */
static bool is_ahead(const struct clients *c)
{
    return atomic_load(&c->n_calls) > (clock_ms() - c->begin_ms) * CALLS_A_SECOND / 1000;
}

static void *run_client(void *arg)
{
    struct client *c = arg;

    http_client_init(&c->http, 0);
    while (!atomic_load(&c->all->closing)) {
        if (!is_ahead(c->all))
            act(c);
        sleep_ms(PAUSE_MS);
    }
    http_client_release(&c->http);
    free(c);
    return NULL;
}

void clients_start(struct clients *c, int port, unsigned seed)
{
    *c = (struct clients){.port = port, .seed = seed, .begin_ms = clock_ms()};
    c->calls = calloc(CALLS_MAX, sizeof *c->calls);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = calloc(1, sizeof *client);
        if (client == NULL || c->calls == NULL)
            die("clients", "out of memory");
        client->all = c;
        client->seed = seed * CLIENTS + (unsigned)i;
        pthread_create(&c->threads[i], NULL, run_client, client);
    }
}

void clients_stop(struct clients *c)
{
    atomic_store(&c->closing, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(c->threads[i], NULL);
}

void clients_audit(const struct clients *c, struct world *w, int interruptions)
{
    int unknown = 0, accepted = 0;

    for (int i = 0; i < c->n_calls; i++) {
        unknown += c->calls[i].fate == FATE_UNKNOWN;
        accepted += c->calls[i].fate == FATE_ACCEPTED;
    }
    oracle_load(w, c->calls, c->n_calls);
    oracle_judge(w, interruptions, NULL);
    world_check(w, "every call was answered, or cut off, within 6 s", c->n_late);
    world_check(w, "no answer was 500", c->n_odd);
    printf("figures: %d calls: %d accepted, %d unknown, %d repeated with their key; %d"
           " interruptions; %" PRId64 " starts in the ledger, %" PRId64
           " rescued, %" PRId64 " stale writes refused\n",
           c->n_calls, accepted, unknown, c->n_repeats, interruptions,
           world_count(w, "SELECT count(*) FROM lines WHERE what = 'start'"),
           world_count(w, "SELECT count(*) FROM belay.events WHERE type = 'rescued'"),
           world_count(w, "SELECT count(*) - 1 FROM stale"));
    free(c->calls);
}
