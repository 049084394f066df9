/* memory: each allocation fails in turn while a request is answered.
 *
 *     memory MODE BELAY STEP SEED
 *
 *     memory    for each operation: its request is sent again and again, and the n-th
 *               allocation of the node fails meanwhile, for n = 1, 1 + STEP, ... until a
 *               request is over before its n-th
 *
 * The requests are those of tests/fuzz/api.corpus, one an operation. The node has to
 * live, and to answer rightly, with 500 or 503, or by closing the connection; and what it
 * calls created has to be there. Exit code 1 and a line for each check that fails. */
#include "server/core/clock.h"
#include "tests/chaos/http.h"
#include "tests/chaos/memory_shim.h"
#include "tests/chaos/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQUEST_BYTES = 4096, ANSWER_MS = 6000, N_MAX = 3000, JOBS = 40, LIES_SHOWN = 5 };

static const char corpus[] = "tests/fuzz/api.corpus";

struct run {
    struct world w;
    struct http_client http;
    struct memory_control *control;
    char shim[PATH_MAX], path[128];
    int step, requests, failures, deaths, late, odd, lies;
    int closed, unavailable, internal;
};

struct request {
    char name[64], method[16], target[512], body[REQUEST_BYTES];
};

static void load(struct request *r, const char *name)
{
    char path[512], text[REQUEST_BYTES] = "";

    snprintf(path, sizeof path, "%s/%s", corpus, name);
    FILE *f = fopen(path, "r");
    if (f == NULL || fread(text, 1, sizeof text - 1, f) == 0)
        die(path, "cannot be read");
    fclose(f);
    snprintf(r->name, sizeof r->name, "%s", name);
    const char *target = strchr(text, ' ');
    if (target == NULL)
        die(path, "is no request");
    snprintf(r->method, sizeof r->method, "%.*s", (int)(target - text), text);
    target++;
    snprintf(r->target, sizeof r->target, "%.*s", (int)strcspn(target, "\n"), target);
    const char *body = strstr(text, "\n\n");
    snprintf(r->body, sizeof r->body, "%s", body != NULL ? body + 2 : "");
}

/* -- one request --------------------------------------------------------------------- */

static bool has_died(struct run *r)
{
    return waitpid(r->w.node[0], NULL, WNOHANG) == r->w.node[0];
}

static void look_for_death(struct run *r, const struct request *q, int n)
{
    if (!has_died(r))
        return;
    printf("%s: the node died of its allocation %d\n", q->name, n);
    r->deaths++;
    world_start_node(&r->w, 0);
}

/* It may die a moment after it has answered, too. */
static void wait_until_ready(struct run *r, const struct request *q, int n)
{
    int64_t end_ms = clock_ms() + READY_MS;

    while (http_send(&r->http, "GET", "/readyz", NULL) != 200) {
        look_for_death(r, q, n);
        if (clock_ms() > end_ms)
            die(q->name, "the node is not ready again");
        sleep_ms(5);
    }
}

static bool is_there(struct run *r, int64_t id)
{
    char path[64];

    snprintf(path, sizeof path, "/jobs/%" PRId64, id);
    for (int i = 0; i < 100; i++) {
        long status = http_send(&r->http, "GET", path, NULL);
        if (status == 200 || status == 404)
            return status == 200;
        sleep_ms(50);
    }
    return false;
}

/* The ids of a 201 are jobs. */
static void look_for_lies(struct run *r, const struct request *q, int n)
{
    json_t *doc = http_json(&r->http);
    const json_t *ids = json_object_get(doc, "ids");
    int64_t id =
        json_integer_value(ids != NULL ? json_array_get(ids, json_array_size(ids) - 1)
                                       : json_object_get(doc, "id"));

    json_decref(doc);
    if (strncmp(q->name, "createJob", 9) != 0 || is_there(r, id))
        return;
    r->lies++;
    printf("%s: 201 with allocation %d failing, and there is no job %" PRId64 "\n",
           q->name, n, id);
}

static void judge(struct run *r, const struct request *q, long status, int n)
{
    r->closed += status == 0;
    r->unavailable += status == 503;
    r->internal += status == 500;
    if (status > 500 && status != 503) {
        r->odd++;
        printf("%s: %ld with allocation %d failing\n", q->name, status, n);
    }
    if (status == 201)
        look_for_lies(r, q, n);
}

/* True when the request was over before its n-th allocation. */
static bool send_failing(struct run *r, const struct request *q, int n)
{
    int64_t begin_ms = clock_ms();

    atomic_store(&r->control->failed, 0);
    atomic_store(&r->control->countdown, n);
    long status =
        http_send(&r->http, q->method, q->target, q->body[0] != '\0' ? q->body : NULL);
    atomic_store(&r->control->countdown, 0);
    bool failed = atomic_load(&r->control->failed) > 0;
    int64_t ms = clock_ms() - begin_ms;
    if (ms > ANSWER_MS) {
        r->late++;
        printf("%s: %" PRId64 " ms with allocation %d failing\n", q->name, ms, n);
    }
    r->failures += failed;
    if (failed)
        judge(r, q, status, n);
    look_for_death(r, q, n);
    if (status == 0 || status >= 500)
        wait_until_ready(r, q, n);
    return !failed && status != 0 && status != 503;
}

static void try_request(struct run *r, const char *name)
{
    struct request q;
    int n = 1;

    load(&q, name);
    while (n < N_MAX && !send_failing(r, &q, n))
        n += r->step;
    r->requests++;
    printf("%s: %d allocations\n", q.name, n);
}

/* -- all ----------------------------------------------------------------------------- */

static void open_control(struct run *r)
{
    snprintf(r->path, sizeof r->path, "%s/memory", r->w.directory);
    int fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof *r->control) != 0)
        die(r->path, "cannot be made");
    r->control =
        mmap(NULL, sizeof *r->control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (r->control == MAP_FAILED)
        die(r->path, "cannot be mapped");
    snprintf(r->shim, sizeof r->shim, "%.*s/chaos/memory_shim.so",
             (int)(strrchr(r->w.belay, '/') - r->w.belay), r->w.belay);
    setenv("CHAOS_MEMORY", r->path, 1);
    r->w.preload = r->shim;
}

static void put_jobs(struct run *r)
{
    for (int i = 0; i < JOBS; i++)
        (void)http_send(&r->http, "POST", "/jobs", "{\"task\":\"echo\"}");
}

static void try_all(struct run *r)
{
    struct dirent **names;
    int n = scandir(corpus, &names, NULL, alphasort);

    if (n <= 0)
        die(corpus, "has no requests");
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.')
            try_request(r, names[i]->d_name);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    static struct run r;

    if (argc < 5 || strcmp(argv[1], "memory") != 0) {
        fprintf(stderr, "usage: memory memory BELAY STEP SEED\n");
        return 2;
    }
    r.step = (int)strtol(argv[3], NULL, 10);
    world_open(&r.w, argv[2]);
    open_control(&r);
    r.w.more[0] = "--concurrency";
    r.w.more[1] = "0";
    r.w.more[2] = "--wait-max-seconds";
    r.w.more[3] = "1";
    world_start_node(&r.w, 0);
    world_wait_ready(&r.w, 0, READY_MS);
    http_client_init(&r.http, world_port(&r.w, 0));
    put_jobs(&r);
    try_all(&r);
    http_client_release(&r.http);
    world_check(&r.w, "the node lives", r.deaths);
    world_check(&r.w, "every call is over within 6 s", r.late);
    world_check(&r.w, "no answer is odd", r.odd);
    world_check(&r.w, "what was called created is there", r.lies);
    world_check(&r.w, "allocations failed: else nothing was tested", r.failures < 100);
    printf("figures: %d requests, %d allocations failed: %d answers 503, %d 500, %d"
           " connections closed; %d deaths\n",
           r.requests, r.failures, r.unavailable, r.internal, r.closed, r.deaths);
    world_close(&r.w);
    printf("seed %s, %d checks failed\n", argv[4], r.w.checks_failed);
    return r.w.checks_failed > 0;
}
