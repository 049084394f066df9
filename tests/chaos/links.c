/* links: what becomes of calls and jobs when the way to PostgreSQL is not what it was.
 *
 *     links MODE BELAY ROUNDS SEED
 *
 *     cut        exchanges are cut at a byte each, by an end, a reset, a half-open
 *                connection or a black hole: those of requests with a key and without
 * one, and those of the worker notify     no notification arrives any more: jobs are
 * found by the poll pooler     through PgBouncer in transaction mode, for ROUNDS seconds
 *
 * Exit code 1 and a line for each check that fails. */
#include "server/core/clock.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/http.h"
#include "tests/chaos/proxy.h"

#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ANSWER_MS = 6000,
    TRIES = 20,
    TRY_PAUSE_MS = 100,
    WORKER_BYTES = 600, /* of an exchange of the worker that are cut at */
    POLL_MS = 1000,     /* world.c's --poll-seconds */
    POLL_MARGIN_MS = 200,
    SLOW_EVERY = 10, /* cuts that nobody hears of: each takes seconds */
};

struct run {
    struct world w;
    struct clients clients;
    struct proxy *proxy;
    struct http_client http;
    struct call *calls;
    int rounds, n_calls, unknown, late, odd;
    int64_t worst_ms, request_bytes;
    unsigned seed;
};

static void open_proxy(struct run *r, int node)
{
    char socket_path[128];

    world_socket(&r->w, socket_path, sizeof socket_path);
    r->proxy = proxy_open(socket_path);
    r->w.through[node] = proxy_port(r->proxy);
}

/* -- cut ----------------------------------------------------------------------------- */

static enum fate send_once(struct run *r, struct call *call, const char *body)
{
    char code[64];
    int64_t begin_ms = clock_ms();

    call->status = http_send(&r->http, "POST", "/jobs", body);
    int64_t ms = clock_ms() - begin_ms;
    http_member(&r->http, "code", code, sizeof code);
    r->worst_ms = ms > r->worst_ms ? ms : r->worst_ms;
    r->late += ms > ANSWER_MS;
    r->odd += call->status >= 500 && call->status != 503;
    if (call->status == 0 || strcmp(code, "outcome-unknown") == 0)
        return FATE_UNKNOWN;
    return call->status < 300 ? FATE_ACCEPTED : FATE_REFUSED;
}

/* With a key, until it is in; without one, once. */
static void enqueue(struct run *r, bool with_key)
{
    struct call *call = &r->calls[r->n_calls];
    char body[128];

    *call = (struct call){.kind = CALL_ENQUEUE, .attempt = -1};
    snprintf(body, sizeof body,
             "{\"task\":\"ledger-thread\",\"metadata\":{\"key\":\"%d\"}}", r->n_calls);
    r->http.key[0] = '\0';
    if (with_key)
        snprintf(r->http.key, sizeof r->http.key, "cut-%06d", r->n_calls);
    r->n_calls++;
    for (int i = 0; i < (with_key ? TRIES : 1); i++) {
        call->fate = send_once(r, call, body);
        if (call->fate == FATE_ACCEPTED)
            break;
        r->unknown += call->fate == FATE_UNKNOWN;
        sleep_ms(TRY_PAUSE_MS);
    }
    json_t *doc = http_json(&r->http);
    call->id = json_integer_value(json_object_get(doc, "id"));
    json_decref(doc);
}

static enum proxy_fault fault_of(int i)
{
    if (i % (2 * SLOW_EVERY) == SLOW_EVERY - 1)
        return PROXY_HALF_OPEN;
    if (i % SLOW_EVERY == SLOW_EVERY - 1)
        return PROXY_BLACK_HOLE;
    return random() % 2 == 0 ? PROXY_CLOSE : PROXY_RESET;
}

/* Three of four cuts meet a request, whose body has the words in it; the fourth the
 * worker's own statements. */
static void cut_one(struct run *r, int i)
{
    static const char *const of_worker[] = {"job_claim", "job_finish",
                                            "worker_heartbeat"};
    char words[64];
    int64_t most = i % 4 == 3 ? WORKER_BYTES : r->request_bytes;

    snprintf(words, sizeof words, "\"key\":\"%d\"", r->n_calls);
    proxy_arm(r->proxy, i % 4 == 3 ? of_worker[i / 4 % 3] : words, fault_of(i),
              random() % (most + 1));
    enqueue(r, i % 4 != 2);
}

static void cut_rounds(struct run *r)
{
    open_proxy(r, 0);
    world_start_node(&r->w, 0);
    world_wait_ready(&r->w, 0, READY_MS);
    r->calls = calloc((size_t)r->rounds + 1, sizeof *r->calls);
    if (r->calls == NULL)
        die("cut", "out of memory");
    proxy_arm(r->proxy, "\"key\":\"0\"", PROXY_PASS, 0);
    enqueue(r, true);
    r->request_bytes = proxy_exchange_bytes(r->proxy);
    if (r->request_bytes == 0)
        die("cut", "the proxy has not seen the request");
    for (int i = 0; i < r->rounds; i++)
        cut_one(r, i);
    proxy_strike(r->proxy, PROXY_PASS);
    world_wait_ready(&r->w, 0, READY_MS);
    world_wait_quiet(&r->w);
    oracle_load(&r->w, r->calls, r->n_calls);
    oracle_judge(&r->w, r->rounds, NULL);
    world_check(&r->w, "every call was answered within 6 s", r->late);
    world_check(&r->w, "no answer was 500", r->odd);
    for (int i = 0; i < r->n_calls; i++)
        world_check(&r->w, "with a key the job is in at last",
                    i > 0 && (i - 1) % 4 != 2 && r->calls[i].fate != FATE_ACCEPTED);
    printf("figures: %d cuts in exchanges of %" PRId64 " bytes; longest call %" PRId64
           " ms, %d answers of unknown outcome\n",
           r->rounds, r->request_bytes, r->worst_ms, r->unknown);
}

/* -- notify -------------------------------------------------------------------------- */

static void notify_rounds(struct run *r)
{
    r->w.more[0] = "--concurrency";
    r->w.more[1] = "0";
    world_start_node(&r->w, 0);
    r->w.more[0] = NULL;
    open_proxy(r, 1);
    world_start_node(&r->w, 1);
    for (int i = 0; i < NODES; i++)
        world_wait_ready(&r->w, i, READY_MS);
    proxy_mute(r->proxy, true);
    sleep_ms(POLL_MS);
    for (int i = 0; i < r->rounds; i++) {
        if (http_send(&r->http, "POST", "/jobs", "{\"task\":\"ledger-thread\"}") != 201)
            die("notify", "a job was refused");
        sleep_ms(POLL_MS / 4 + random() % POLL_MS);
    }
    world_wait_quiet(&r->w);
    int64_t worst_ms = world_count(
        &r->w, "SELECT ceil(max(extract(epoch FROM e.started_at - j.created_at)) * 1000)"
               "::bigint FROM belay.jobs j JOIN belay.ends e USING (id)");
    world_check_sql(&r->w, "every job has its start",
                    "SELECT count(*) FROM belay.ends WHERE started_at IS NULL");
    world_check(&r->w, "start delay <= poll + 0.2 s",
                worst_ms > POLL_MS + POLL_MARGIN_MS ? worst_ms : 0);
    printf("figures: %d jobs without a notification, the longest waited %" PRId64
           " ms of a poll of %d ms\n",
           r->rounds, worst_ms, POLL_MS);
}

/* -- pooler -------------------------------------------------------------------------- */

static void write_pooler(const struct run *r, const char *path, int port)
{
    FILE *f = fopen(path, "w");

    if (f == NULL)
        die(path, "cannot be written");
    fprintf(f,
            "[databases]\npostgres = host=%s/pgdata user=belay\n[pgbouncer]\n"
            "listen_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 8\n",
            r->w.directory, port);
    fclose(f);
    if (chmod(path, 0644) != 0)
        die(path, "cannot be read by others");
}

/* It refuses to be root. */
static pid_t start_pooler(const char *path)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (geteuid() == 0) {
        const struct passwd *user = getpwnam("postgres");
        if (user == NULL || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)
            _exit(126);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    execlp("pgbouncer", "pgbouncer", "-q", path, (char *)NULL);
    execl("/usr/sbin/pgbouncer", "pgbouncer", "-q", path, (char *)NULL);
    _exit(127);
}

static void pooler_rounds(struct run *r)
{
    char path[128], listen[256];
    int port = world_port(&r->w, 0) + 100;

    if (access("/usr/sbin/pgbouncer", X_OK) != 0) {
        printf("figures: skipped, PgBouncer is not installed\n");
        return;
    }
    snprintf(path, sizeof path, "%s/pgbouncer.ini", r->w.directory);
    write_pooler(r, path, port);
    pid_t pooler = start_pooler(path);
    snprintf(listen, sizeof listen, "host=%s/pgdata user=belay dbname=postgres",
             r->w.directory);
    r->w.more[0] = "--listen-database-url";
    r->w.more[1] = listen;
    r->w.through[0] = r->w.through[1] = port;
    for (int i = 0; i < NODES; i++)
        world_start_node(&r->w, i);
    for (int i = 0; i < NODES; i++)
        world_wait_ready(&r->w, i, READY_MS);
    clients_start(&r->clients, world_port(&r->w, 0), r->seed);
    for (int i = 0; i < r->rounds; i++) {
        sleep_ms(1000);
        atomic_store(&r->clients.port, world_port(&r->w, i % NODES));
    }
    clients_stop(&r->clients);
    world_wait_quiet(&r->w);
    clients_audit(&r->clients, &r->w, 0);
    for (int i = 0; i < NODES; i++)
        world_end_node(&r->w, i, SIGTERM);
    kill(pooler, SIGTERM);
}

/* -- all ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(struct run *r);
} modes[] = {{"cut", cut_rounds}, {"notify", notify_rounds}, {"pooler", pooler_rounds}};

int main(int argc, char **argv)
{
    static struct run r;
    size_t i = 0, n = sizeof modes / sizeof *modes;

    if (argc < 5) {
        fprintf(stderr, "usage: links MODE BELAY ROUNDS SEED\n");
        return 2;
    }
    while (i < n && strcmp(modes[i].name, argv[1]) != 0)
        i++;
    if (i == n)
        die(argv[1], "there is no such mode");
    r.rounds = (int)strtol(argv[3], NULL, 10);
    r.seed = (unsigned)strtoul(argv[4], NULL, 10);
    srandom(r.seed);
    world_open(&r.w, argv[2]);
    http_client_init(&r.http, world_port(&r.w, 0));
    modes[i].run(&r);
    http_client_release(&r.http);
    world_close(&r.w);
    proxy_close(r.proxy);
    free(r.calls);
    printf("seed %s, %d checks failed\n", argv[4], r.w.checks_failed);
    return r.w.checks_failed > 0;
}
