/* races: claim against cancel against abort against delete against retry, and no answer
 * that the end contradicts.
 *
 *     races PORT ROUNDS SEED
 *
 * A round makes one job (that is over at once, in some milliseconds, fails, or would run
 * for long) and lets three actors fall upon it at random moments, each with one random
 * operation. When the job has come to rest, what each actor was told is held against the
 * job's end. Four groups of three actors run side by side. A contradiction is printed
 * with all that was said, and the exit code is 1. */
#include "tests/chaos/http.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GROUPS = 4, ACTORS = 3, DELAY_MAX_US = 4000 };

enum operation { OP_CANCEL, OP_ABORT, OP_DELETE, OP_DELETE_ABORT, OP_RETRY, OP_COUNT };

static const char *const operation_names[] = {"cancel", "abort", "delete", "delete?abort",
                                              "retry"};

struct said {
    enum operation operation;
    long status;
    char result[64]; /* the answer's `result`, or the problem's `code` */
};

struct group {
    int number, rounds;
    unsigned seed;
    int64_t job;
    bool over;
    pthread_barrier_t begin, end;
    struct said said[ACTORS];
};

static int port;
static atomic_int contradictions, tally[OP_COUNT][2];

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u +
            1013904223u; /* Numerical Recipes' LCG: the same seed, the same run */
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
    static const char *const methods[] = {"POST", "POST", "DELETE", "DELETE", "POST"};
    static const char *const tails[] = {"/cancel", "/cancel?abort=true", "",
                                        "?abort=true", "/retry"};
    struct said *said = &a->group->said[a->number];
    char path[128];

    said->operation = next_random(&a->seed) % OP_COUNT;
    usleep(next_random(&a->seed) % DELAY_MAX_US);
    snprintf(path, sizeof path, "/jobs/%" PRId64 "%s", a->group->job,
             tails[said->operation]);
    said->status = http_send(c, methods[said->operation], path, NULL);
    http_member(c, said->status < 400 ? "result" : "code", said->result,
                sizeof said->result);
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

/* -- the judgement ------------------------------------------------------------------- */

struct outcome {
    char status[32]; /* "gone" when there is no such job */
    int attempt;
};

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* What may have become of the job after an answer, where no retry followed. */
static const struct rule {
    const char *result;
    const char *may_be[5]; /* "gone" is always possible: a delete came after */
    const char *words;
} rules[] = {
    {"cancelled", {"cancelled"}, "said that it will never start"},
    {"aborting",
     {"aborted", "failed", "succeeded", "cancelled"},
     "said that it is being stopped"},
    {"already_cancelled", {"cancelled"}, "said that it was cancelled"},
    {"already_aborted", {"aborted"}, "said that it was aborted"},
    {"job-finished", {"succeeded", "failed"}, "said that it had finished"},
    {"job-not-found", {NULL}, "said that there is no such job"},
};

static bool rule_holds(const struct rule *r, const struct outcome *o)
{
    if (is(r->result, "cancelled") && o->attempt != 0)
        return false;
    for (const char *const *status = r->may_be; *status != NULL; status++)
        if (is(*status, o->status))
            return true;
    return false;
}

static bool said_that_it_is_gone(const struct said *s)
{
    return s->status == 204 || s->status == 202 || s->status == 404;
}

/* What one answer rules out. NULL: nothing. */
static const char *contradiction_of(const struct said *s, const struct outcome *o)
{
    bool gone = is(o->status, "gone");

    if (s->status == 0 || s->status >= 500)
        return "no answer, or 5xx";
    if (s->operation == OP_DELETE || s->operation == OP_DELETE_ABORT)
        return said_that_it_is_gone(s) && !gone ? "deleted, and still there" : NULL;
    for (size_t i = 0; !gone && i < sizeof rules / sizeof rules[0]; i++)
        if (is(s->result, rules[i].result) && !rule_holds(&rules[i], o))
            return rules[i].words;
    return NULL;
}

static const char *contradiction_in(const struct group *g, const struct outcome *o)
{
    int cancelled = 0, retried = 0;
    const char *why = NULL;

    for (int i = 0; i < ACTORS; i++) {
        cancelled += is(g->said[i].result, "cancelled");
        retried += g->said[i].operation == OP_RETRY && g->said[i].status == 200;
    }
    if (is(o->status, "todo") || is(o->status, "doing"))
        return "did not come to rest";
    if (cancelled > 1 + retried)
        return "cancelled twice";
    for (int i = 0; i < ACTORS && why == NULL; i++) {
        if (retried == 0 || g->said[i].status == 0 || g->said[i].status >= 500)
            why = contradiction_of(&g->said[i], o);
    }
    return why;
}

static void judge(struct group *g, const struct outcome *o)
{
    const char *why = contradiction_in(g, o);

    if (why == NULL)
        return;
    atomic_fetch_add(&contradictions, 1);
    printf("job %" PRId64 " is %s after attempt %d, but somebody %s:\n", g->job,
           o->status, o->attempt, why);
    for (int i = 0; i < ACTORS; i++)
        printf("    %s -> %ld %s\n", operation_names[g->said[i].operation],
               g->said[i].status, g->said[i].result);
}

/* -- rounds -------------------------------------------------------------------------- */

static int64_t make_job(struct http_client *c, unsigned *seed)
{
    static const char *const jobs[] = {
        "{\"task\":\"echo\"}",
        "{\"task\":\"sleep\",\"args\":{\"seconds\":0.002}}",
        "{\"task\":\"sleep\",\"args\":{\"seconds\":0.1}}",
        "{\"task\":\"fail\",\"args\":{\"times\":1},\"max_attempts\":2}",
        "{\"task\":\"fail\",\"args\":{\"times\":9}}",
        "{\"task\":\"echo\",\"delay_seconds\":0.003}",
        "{\"task\":\"sleep\",\"args\":{\"seconds\":0.003},\"lock\":\"races\"}",
    };
    const char *body = jobs[next_random(seed) % (sizeof jobs / sizeof *jobs)];

    if (http_send(c, "POST", "/jobs", body) != 201) {
        fprintf(stderr, "races: POST /jobs %s: %s\n", body,
                c->text != NULL ? c->text : "no answer");
        exit(1);
    }
    json_t *job = http_json(c);
    int64_t id = json_integer_value(json_object_get(job, "id"));
    json_decref(job);
    return id;
}

static struct outcome rest_of(struct http_client *c, int64_t job)
{
    struct outcome o = {.status = "gone"};
    char path[64];

    snprintf(path, sizeof path, "/jobs/%" PRId64 "?wait=10", job);
    if (http_send(c, "GET", path, NULL) != 200)
        return o;
    json_t *doc = http_json(c);
    o.attempt = (int)json_integer_value(json_object_get(doc, "attempt"));
    json_decref(doc);
    http_member(c, "status", o.status, sizeof o.status);
    return o;
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
        g->job = make_job(&c, &g->seed);
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

int main(int argc, char **argv)
{
    struct group groups[GROUPS] = {0};
    pthread_t threads[GROUPS];

    if (argc < 4) {
        fprintf(stderr, "usage: races PORT ROUNDS SEED\n");
        return 2;
    }
    port = (int)strtol(argv[1], NULL, 10);
    int rounds = (int)strtol(argv[2], NULL, 10);
    unsigned seed = (unsigned)strtoul(argv[3], NULL, 10);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (int i = 0; i < GROUPS; i++) {
        groups[i] = (struct group){.number = i,
                                   .rounds = rounds / GROUPS + (i < rounds % GROUPS),
                                   .seed = seed + (unsigned)i * 7919u};
        pthread_create(&threads[i], NULL, run_group, &groups[i]);
    }
    for (int i = 0; i < GROUPS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < OP_COUNT; i++)
        printf("%-14s %6d accepted %6d refused\n", operation_names[i], tally[i][1],
               tally[i][0]);
    printf("%d rounds, seed %u, %d contradictions\n", rounds, seed, contradictions);
    return contradictions > 0;
}
