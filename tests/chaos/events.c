/* events: readers follow the lives of jobs while everything else happens to them, and
 * collect each event once.
 *
 *     events MODE BELAY EVENTS SEED
 *
 *     events    two nodes under load, one of which is killed now and then; the answers of
 *               readers are cut off at a random byte, one in five, until EVENTS events
 *               have been read. Each reader goes on from the cursor of the last answer
 *               that it has had whole, at any node.
 *
 * What was collected is what the whole list says in the end: none is missing, none is
 * there twice, and each attempt is told in order. The oracle judges the rest. Exit code 1
 * and a line for each check that fails. */
#include "server/core/buf.h"
#include "server/core/clock.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/http.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    READERS = 3,
    WINDOW = 40, /* jobs of a reader that it looks at by turns */
    CUT_OF_5 = 1,
    CUT_BYTES = 1500,
    KILL_MS = 3000,
    PAUSE_MS = 1,
    PATIENCE_MS = 30000
};

/* What is known of the job of one call. */
struct life {
    char *cursor;
    struct buf told; /* an event a line: type attempt cancellation */
    int n;
};

struct reader {
    struct run *run;
    pthread_t thread;
    struct http_client http;
    unsigned dice;
    int number, n_cuts;
};

struct run {
    struct world w;
    struct clients clients;
    struct reader reader[READERS];
    struct life *lives; /* one a call; of the reader whose number its place gives */
    int wanted;
    atomic_int n_read;
    atomic_bool closing;
};

/* -- reading ------------------------------------------------------------------------- */

static size_t cut_at(char *bytes, size_t size, size_t n, void *arg)
{
    int *left = arg;

    (void)bytes;
    *left -= (int)(size * n);
    return *left > 0 ? size * n : 0;
}

/* The connection goes in the middle of the answer: nothing of it counts. */
static void read_cut(struct reader *r, const char *path)
{
    char url[4096];
    int left = rand_r(&r->dice) % CUT_BYTES;
    CURL *curl = curl_easy_init();

    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", r->http.port, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, cut_at);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &left);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, cut_at);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &left);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    r->n_cuts++;
}

/* progress is one row that changes: how much of it is seen is chance. */
static void tell(struct buf *b, int *n, const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    const json_t *of = json_object_get(json_object_get(event, "detail"), "cancellation");

    if (type == NULL || strcmp(type, "progress") == 0)
        return;
    buf_addf(b, "%s %d %d\n", type,
             (int)json_integer_value(json_object_get(event, "attempt")),
             (int)json_integer_value(of));
    ++*n;
}

/* Answers how many were new; -1: there was no answer, or the job is not there. */
static int read_on(struct reader *r, int64_t id, struct life *life, int limit)
{
    char path[4000];

    r->http.port = world_port(&r->run->w, rand_r(&r->dice) % NODES);
    snprintf(path, sizeof path, "/jobs/%" PRId64 "/events?limit=%d&cursor=%s", id, limit,
             life->cursor != NULL ? life->cursor : "");
    if (rand_r(&r->dice) % 5 < CUT_OF_5)
        read_cut(r, path);
    if (http_send(&r->http, "GET", path, NULL) != 200)
        return -1;
    json_t *doc = http_json(&r->http);
    const json_t *events = json_object_get(doc, "events");
    int before = life->n, n = (int)json_array_size(events);
    for (int i = 0; i < n; i++)
        tell(&life->told, &life->n, json_array_get(events, (size_t)i));
    free(life->cursor);
    life->cursor = strdup(json_string_value(json_object_get(doc, "next_cursor")));
    json_decref(doc);
    atomic_fetch_add(&r->run->n_read, life->n - before);
    return n;
}

static void *run_reader(void *arg)
{
    struct reader *r = arg;
    struct run *run = r->run;

    http_client_init(&r->http, 0);
    while (!atomic_load(&run->closing)) {
        int most = atomic_load(&run->clients.n_calls) / READERS;
        int least = most > WINDOW ? most - WINDOW : 0;
        for (int k = least; k < most; k++) {
            int i = k * READERS + r->number;
            const struct call *call = &run->clients.calls[i];
            if (call->kind == CALL_ENQUEUE && call->id > 0)
                (void)read_on(r, call->id, &run->lives[i], 1 + rand_r(&r->dice) % 8);
        }
        sleep_ms(PAUSE_MS);
    }
    http_client_release(&r->http);
    return NULL;
}

/* -- judging ------------------------------------------------------------------------- */

static int count_line(const char *lines, const char *line, size_t len)
{
    int n = 0;

    for (; *lines != '\0'; lines += strcspn(lines, "\n") + 1)
        n += strncmp(lines, line, len) == 0;
    return n;
}

/* Lines of one that are not as often in the other. */
static int lacking(const char *of, const char *in)
{
    int n = 0;

    for (; *of != '\0'; of += strcspn(of, "\n") + 1) {
        size_t len = strcspn(of, "\n") + 1;
        n += count_line(in, of, len) < count_line(of, of, len);
    }
    return n;
}

/* No end is told before the start of its attempt. */
static int disorder(const char *lines)
{
    static const char start[] = "started ";
    int n = 0, last = 0;

    for (; *lines != '\0'; lines += strcspn(lines, "\n") + 1) {
        if (strncmp(lines, start, sizeof start - 1) != 0)
            continue;
        int attempt = (int)strtol(lines + sizeof start - 1, NULL, 10);
        n += attempt <= last;
        last = attempt;
    }
    return n;
}

/* A start is told when a worker has claimed the job; it may give it back, and then
 * nothing has begun. Told once it may have been, and it is no more. */
static int withdrawn(const char *told, const char *whole)
{
    static const char start[] = "started ";
    int n = 0;

    for (; *told != '\0'; told += strcspn(told, "\n") + 1) {
        size_t len = strcspn(told, "\n") + 1;
        n += strncmp(told, start, sizeof start - 1) == 0 &&
             count_line(whole, told, len) == 0;
    }
    return n;
}

struct verdict {
    int jobs, missing, twice, withdrawn, disorder;
};

static void judge_life(struct reader *r, int64_t id, struct life *life, struct verdict *v)
{
    struct life whole = {.told = BUF_INIT};
    int64_t end_ms = clock_ms() + PATIENCE_MS;

    for (int n = 1; n != 0 && clock_ms() < end_ms;)
        n = read_on(r, id, life, 100);
    for (int n = 1; n != 0 && clock_ms() < end_ms;)
        n = read_on(r, id, &whole, 200);
    int missing = lacking(whole.told.text, life->told.text);
    int gone = withdrawn(life->told.text, whole.told.text);
    int twice = lacking(life->told.text, whole.told.text) - gone;
    if ((missing > 0 || twice > 0) && v->missing + v->twice < 3)
        printf("job %" PRId64 ", collected:\n%s-- and it is:\n%s", id, life->told.text,
               whole.told.text);
    v->jobs++;
    v->missing += missing;
    v->twice += twice;
    v->withdrawn += gone;
    v->disorder += disorder(life->told.text);
    buf_release(&whole.told);
    free(whole.cursor);
}

static void judge(struct run *run)
{
    struct verdict v = {.jobs = 0};
    struct reader last = {.run = run, .dice = 1};
    int cuts = 0;

    http_client_init(&last.http, 0);
    for (int i = 0; i < run->clients.n_calls; i++) {
        const struct call *call = &run->clients.calls[i];
        if (call->kind == CALL_ENQUEUE && call->fate == FATE_ACCEPTED)
            judge_life(&last, call->id, &run->lives[i], &v);
    }
    http_client_release(&last.http);
    for (int i = 0; i < READERS; i++)
        cuts += run->reader[i].n_cuts;
    world_check(&run->w, "no event is missing", v.missing);
    world_check(&run->w, "none is there twice, or is no more", v.twice);
    world_check(&run->w, "starts are told in the order of attempts", v.disorder);
    world_check(&run->w, "events were read while jobs ran: else nothing was tested",
                cuts == 0 || run->n_read < run->wanted);
    printf("figures: %d events of %d jobs read, %d answers cut off; %d missing, %d double"
           ", %d out of order, %d starts taken back\n",
           run->n_read, v.jobs, cuts, v.missing, v.twice, v.disorder, v.withdrawn);
}

/* -- all ----------------------------------------------------------------------------- */

static void start(struct run *run, unsigned seed)
{
    for (int i = 0; i < NODES; i++)
        world_start_node(&run->w, i);
    for (int i = 0; i < NODES; i++)
        world_wait_ready(&run->w, i, READY_MS);
    run->lives = malloc(CALLS_MAX * sizeof *run->lives);
    if (run->lives == NULL)
        die("events", "out of memory");
    for (int i = 0; i < CALLS_MAX; i++)
        run->lives[i] = (struct life){.told = BUF_INIT};
    clients_start(&run->clients, world_port(&run->w, 0), seed);
    for (int i = 0; i < READERS; i++) {
        struct reader *r = &run->reader[i];
        *r = (struct reader){.run = run, .dice = seed + (unsigned)i, .number = i};
        pthread_create(&r->thread, NULL, run_reader, r);
    }
}

static int break_things(struct run *run)
{
    int kills = 0;

    while (atomic_load(&run->n_read) < run->wanted) {
        int victim = (int)(random() % NODES);
        sleep_ms(KILL_MS / 2 + random() % KILL_MS);
        atomic_store(&run->clients.port, world_port(&run->w, 1 - victim));
        world_end_node(&run->w, victim, SIGKILL);
        world_start_node(&run->w, victim);
        world_wait_ready(&run->w, victim, READY_MS);
        kills++;
    }
    return kills;
}

int main(int argc, char **argv)
{
    static struct run run;

    if (argc < 5 || strcmp(argv[1], "events") != 0) {
        fprintf(stderr, "usage: events events BELAY EVENTS SEED\n");
        return 2;
    }
    run.wanted = (int)strtol(argv[3], NULL, 10);
    unsigned seed = (unsigned)strtoul(argv[4], NULL, 10);
    srandom(seed);
    world_open(&run.w, argv[2]);
    start(&run, seed);
    int kills = break_things(&run);
    clients_stop(&run.clients);
    atomic_store(&run.closing, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(run.reader[i].thread, NULL);
    world_wait_quiet(&run.w);
    judge(&run);
    clients_audit(&run.clients, &run.w, kills);
    world_close(&run.w);
    printf("seed %s, %d checks failed\n", argv[4], run.w.checks_failed);
    return run.w.checks_failed > 0;
}
