/* races: claim against finish against cancel, abort, delete and retry, and no answer that
 * contradicts what became of the job.
 *
 *     races plain BELAY ROUNDS SEED     one node
 *     races lease BELAY ROUNDS SEED     two, of which one is frozen again and again for
 *                                       longer than its lease
 *
 * A round makes one job (that is over at once, in some milliseconds, fails, waits for a
 * lock, or is a process) and lets three actors fall upon it at random moments, each with
 * one random operation. When the job has come to rest, model.h judges what the actors
 * were told. Groups of actors run side by side. In the end the tables and the tasks' own
 * ledger are held against the answers once more, as sums. A contradiction is printed with
 * all that was said, and the exit code is 1. */
#include "server/core/clock.h"
#include "tests/chaos/http.h"
#include "tests/chaos/model.h"
#include "tests/chaos/world.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GROUPS = 12, ACTORS = 3, DELAY_MAX_US = 6000, REST_TRIES = 4, SHOWN_MOST = 20 };
/* 100 where the machine is quiet, which that of continuous integration is not. */
enum { DELIVERY_MAX_MS = 500 };

static const struct {
    const char *name, *method, *tail;
} operations[OP_COUNT] = {
    [OP_CANCEL] = {"cancel", "POST", "/cancel"},
    [OP_ABORT] = {"abort", "POST", "/cancel?abort=true"},
    [OP_CANCEL_DELETE] = {"cancel+delete", "POST", "/cancel?delete=true"},
    [OP_DELETE] = {"delete", "DELETE", ""},
    [OP_DELETE_ABORT] = {"delete+abort", "DELETE", "?abort=true"},
    [OP_RETRY] = {"retry", "POST", "/retry"},
};

struct group {
    int rounds;
    unsigned seed;
    int64_t job;
    struct nature nature;
    bool over;
    pthread_barrier_t begin, end;
    struct said said[ACTORS];
};

static int port;
static bool loses_lease;
static atomic_bool races_are_over;
static atomic_int contradictions, tally[OP_COUNT][2], retried, cancelled, gone, made;

/* The same seed, the same choices (the constants of Numerical Recipes). */
static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* -- actors -------------------------------------------------------------------------- */

struct actor {
    struct group *group;
    int number;
    unsigned seed;
};

static void act(struct http_client *c, struct actor *a)
{
    struct said *said = &a->group->said[a->number];
    char path[128];

    said->operation = next_random(&a->seed) % OP_COUNT;
    usleep(next_random(&a->seed) % DELAY_MAX_US);
    snprintf(path, sizeof path, "/jobs/%" PRId64 "%s", a->group->job,
             operations[said->operation].tail);
    said->begin_us = clock_us();
    said->status = http_send(c, operations[said->operation].method, path, NULL);
    said->end_us = clock_us();
    http_answer(c, said->result, sizeof said->result, &said->attempt);
    atomic_fetch_add(&tally[said->operation][said->status < 300], 1);
}

static void *run_actor(void *arg)
{
    struct actor *a = arg;
    struct http_client c;

    http_client_init(&c, port);
    for (;;) {
        pthread_barrier_wait(&a->group->begin);
        if (a->group->over)
            break;
        act(&c, a);
        pthread_barrier_wait(&a->group->end);
    }
    http_client_release(&c);
    return NULL;
}

/* -- rounds -------------------------------------------------------------------------- */

static const struct {
    const char *body;
    struct nature nature;
} kinds[] = {
    {"{\"task\":\"echo\"}", {false, false, false}},
    {"{\"task\":\"sleep\",\"args\":{\"seconds\":0.002}}", {false, false, false}},
    {"{\"task\":\"sleep\",\"args\":{\"seconds\":0.1}}", {false, false, false}},
    {"{\"task\":\"fail\",\"args\":{\"times\":1},\"max_attempts\":2}",
     {true, true, false}},
    {"{\"task\":\"fail\",\"args\":{\"times\":9},\"max_attempts\":1}",
     {true, false, false}},
    {"{\"task\":\"echo\",\"delay_seconds\":0.003}", {false, false, false}},
    {"{\"task\":\"sleep\",\"args\":{\"seconds\":0.003},\"lock\":\"races\"}",
     {false, false, false}},
    {"{\"task\":\"write-ledger\"}", {true, true, false}},
};

static void make_job(struct http_client *c, struct group *g)
{
    size_t kind = next_random(&g->seed) % (sizeof kinds / sizeof *kinds);

    if (http_send(c, "POST", "/jobs", kinds[kind].body) != 201)
        die(kinds[kind].body, c->text != NULL ? c->text : "no answer");
    json_t *job = http_json(c);
    g->job = json_integer_value(json_object_get(job, "id"));
    g->nature = kinds[kind].nature;
    g->nature.loses_lease = loses_lease;
    json_decref(job);
    atomic_fetch_add(&made, 1);
}

struct outcome {
    char status[32];
    int attempt;
};

static bool is_at_rest(const struct outcome *o)
{
    return strcmp(o->status, "todo") != 0 && strcmp(o->status, "doing") != 0;
}

static struct outcome rest_of(struct http_client *c, int64_t job)
{
    struct outcome o = {.status = "doing"};
    char path[64];

    snprintf(path, sizeof path, "/jobs/%" PRId64 "?wait=5", job);
    for (int i = 0; i < REST_TRIES && !is_at_rest(&o); i++) {
        long status = http_send(c, "GET", path, NULL);
        o = (struct outcome){.status = "gone"};
        if (status == 404)
            break;
        json_t *doc = http_json(c);
        o.attempt = (int)json_integer_value(json_object_get(doc, "attempt"));
        json_decref(doc);
        http_member(c, "status", o.status, sizeof o.status);
    }
    return o;
}

static void judge(const struct group *g, const struct outcome *o)
{
    for (int i = 0; i < ACTORS; i++) {
        atomic_fetch_add(&retried, strcmp(g->said[i].result, "retried") == 0);
        atomic_fetch_add(&cancelled, strcmp(g->said[i].result, "cancelled") == 0);
    }
    atomic_fetch_add(&gone, strcmp(o->status, "gone") == 0);
    if (model_allows(g->said, ACTORS, g->nature, o->status, o->attempt) ||
        atomic_fetch_add(&contradictions, 1) >= SHOWN_MOST)
        return;
    flockfile(stdout);
    printf("job %" PRId64 " is %s after attempt %d, which contradicts:\n", g->job,
           o->status, o->attempt);
    for (int i = 0; i < ACTORS; i++) {
        const struct said *s = &g->said[i];
        printf("    %-14s %6" PRId64 " .. %6" PRId64 " us: %ld %s attempt %d\n",
               operations[s->operation].name, s->begin_us - g->said[0].begin_us,
               s->end_us - g->said[0].begin_us, s->status, s->result, s->attempt);
    }
    funlockfile(stdout);
}

static void *run_group(void *arg)
{
    struct group *g = arg;
    struct actor actors[ACTORS];
    pthread_t threads[ACTORS];
    struct http_client c;

    http_client_init(&c, port);
    pthread_barrier_init(&g->begin, NULL, ACTORS + 1);
    pthread_barrier_init(&g->end, NULL, ACTORS + 1);
    for (int i = 0; i < ACTORS; i++) {
        actors[i] =
            (struct actor){.group = g, .number = i, .seed = g->seed * 31 + (unsigned)i};
        pthread_create(&threads[i], NULL, run_actor, &actors[i]);
    }
    for (int i = 0; i < g->rounds; i++) {
        make_job(&c, g);
        pthread_barrier_wait(&g->begin);
        pthread_barrier_wait(&g->end);
        struct outcome o = rest_of(&c, g->job);
        judge(g, &o);
    }
    g->over = true;
    pthread_barrier_wait(&g->begin);
    for (int i = 0; i < ACTORS; i++)
        pthread_join(threads[i], NULL);
    http_client_release(&c);
    return NULL;
}

static void *run_freezer(void *arg)
{
    const struct world *w = arg;

    while (!atomic_load(&races_are_over)) {
        kill(w->node[1], SIGSTOP);
        sleep_ms(LEASE_SECONDS * 1500);
        kill(w->node[1], SIGCONT);
        sleep_ms(500);
    }
    return NULL;
}

/* -- the sums ------------------------------------------------------------------------ */

/* In milliseconds, of 99 in a hundred aborts: from the request until it had reached the
 * code. */
static int64_t delivery_p99(struct world *w)
{
    return world_count(w, "SELECT coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY"
                          " 1000 * extract(epoch FROM delivered_at - requested_at)), 0)"
                          "::bigint FROM belay.cancellations"
                          " WHERE delivered_at IS NOT NULL");
}

/* Where no node is frozen. */
static void audit_delays(struct world *w)
{
    int64_t p99_ms = delivery_p99(w);

    world_check(w, "milliseconds until 99 % of aborts are delivered, more than 500",
                p99_ms > DELIVERY_MAX_MS ? p99_ms : 0);
    world_check_sql(w, "an abort is over within its grace and a second",
                    "SELECT count(*) FROM belay.cancellations WHERE stopped_at >"
                    " requested_at + make_interval(secs => coalesce(grace_seconds, 10)"
                    " + 1)");
    printf("figures: aborts delivered within %" PRId64 " ms (p99)\n", p99_ms);
}

static void audit(struct world *w)
{
    world_wait_quiet(w);
    world_load_lines(w);
    world_check(w, "contradictions", contradictions);
    world_check_sql(w, "every job has ended, once, or is gone",
                    "SELECT count(*) FROM belay.jobs j FULL JOIN belay.ends e USING (id)"
                    " WHERE j.id IS NULL OR e.id IS NULL");
    world_check(w, "jobs made = jobs there + jobs gone",
                made - gone - world_count(w, "SELECT count(*) FROM belay.jobs"));
    world_check(
        w, "every deleted job has one record of it",
        gone - world_count(w, "SELECT count(*) FROM belay.events WHERE type='deleted'"));
    world_check(w, "every manual retry has one record",
                retried -
                    world_count(w, "SELECT count(*) FROM belay.events"
                                   " WHERE type = 'retried' AND detail ->> 'by_hand' = "
                                   "'true'"));
    world_check(w, "every cancel has a receipt",
                cancelled > world_count(w, "SELECT count(*) FROM belay.cancellations"
                                           " WHERE outcome = 'cancelled'"));
    world_check_sql(w, "no receipt is open",
                    "SELECT count(*) FROM belay.cancellations WHERE stopped_at IS NULL");
    world_check_sql(w, "no lock is held", "SELECT count(*) FROM belay.held");
    world_check_sql(w, "no attempt was started twice",
                    "SELECT count(*) FROM (SELECT FROM lines WHERE what = 'start'"
                    " GROUP BY id, attempt HAVING count(*) > 1) x");
    world_check_sql(w, "nothing was started after the last attempt",
                    "SELECT count(*) FROM lines l JOIN belay.ends e USING (id)"
                    " WHERE l.attempt > e.attempts");
    world_check_sql(w, "what succeeded has run to its end",
                    "SELECT count(*) FROM belay.ends e JOIN belay.jobs j USING (id) JOIN"
                    " belay.tasks t ON t.id = j.task_id WHERE t.name = 'write-ledger' AND"
                    " e.status = 2 AND NOT EXISTS (SELECT FROM lines l WHERE l.id = e.id"
                    " AND l.attempt = e.attempts AND l.what = 'end')");
}

static void race(struct world *w, int rounds, unsigned seed)
{
    struct group groups[GROUPS] = {0};
    pthread_t threads[GROUPS], freezer;

    if (loses_lease)
        pthread_create(&freezer, NULL, run_freezer, w);
    for (int i = 0; i < GROUPS; i++) {
        groups[i] = (struct group){.rounds = rounds / GROUPS + (i < rounds % GROUPS),
                                   .seed = seed + (unsigned)i * 7919u};
        pthread_create(&threads[i], NULL, run_group, &groups[i]);
    }
    for (int i = 0; i < GROUPS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&races_are_over, true);
    if (loses_lease)
        pthread_join(freezer, NULL);
}

int main(int argc, char **argv)
{
    struct world w;

    if (argc < 5) {
        fprintf(stderr, "usage: races plain|lease BELAY ROUNDS SEED\n");
        return 2;
    }
    loses_lease = strcmp(argv[1], "lease") == 0;
    int rounds = (int)strtol(argv[3], NULL, 10);
    unsigned seed = (unsigned)strtoul(argv[4], NULL, 10);
    world_open(&w, argv[2]);
    if (loses_lease)
        w.concurrency = "2";
    for (int i = 0; i <= loses_lease; i++) {
        world_start_node(&w, i);
        world_wait_ready(&w, i, READY_MS);
    }
    port = world_port(&w, 0);
    race(&w, rounds, seed);
    audit(&w);
    if (!loses_lease)
        audit_delays(&w);
    for (int i = 0; i < OP_COUNT; i++)
        printf("%-14s %6d accepted %6d refused\n", operations[i].name, tally[i][1],
               tally[i][0]);
    if (loses_lease)
        printf("stale writes refused: %d\n", world_log_lines(&w, 1, "stale=true"));
    world_close(&w);
    printf("figures: %d rounds, seed %u, %d contradictions, %d checks failed\n", rounds,
           seed, contradictions, w.checks_failed);
    return w.checks_failed > 0;
}
