/* ledger: the service and its database are broken under load, with full accounting.
 *
 *     ledger MODE BELAY ROUNDS SEED
 *
 *     kill      kill -9 of the service at a random moment, and a new one
 *     stop      two nodes; one is frozen for longer than its lease while the other takes
 *               its jobs over, and then goes on with results that are stale
 *     postgres  in turn kill -9 of the postmaster, and the end of a single connection
 *     outage    the database is away for ROUNDS seconds
 *     restart   two nodes; one after the other is told to end, and started again
 *     takeover  two nodes; kill -9 of one, whose jobs the other has to bring to their end
 *
 * clients.h says what is recorded and held against each other. Each mode has claims of
 * its own beside. Exit code 1 and a line for each check that fails. */
#include "server/core/clock.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/http.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    SWEEP_MS = LEASE_SECONDS * 1000 / 3, /* between two looks for lost workers */
    MARGIN_MS = 1500,                    /* for a busy machine */
    BACK_MS = 5000,                      /* from the database to the service */
    ANSWER_MS = 2500,                    /* for a 503 */
    BUSY_JOBS = 2,                       /* that a node should have when it is frozen */
    BUSY_LOOKS = 200,
};

struct chaos {
    struct world w;
    struct clients clients;
    int rounds, interruptions;
    unsigned seed;
};

static void start_nodes(struct chaos *c, int n)
{
    if (n > 1)
        c->w.concurrency = "2";
    for (int i = 0; i < n; i++)
        world_start_node(&c->w, i);
    for (int i = 0; i < n; i++)
        world_wait_ready(&c->w, i, READY_MS);
    clients_start(&c->clients, world_port(&c->w, 0), c->seed);
}

static void sleep_between(int64_t least_ms, int64_t most_ms)
{
    sleep_ms(least_ms + random() % (most_ms - least_ms));
}

/* -- kill ---------------------------------------------------------------------------- */

static void kill_rounds(struct chaos *c)
{
    start_nodes(c, 1);
    for (int i = 0; i < c->rounds; i++) {
        sleep_between(200, 1000);
        world_end_node(&c->w, 0, SIGKILL);
        c->interruptions++;
        world_start_node(&c->w, 0);
        world_wait_ready(&c->w, 0, READY_MS);
    }
}

/* -- stop ---------------------------------------------------------------------------- */

/* Until the node has several jobs, so that some of them run when it is frozen. */
static void wait_until_it_has_jobs(struct chaos *c, int node)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "SELECT coalesce(sum(cardinality(l.job_ids)), 0) FROM belay.leases l"
             " JOIN belay.workers w ON w.id = l.worker_id WHERE w.pid = %d",
             (int)c->w.node[node]);
    for (int i = 0; i < BUSY_LOOKS && world_count(&c->w, sql) < BUSY_JOBS; i++)
        sleep_between(10, 20);
}

static void stop_rounds(struct chaos *c)
{
    start_nodes(c, 2);
    for (int i = 0; i < c->rounds; i++) {
        sleep_between(400, 900);
        wait_until_it_has_jobs(c, 1);
        kill(c->w.node[1], SIGSTOP);
        c->interruptions++;
        sleep_between(LEASE_SECONDS * 1000 + SWEEP_MS + 200,
                      LEASE_SECONDS * 1000 + SWEEP_MS + 700);
        kill(c->w.node[1], SIGCONT);
    }
}

/* What was taken away from the frozen node, and ran to its end there all the same. */
static void audit_stop(struct chaos *c)
{
    char sql[512];

    world_check(&c->w, "a frozen node held a job that ran: else nothing was tested",
                world_count(&c->w, "SELECT count(*) FROM stale") < 2);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM stale s JOIN belay.ends e ON e.id = s.id AND"
             " e.attempts = s.attempt JOIN belay.workers w ON w.id = e.worker_id"
             " WHERE w.pid = %d AND e.rescued IS NOT TRUE AND NOT EXISTS (SELECT FROM"
             " belay.cancellations r"
             " WHERE r.job_id = s.id AND r.outcome = 'worker_lost')",
             (int)c->w.node[1]);
    world_check_sql(&c->w, "no true result of the frozen node was refused", sql);
    world_check_sql(&c->w, "each write of an attempt that was taken away was counted",
                    "SELECT count(*) FROM belay.events v JOIN lines l ON l.id = v.job_id"
                    " AND l.attempt = v.attempt AND l.what = 'end' WHERE v.type ="
                    " 'rescued' AND NOT EXISTS (SELECT FROM stale s WHERE s.id = v.job_id"
                    " AND s.attempt = v.attempt)");
}

/* -- postgres ------------------------------------------------------------------------ */

static void end_one_connection(struct chaos *c)
{
    world_count(&c->w, "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM"
                       " pg_stat_activity WHERE application_name LIKE 'belay %'"
                       " ORDER BY random() LIMIT 1) x");
}

static void postgres_rounds(struct chaos *c)
{
    int64_t worst_ms = 0;

    start_nodes(c, 1);
    for (int i = 0; i < c->rounds; i++) {
        sleep_between(300, 900);
        if (i % 2 == 0) {
            world_kill_database(&c->w);
            world_start_database(&c->w);
        } else {
            end_one_connection(c);
            sleep_ms(50);
        }
        c->interruptions++;
        int64_t ms = world_wait_ready(&c->w, 0, BACK_MS);
        worst_ms = ms > worst_ms ? ms : worst_ms;
    }
    printf("figures: ready at most %" PRId64 " ms after the database\n", worst_ms);
}

/* -- outage -------------------------------------------------------------------------- */

struct probes {
    int sent, not_503, late, no_retry_after, not_alive;
};

static void probe(struct http_client *http, struct probes *p)
{
    static const char *const paths[] = {"/jobs", "/jobs/1/cancel", "/jobs/1", "/queues"};
    int i = p->sent++ % 4;
    int64_t begin_ms = clock_ms();
    long status = http_send(http, i < 2 ? "POST" : "GET", paths[i],
                            i == 0 ? "{\"task\":\"echo\"}" : NULL);

    p->late += clock_ms() - begin_ms > ANSWER_MS;
    p->not_503 += status != 503;
    p->no_retry_after += !http->retry_after;
    p->not_alive += http_send(http, "GET", "/livez", NULL) != 200;
}

static void outage(struct chaos *c)
{
    struct probes p = {.sent = 0};
    struct http_client http;

    start_nodes(c, 1);
    sleep_between(500, 1000);
    world_stop_database(&c->w);
    http_client_init(&http, world_port(&c->w, 0));
    for (int64_t end_ms = clock_ms() + c->rounds * 1000; clock_ms() < end_ms;)
        probe(&http, &p);
    int lines = world_log_lines(&c->w, 0, "");
    world_start_database(&c->w);
    printf("figures: ready %" PRId64
           " ms after the database; %d probes, %d log lines in %d s\n",
           world_wait_ready(&c->w, 0, BACK_MS), p.sent, lines, c->rounds);
    world_check(&c->w, "every answer without a database is 503", p.not_503);
    world_check(&c->w, "and comes within 2.5 s", p.late);
    world_check(&c->w, "and has Retry-After", p.no_retry_after);
    world_check(&c->w, "/livez says 200 all the time", p.not_alive);
    world_check(&c->w, "a minute without a database costs 60 log lines at most",
                lines > c->rounds * 60 / 60);
    http_client_release(&http);
    sleep_ms(1000); /* load on what has come back */
}

/* -- takeover ------------------------------------------------------------------------ */

static void leases_of(char *out, size_t size, pid_t node)
{
    snprintf(out, size,
             "SELECT count(*) FROM belay.leases l JOIN belay.workers w"
             " ON w.id = l.worker_id WHERE w.pid = %d",
             (int)node);
}

static void takeover_rounds(struct chaos *c)
{
    int64_t worst_ms = 0, limit_ms = LEASE_SECONDS * 1000 + SWEEP_MS;
    char sql[256];

    start_nodes(c, 2);
    for (int i = 0; i < c->rounds; i++) {
        int victim = (int)(random() % 2), other = 1 - victim;
        sleep_between(500, 1500);
        atomic_store(&c->clients.port, world_port(&c->w, other));
        leases_of(sql, sizeof sql, c->w.node[victim]);
        world_end_node(&c->w, victim, SIGKILL);
        c->interruptions++;
        int64_t begin_ms = clock_ms(), ms = 0;
        while (world_count(&c->w, sql) > 0 && ms < 2 * limit_ms) {
            sleep_ms(20);
            ms = clock_ms() - begin_ms;
        }
        worst_ms = ms > worst_ms ? ms : worst_ms;
        world_start_node(&c->w, victim);
        world_wait_ready(&c->w, victim, READY_MS);
    }
    printf("figures: the last job was rescued after %" PRId64 " ms\n", worst_ms);
    world_check(&c->w, "jobs are rescued within the lease and one sweep",
                worst_ms > limit_ms + MARGIN_MS);
}

/* -- restart ------------------------------------------------------------------------- */

static void restart_rounds(struct chaos *c)
{
    int64_t left = 0;
    char sql[256];

    start_nodes(c, 2);
    for (int i = 0; i < c->rounds; i++) {
        int victim = i % 2;
        atomic_store(&c->clients.port, world_port(&c->w, 1 - victim));
        sleep_between(100, 400);
        leases_of(sql, sizeof sql, c->w.node[victim]);
        world_end_node(&c->w, victim, SIGTERM);
        left += world_count(&c->w, sql);
        c->interruptions++;
        world_start_node(&c->w, victim);
        world_wait_ready(&c->w, victim, READY_MS);
    }
    world_check(&c->w, "a node that ends leaves no job to wait for its lease", left);
}

/* -- all ----------------------------------------------------------------------------- */

static const struct mode {
    const char *name;
    void (*run)(struct chaos *c);
    void (*audit)(struct chaos *c);
} modes[] = {{"kill", kill_rounds, NULL},         {"stop", stop_rounds, audit_stop},
             {"postgres", postgres_rounds, NULL}, {"outage", outage, NULL},
             {"restart", restart_rounds, NULL},   {"takeover", takeover_rounds, NULL}};

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    die(name, "there is no such mode");
}

int main(int argc, char **argv)
{
    static struct chaos c;

    if (argc < 5) {
        fprintf(stderr, "usage: ledger MODE BELAY ROUNDS SEED\n");
        return 2;
    }
    const struct mode *mode = find_mode(argv[1]);
    c.rounds = (int)strtol(argv[3], NULL, 10);
    c.seed = (unsigned)strtoul(argv[4], NULL, 10);
    srandom(c.seed);
    world_open(&c.w, argv[2]);
    mode->run(&c);
    clients_stop(&c.clients);
    world_wait_quiet(&c.w);
    clients_audit(&c.clients, &c.w, c.interruptions);
    if (mode->audit != NULL)
        mode->audit(&c);
    world_close(&c.w);
    printf("seed %s, %d checks failed\n", argv[4], c.w.checks_failed);
    return c.w.checks_failed > 0;
}
