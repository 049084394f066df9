/* Whatever an isolated task does ends its attempt, and nothing else. */
#include "server/core/clock.h"
#include "tests/isolate/poisoned.h"
#include "tests/support/cluster.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(poison, .timeout = 170, .fini = service_stop_all);

enum { PROBE_MS = 100, ATTEMPTS = 2, GRACE_S = 1, MARGIN_S = 2 };

struct victim {
    const char *task, *kind;
    double timeout_s; /* of an attempt; 0: it ends by itself */
    int64_t id;
};

/* Processes of that name. */
static int count_processes(const char *name)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    int n = 0;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        char comm[32] = "";
        FILE *f = fopen(text_of("/proc/%s/comm", entry->d_name), "re");
        if (f == NULL)
            continue;
        if (fgets(comm, sizeof comm, f) != NULL)
            n += strncmp(comm, name, strlen(name)) == 0;
        fclose(f);
    }
    closedir(proc);
    return n;
}

static double seconds_of(const char *time)
{
    const char *clock = strchr(time, 'T');

    return clock == NULL ? 0
                         : strtod(clock + 1, NULL) * 3600 + strtod(clock + 4, NULL) * 60 +
                               strtod(clock + 7, NULL);
}

static bool has_ended(struct service *s, int64_t id)
{
    const char *status = reply_text(look_at(s, id), "status");

    return strcmp(status, "todo") != 0 && strcmp(status, "doing") != 0;
}

/* AddressSanitizer needs more address space than there is, and reads a gigabyte slowly.
 */
#ifdef __SANITIZE_ADDRESS__
#define LIMITED ""
#define DEVOUR  "abort"
#define BABBLE  "leave"
#else
#define LIMITED "--isolate-memory-mb 512"
#define DEVOUR  "devour"
#define BABBLE  "babble"
#endif

/* Asks ten times a second until all have ended. */
static void probe(struct service *s, const struct victim *victims, int n)
{
    int failed = 0, probes = 0, left = n;

    while (left > 0 && probes < 900) {
        int64_t next_ms = clock_ms() + PROBE_MS;
        failed += http_get(s, "/livez")->status != 200;
        probes++;
        left = 0;
        for (int i = 0; i < n && left == 0; i++)
            left += !has_ended(s, victims[i].id);
        if (clock_ms() < next_ms)
            sleep_ms(next_ms - clock_ms());
    }
    cr_expect_eq(failed, 0, "%d of %d probes failed", failed, probes);
    cr_expect_gt(probes, 10);
}

static void expect_end(struct service *s, const struct victim *v)
{
    struct reply *r = look_at(s, v->id);
    double took = seconds_of(reply_text(r, "finished_at")) -
                  seconds_of(reply_text(r, "started_at"));

    expect_text(r, "status", "failed");
    expect_text(r, "error.kind", v->kind);
    cr_expect_eq(reply_int(r, "attempt"), ATTEMPTS, "%s", r->body);
    if (v->timeout_s > 0)
        cr_expect_leq(took, v->timeout_s + GRACE_S + MARGIN_S, "%s: %.1f s", v->task,
                      took);
}

Test(poison, seven_kinds_and_not_one_probe_that_fails)
{
    struct victim victims[] = {
        {"segv", "crashed", 0, 0}, {"abort", "crashed", 0, 0},
        {"spin", "timeout", 1, 0}, {DEVOUR, "crashed", 0, 0},
        {"bomb", "timeout", 1, 0}, {"close_all", "disconnected", 0, 0},
        {BABBLE, "exited", 0, 0}};
    enum { N = sizeof victims / sizeof *victims };
    struct service *s =
        poisoned_start(cluster_database(), "--concurrency 4 --isolate-memory-mb 512");
    const char *name = text_of("bomb%d", (int)getpid() % 100000);

    for (int i = 0; i < N; i++)
        victims[i].id = put_job(
            s, text_of("{\"task\":\"%s\",\"max_attempts\":%d,\"args\":{\"n\":\"%s\"}}",
                       victims[i].task, ATTEMPTS, name));
    wait_until(count_processes(name) > 20);
    probe(s, victims, N);
    for (int i = 0; i < N; i++)
        expect_end(s, &victims[i]);
    cr_expect_eq(count_processes(name), 0);
    cr_expect(service_logged(s, "where it was"));
    if (strcmp(BABBLE, "babble") == 0)
        cr_expect(service_logged(s, "lines of its output were left out"));
    int64_t after = put_job(s, "{\"task\":\"pid\"}");
    wait_status(s, after, "succeeded");
}
