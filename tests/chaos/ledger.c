/* ledger: kill -9 and SIGSTOP under load, with full accounting.
 *
 *     ledger kill BELAY DATABASE_URL ROUNDS SEED
 *     ledger stop BELAY DATABASE_URL ROUNDS SEED
 *
 * Three records are held against each other at the end. The client's: one row a call,
 * with its key and whether it was accepted, refused, or its outcome unknown. The tasks':
 * a file to which each start and each end is one appended write. The tables': what the
 * database says in the end. `kill` kills the service at a random moment of each round and
 * starts it again; `stop` runs two nodes, freezes one for longer than its lease while the
 * other takes its jobs over, and lets it go on with results that are stale by then.
 *
 * Only processes that it started itself are signalled. Exit code 1 and a line for each
 * check that fails. */
#include "db/db.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/chaos/http.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum {
    CLIENTS = 4,
    CALLS_MAX = 400000,
    LEASE_SECONDS = 2,
    READY_MS = 15000,
    QUIET_MS = 90000
};

enum fate { CALL_UNKNOWN, CALL_ACCEPTED, CALL_REFUSED };

struct call {
    int64_t id; /* of the job, when accepted */
    enum fate fate;
};

struct world {
    const char *belay, *url;
    char directory[64], config[128], ledger[128];
    struct call *calls;
    atomic_int n_calls;
    atomic_bool closing;
    atomic_int port; /* where clients send */
    int interruptions, failures;
    struct db *db;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "ledger: %s: %s\n", what, why);
    exit(2);
}

/* -- the service --------------------------------------------------------------------- */

static pid_t start_node(struct world *w, int port)
{
    char port_text[16], lease[16];
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(port_text, sizeof port_text, "%d", port);
    snprintf(lease, sizeof lease, "%d", LEASE_SECONDS);
    setenv("DATABASE_URL", w->url, 1);
    setenv("BELAY_CONFIG", w->config, 1);
    execl(w->belay, w->belay, "serve", "--port", port_text, "--lease-seconds", lease,
          "--log-level", "error", "--poll-seconds", "1", "--max-attempts", "100",
          (char *)NULL);
    _exit(127);
}

static void wait_ready(int port)
{
    struct http_client c;
    int64_t end_ms = clock_ms() + READY_MS;

    http_client_init(&c, port);
    while (http_send(&c, "GET", "/readyz", NULL) != 200) {
        if (clock_ms() > end_ms)
            die("the service is not ready after 15 s",
                c.text != NULL ? c.text : "no answer");
        sleep_ms(10);
    }
    http_client_release(&c);
}

static void end_node(pid_t pid, int sig)
{
    kill(pid, sig);
    waitpid(pid, NULL, 0);
}

/* -- clients ------------------------------------------------------------------------- */

/* Half of the jobs run a command that writes its start and its end to the task's ledger;
 * half only echo. */
static void one_call(struct world *w, struct http_client *c)
{
    char body[256];
    int n = atomic_fetch_add(&w->n_calls, 1);

    if (n >= CALLS_MAX)
        die("calls", "too many for the record");
    snprintf(body, sizeof body,
             "{\"task\":\"%s\",\"args\":{\"key\":\"%d\"},\"metadata\":{\"key\":\"%d\"}}",
             n % 8 == 0 ? "write-ledger" : "echo", n, n);
    long status = http_send(c, "POST", "/jobs", body);
    w->calls[n].fate = status == 201 ? CALL_ACCEPTED : CALL_UNKNOWN;
    if (status >= 400 && status < 500)
        w->calls[n].fate = CALL_REFUSED;
    if (status != 201)
        return;
    json_t *job = http_json(c);
    w->calls[n].id = json_integer_value(json_object_get(job, "id"));
    json_decref(job);
}

static void *run_client(void *arg)
{
    struct world *w = arg;
    struct http_client c;

    http_client_init(&c, 0);
    while (!atomic_load(&w->closing)) {
        c.port = atomic_load(&w->port);
        one_call(w, &c);
        sleep_ms(2);
    }
    http_client_release(&c);
    return NULL;
}

/* -- the database's record ----------------------------------------------------------- */

static struct db_rows query(struct world *w, const char *text)
{
    struct db_rows rows;

    if (db_run(w->db, text, &rows) != ERR_OK)
        die(text, db_errmsg(w->db));
    return rows;
}

static int64_t count_of(struct world *w, const char *text)
{
    struct db_rows rows = query(w, text);
    int64_t n = row_int(&rows, 0, 0);

    db_rows_free(&rows);
    return n;
}

static void wait_quiet(struct world *w)
{
    int64_t end_ms = clock_ms() + QUIET_MS;

    while (count_of(w, "SELECT (SELECT count(*) FROM belay.ready)"
                       " + (SELECT count(*) FROM belay.scheduled)"
                       " + (SELECT count(*) FROM belay.blocked)"
                       " + (SELECT count(*) FROM belay.leases)") > 0) {
        if (clock_ms() > end_ms)
            die("quiet", "jobs are left todo or doing after 90 s");
        sleep_ms(50);
    }
}

static void check(struct world *w, const char *what, int64_t wrong)
{
    printf("%-66s %s (%" PRId64 ")\n", what, wrong == 0 ? "ok" : "FAILED", wrong);
    w->failures += wrong != 0;
}

static void run_sql(struct world *w, const char *text)
{
    struct db_rows rows = query(w, text);

    db_rows_free(&rows);
}

static void load_calls(struct world *w)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;

    run_sql(w, "CREATE TEMP TABLE calls (key text, fate int, id bigint)");
    buf_adds(&sql, "INSERT INTO calls VALUES ('none', 2, 0)");
    for (int i = 0; i < w->n_calls; i++)
        buf_addf(&sql, ",('%d',%d,%" PRId64 ")", i, (int)w->calls[i].fate,
                 w->calls[i].id);
    run_sql(w, sql.text);
}

/* The tasks' ledger: "start 33 1" and "end 33 1", a line a write. */
static void load_lines(struct world *w)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;
    char line[256];
    FILE *f = fopen(w->ledger, "r");

    run_sql(w, "CREATE TEMP TABLE lines (n serial, what text, id bigint, attempt int)");
    if (f == NULL)
        die(w->ledger, "no task has written to it");
    buf_adds(&sql, "INSERT INTO lines (what, id, attempt) VALUES ('begin', 0, 0)");
    while (fgets(line, sizeof line, f) != NULL) {
        char *rest = NULL;
        const char *what = strtok_r(line, " \n", &rest);
        const char *id = strtok_r(NULL, " \n", &rest);
        const char *attempt = strtok_r(NULL, " \n", &rest);
        if (attempt == NULL)
            die("the tasks' ledger has a broken line", line);
        buf_addf(&sql, ",('%s',%lld,%ld)", what, strtoll(id, NULL, 10),
                 strtol(attempt, NULL, 10));
    }
    fclose(f);
    run_sql(w, sql.text);
}

static void audit(struct world *w)
{
    char text[512];

    load_calls(w);
    load_lines(w);
    check(w, "every accepted job exists exactly once",
          count_of(
              w,
              "SELECT count(*) FROM calls c WHERE fate = 1 AND 1 <> (SELECT count(*) FROM"
              " belay.jobs j WHERE j.id = c.id AND j.metadata ->> 'key' = c.key)"));
    check(w, "a call of unknown outcome made one job or none",
          count_of(w, "SELECT count(*) FROM (SELECT metadata ->> 'key' FROM belay.jobs"
                      " GROUP BY 1 HAVING count(*) > 1) x"));
    check(w, "a refused call made no job",
          count_of(w, "SELECT count(*) FROM calls c JOIN belay.jobs j"
                      " ON j.metadata ->> 'key' = c.key WHERE fate = 2"));
    check(w, "every job has ended",
          count_of(w, "SELECT count(*) FROM belay.jobs j WHERE NOT EXISTS"
                      " (SELECT FROM belay.ends e WHERE e.id = j.id)"));
    check(w, "and succeeded (2), as none was cancelled or failed",
          count_of(w, "SELECT count(*) FROM belay.ends WHERE status <> 2"));
    check(w, "every job of the tasks' ledger was started",
          count_of(
              w,
              "SELECT count(*) FROM belay.jobs j JOIN belay.tasks t ON t.id = j.task_id"
              " WHERE t.name = 'write-ledger' AND NOT EXISTS"
              " (SELECT FROM lines l WHERE l.id = j.id AND l.what = 'end')"));
    check(w, "no attempt of a job was started twice",
          count_of(
              w,
              "SELECT count(*) FROM (SELECT id, attempt FROM lines WHERE what = 'start'"
              " GROUP BY 1, 2 HAVING count(*) > 1) x"));
    snprintf(text, sizeof text,
             "SELECT count(*) FROM (SELECT id FROM lines WHERE what = 'start' GROUP BY 1"
             " HAVING count(*) > 1 + %d) x",
             w->interruptions);
    check(w, "starts of a job <= 1 + recorded interruptions", count_of(w, text));
    check(w, "the accepted end is that of the last attempt (no stale write)",
          count_of(w, "SELECT count(*) FROM (SELECT id, max(attempt) AS last FROM lines"
                      " WHERE what = 'start' GROUP BY 1) l JOIN belay.ends e USING (id)"
                      " WHERE e.attempts < l.last"));
    check(w, "no lease is left", count_of(w, "SELECT count(*) FROM belay.leases"));
}

/* -- rounds -------------------------------------------------------------------------- */

static int free_port(void)
{
    static int port;

    if (port == 0)
        port = 21000 + (int)(getpid() % 9000);
    return port++;
}

static void kill_rounds(struct world *w, int rounds)
{
    int port = free_port();
    pid_t node = start_node(w, port);

    wait_ready(port);
    atomic_store(&w->port, port);
    for (int i = 0; i < rounds; i++) {
        sleep_ms(200 + random() % 800);
        end_node(node, SIGKILL);
        w->interruptions++;
        node = start_node(w, port);
        wait_ready(port);
    }
    atomic_store(&w->closing, true);
    wait_quiet(w);
    end_node(node, SIGTERM);
}

static void stop_rounds(struct world *w, int rounds)
{
    int port = free_port(), frozen_port = free_port();
    pid_t node = start_node(w, port), frozen = start_node(w, frozen_port);

    wait_ready(port);
    wait_ready(frozen_port);
    atomic_store(&w->port, port);
    for (int i = 0; i < rounds; i++) {
        sleep_ms(300 + random() % 700);
        kill(frozen, SIGSTOP);
        w->interruptions++;
        sleep_ms(LEASE_SECONDS * 2000 + random() % 500);
        kill(frozen, SIGCONT);
    }
    atomic_store(&w->closing, true);
    wait_quiet(w);
    end_node(node, SIGTERM);
    end_node(frozen, SIGTERM);
}

static void write_config(struct world *w)
{
    FILE *f;

    snprintf(w->directory, sizeof w->directory, "/tmp/belay-ledger.XXXXXX");
    if (mkdtemp(w->directory) == NULL)
        die("mkdtemp", w->directory);
    snprintf(w->config, sizeof w->config, "%s/belay.yaml", w->directory);
    snprintf(w->ledger, sizeof w->ledger, "%s/ledger", w->directory);
    f = fopen(w->config, "w");
    if (f == NULL)
        die("fopen", w->config);
    fprintf(
        f,
        "commands:\n  - name: write-ledger\n    command:\n      - /bin/sh\n      - -c\n"
        "      - 'echo start $BELAY_JOB_ID $BELAY_ATTEMPT >>%s; sleep 0.0$(($$ %% 9));"
        " echo end $BELAY_JOB_ID $BELAY_ATTEMPT >>%s'\n",
        w->ledger, w->ledger);
    fclose(f);
}

int main(int argc, char **argv)
{
    static struct world w;
    pthread_t clients[CLIENTS];
    char why[256];

    if (argc < 6) {
        fprintf(stderr, "usage: ledger kill|stop BELAY DATABASE_URL ROUNDS SEED\n");
        return 2;
    }
    w = (struct world){.belay = argv[2], .url = argv[3]};
    w.calls = calloc(CALLS_MAX, sizeof *w.calls);
    srandom((unsigned)strtoul(argv[5], NULL, 10));
    curl_global_init(CURL_GLOBAL_DEFAULT);
    write_config(&w);
    struct db_options options = {
        .url = w.url, .application_name = "ledger", .no_prepare = true};
    if (w.calls == NULL || db_open(&options, &w.db, why, sizeof why) != ERR_OK)
        die("connect", why);
    run_sql(&w, "SET statement_timeout = '60s'");
    for (int i = 0; i < CLIENTS; i++)
        pthread_create(&clients[i], NULL, run_client, &w);
    (strcmp(argv[1], "kill") == 0 ? kill_rounds
                                  : stop_rounds)(&w, (int)strtol(argv[4], NULL, 10));
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    audit(&w);
    printf("%d calls, %d interruptions, seed %s, %d checks failed\n", w.n_calls,
           w.interruptions, argv[5], w.failures);
    db_close(w.db);
    free(w.calls);
    return w.failures > 0;
}
