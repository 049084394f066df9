/* doctored: the oracle is judged itself. A run in which nothing was broken passes; then
 * each of the ten checks has to fail on records that were doctored for it, and a process
 * that is left has to be seen.
 *
 *     doctored MODE BELAY SECONDS SEED
 *
 * A doctored record is a transaction that is rolled back; MODE is not looked at. SECONDS:
 * of load. Exit code 1 where a check does not see what it is for. */
#include "server/core/clock.h"
#include "tests/chaos/clients.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Some job that nobody but its enqueuer asked anything of, and that succeeded. */
#define ONE_JOB                                                                          \
    "(SELECT min(c.id) FROM calls c JOIN lines l USING (id) JOIN belay.ends e USING "    \
    "(id)"                                                                               \
    " WHERE c.kind = 0 AND c.fate = 1 AND e.status = 2 AND l.what = 'end' AND NOT "      \
    "EXISTS"                                                                             \
    " (SELECT FROM calls d WHERE d.id = c.id AND d.kind > 0))"
#define CANCELLED                                                                        \
    "(SELECT min(id) FROM calls c JOIN belay.ends e USING (id) WHERE c.kind IN (1, 2) "  \
    "AND"                                                                                \
    " c.status = 200 AND last AND attempt >= 0)"
#define DELETED "(SELECT min(id) FROM calls c WHERE kind = 3 AND fate = 1)"
#define RETRIED "(SELECT min(id) FROM calls c WHERE kind = 4 AND fate = 1)"

static const struct {
    int check;
    const char *what, *sql;
} forgeries[] = {
    {1, "an accepted job is lost", "DELETE FROM keys WHERE id = " ONE_JOB},
    {1, "an accepted job is another's",
     "UPDATE keys SET key = key || 'x' WHERE id = " ONE_JOB},
    {2, "an unknown call made two jobs",
     "UPDATE calls SET fate = 0 WHERE kind = 0 AND id = " ONE_JOB ";"
     "INSERT INTO keys SELECT -id, key FROM keys WHERE id = " ONE_JOB},
    {2, "a refused call made a job",
     "UPDATE calls SET fate = 2 WHERE kind = 0 AND id = " ONE_JOB},
    {3, "a second result was accepted",
     "ALTER TABLE belay.ends DROP CONSTRAINT ends_pkey; INSERT INTO belay.ends SELECT *"
     " FROM belay.ends WHERE id = " ONE_JOB},
    {3, "the result of a lost attempt was accepted",
     "UPDATE belay.ends SET result = '{\"attempt\":33}' WHERE id = " ONE_JOB},
    {3, "a result of work that was not done was accepted",
     "DELETE FROM lines WHERE what = 'end' AND id = " ONE_JOB},
    {4, "it was started again after its end",
     "INSERT INTO lines (what, id, attempt) SELECT 'start', id, attempt + 1 FROM lines"
     " WHERE what = 'end' AND id = " ONE_JOB},
    {4, "an old attempt was started after the end",
     "INSERT INTO lines (what, id, attempt) SELECT 'start', id, attempt - 1 FROM lines"
     " WHERE what = 'end' AND id = " ONE_JOB},
    {4, "a lost attempt was started after the end",
     "INSERT INTO lines (what, id, attempt) SELECT 'start', id, attempt - 1 FROM lines"
     " WHERE what = 'end' AND id = " ONE_JOB ";"
     "INSERT INTO belay.events (job_id, at, type, attempt) SELECT id, now(), 'rescued',"
     " attempt - 1 FROM lines WHERE what = 'end' AND id = " ONE_JOB},
    {5, "it was started twice, and nothing had happened",
     "UPDATE belay.ends SET attempts = attempts + 1 WHERE id = " ONE_JOB ";"
     "INSERT INTO lines (what, id, attempt) SELECT 'start', id, attempt + 1 FROM lines"
     " WHERE what = 'start' AND id = " ONE_JOB},
    {5, "one attempt was started twice",
     "INSERT INTO lines (what, id, attempt) SELECT what, id, attempt FROM lines"
     " WHERE what = 'start' AND id = " ONE_JOB},
    {6, "a cancelled job succeeded",
     "UPDATE belay.ends SET status = 2 WHERE id = " CANCELLED},
    {6, "a cancelled job was started",
     "INSERT INTO lines (what, id, attempt) SELECT 'start', id, attempts + 1 FROM"
     " belay.ends WHERE id = " CANCELLED},
    {6, "a deleted job came back", "INSERT INTO keys SELECT " DELETED ", 'back'"},
    {6, "a retried job never started again",
     "UPDATE calls c SET attempt = e.attempts, last = true FROM belay.ends e WHERE"
     " e.id = c.id AND c.kind = 4 AND c.fate = 1"},
    {7, "a job has left the sums", "DELETE FROM belay.ends WHERE id = " ONE_JOB},
    {7, "a job has failed of itself",
     "UPDATE belay.ends SET status = 3 WHERE id = " ONE_JOB},
    {8, "an attempt was counted that never was",
     "UPDATE belay.ends SET attempts = attempts + 1 WHERE id = " ONE_JOB},
    {8, "an attempt was not counted",
     "UPDATE belay.ends SET attempts = attempts - 1 WHERE id = " ONE_JOB},
    {9, "a lease is left",
     "INSERT INTO belay.leases (worker_id, lo, hi, job_ids) VALUES (1, 1, 1, '{1}')"},
    {9, "a lock is left", "INSERT INTO belay.held VALUES ('chaos', 1)"},
    {9, "a receipt is open",
     "UPDATE belay.cancellations SET stopped_at = NULL WHERE job_id = " CANCELLED},
    {10, "a cancel has no receipt",
     "DELETE FROM belay.cancellations WHERE job_id = " CANCELLED},
    {10, "a receipt is of no call",
     "INSERT INTO belay.cancellations (job_id, n, cause, abort, delete_requested,"
     " stopped_at) SELECT " ONE_JOB ", 1, 'user', false, false, now()"},
    {10, "a delete has no record",
     "DELETE FROM belay.events WHERE type = 'deleted' AND job_id = " DELETED},
    {10, "a retry has no record",
     "DELETE FROM belay.events WHERE type = 'retried' AND job_id = " RETRIED},
};

static void forge(struct world *w, int i, int *out_undetected)
{
    bool failed[ORACLE_CHECKS];
    int before = w->checks_failed;

    w->quiet = true;
    world_run(w, "BEGIN");
    world_run(w, forgeries[i].sql);
    oracle_judge(w, 0, failed);
    world_run(w, "ROLLBACK");
    w->checks_failed = before;
    w->quiet = false;
    *out_undetected += !failed[forgeries[i].check - 1];
    printf("%-8s check %d: %s\n", failed[forgeries[i].check - 1] ? "seen" : "NOT SEEN",
           forgeries[i].check, forgeries[i].what);
}

/* As if a command had outlived its node. */
static void leave_a_process(const struct world *w, int *out_undetected)
{
    char shell[] = "/bin/sh", is_script[] = "-c", script[300];
    char *argv[] = {shell, is_script, script, NULL}, *env[] = {NULL};
    pid_t pid;

    snprintf(script, sizeof script, "while sleep 1; do :; done # %s", w->ledger);
    if (posix_spawn(&pid, shell, NULL, NULL, argv, env) != 0)
        die("posix_spawn", shell);
    bool seen = false;
    for (int i = 0; i < 100 && !seen; i++) { /* its name is there a moment after it is */
        sleep_ms(10);
        seen = world_count_orphans(w) > 0;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    *out_undetected += !seen;
    printf("%-8s a process of a command is left\n", seen ? "seen" : "NOT SEEN");
}

int main(int argc, char **argv)
{
    static struct world w;
    static struct clients clients;
    int undetected = 0;
    bool clean[ORACLE_CHECKS];

    if (argc < 5) {
        fprintf(stderr, "usage: doctored MODE BELAY SECONDS SEED\n");
        return 2;
    }
    world_open(&w, argv[2]);
    w.concurrency = "1"; /* jobs wait, so that some are cancelled before they start */
    world_start_node(&w, 0);
    world_wait_ready(&w, 0, READY_MS);
    clients_start(&clients, world_port(&w, 0), (unsigned)strtoul(argv[4], NULL, 10));
    sleep_ms(strtol(argv[3], NULL, 10) * 1000);
    clients_stop(&clients);
    world_wait_quiet(&w);
    world_end_node(&w, 0, SIGTERM);
    oracle_load(&w, clients.calls, clients.n_calls);
    oracle_judge(&w, 0, clean);
    fflush(stdout);
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++)
        forge(&w, (int)i, &undetected);
    leave_a_process(&w, &undetected);
    world_check(&w, "forgeries that the oracle did not see", undetected);
    printf("figures: %zu forgeries for %d checks, %d not seen\n",
           sizeof forgeries / sizeof *forgeries, ORACLE_CHECKS, undetected);
    world_close(&w);
    return w.checks_failed > 0;
}
