/* latency: how long a user waits for a job to start, and for a running task to see an
 * abort.
 *
 *     latency start ROUNDS PORT             from the POST being sent to the task's first
 * instruction latency abort ROUNDS PORT CANCEL_PORT from the cancel being sent to the
 * task's seeing it; the job runs on the node at PORT, the cancel goes to the node at
 * CANCEL_PORT
 *
 * One client, one keep-alive connection a node, one job at a time, with a pause between:
 * an idle service. The far end of each interval is what the service itself records
 * (started_at, acknowledged_at: PostgreSQL's clock), the near end is this program's wall
 * clock; both are the clock of the one machine. Prints one line of JSON. */
#include <curl/curl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_US = 5000, TIMEOUT_S = 15 };

struct answer {
    char text[65536];
    size_t len;
};

struct client {
    CURL *curl;
    int port;
    struct answer answer;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "latency: %s: %s\n", what, detail);
    exit(1);
}

static int64_t wall_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* 2026-11-23T20:00:00.123456Z -> microseconds since 1970. */
static int64_t us_of(const char *text)
{
    struct tm tm = {.tm_isdst = 0};
    const char *rest = text != NULL ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    if (rest == NULL || *rest != '.')
        die("not a time", text != NULL ? text : "null");
    return (int64_t)timegm(&tm) * 1000000 + strtol(rest + 1, NULL, 10);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;

    if (a->len + size * n >= sizeof a->text)
        return 0;
    memcpy(a->text + a->len, bytes, size * n);
    a->len += size * n;
    a->text[a->len] = '\0';
    return size * n;
}

/* Sends, and returns the answer as JSON (yours to json_decref). body NULL: GET. */
static json_t *call(struct client *c, const char *path, const char *body)
{
    char url[256];
    struct curl_slist *headers =
        curl_slist_append(NULL, "Content-Type: application/json");

    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", c->port, path);
    c->answer.len = 0;
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->answer);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, body != NULL ? headers : NULL);
    if (body != NULL)
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
    else
        curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    CURLcode code = curl_easy_perform(c->curl);
    if (code != CURLE_OK)
        die(url, curl_easy_strerror(code));
    curl_slist_free_all(headers);
    json_t *doc = json_loadb(c->answer.text, c->answer.len, 0, NULL);
    if (doc == NULL)
        die(url, c->answer.text);
    return doc;
}

static int64_t post_job(struct client *c, const char *body)
{
    json_t *job = call(c, "/jobs", body);
    int64_t id = json_integer_value(json_object_get(job, "id"));

    if (id == 0)
        die("POST /jobs", c->answer.text);
    json_decref(job);
    return id;
}

static int64_t start_round(struct client *runs)
{
    char path[64];
    int64_t sent_us = wall_us(), id = post_job(runs, "{\"task\":\"echo\"}");

    snprintf(path, sizeof path, "/jobs/%" PRId64 "?wait=5", id);
    json_t *job = call(runs, path, NULL);
    int64_t took = us_of(json_string_value(json_object_get(job, "started_at"))) - sent_us;
    json_decref(job);
    return took;
}

static void wait_until_doing(struct client *c, int64_t id)
{
    char path[64];

    snprintf(path, sizeof path, "/jobs/%" PRId64, id);
    for (int i = 0; i < 2000; i++) {
        json_t *job = call(c, path, NULL);
        const char *status = json_string_value(json_object_get(job, "status"));
        bool doing = status != NULL && strcmp(status, "doing") == 0;
        json_decref(job);
        usleep(PAUSE_US);
        if (doing)
            return;
    }
    die("a job did not start", path);
}

static int64_t abort_round(struct client *runs, struct client *cancels)
{
    char path[96];
    int64_t id = post_job(runs, "{\"task\":\"sleep\",\"args\":{\"seconds\":60}}");

    wait_until_doing(runs, id);
    snprintf(path, sizeof path, "/jobs/%" PRId64 "/cancel?abort=true&wait=5", id);
    int64_t sent_us = wall_us();
    json_t *doc = call(cancels, path, "{}");
    json_t *receipt = json_object_get(doc, "cancellation");
    const char *seen = json_string_value(json_object_get(receipt, "acknowledged_at"));
    if (seen == NULL)
        die("no acknowledged_at", cancels->answer.text);
    int64_t took = us_of(seen) - sent_us;
    json_decref(doc);
    return took;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: latency start|abort ROUNDS PORT [CANCEL_PORT]\n");
        return 2;
    }
    static struct client runs, cancels;
    int rounds = (int)strtol(argv[2], NULL, 10);
    int64_t *us = calloc((size_t)rounds + 1, sizeof *us);

    runs.port = (int)strtol(argv[3], NULL, 10);
    cancels.port = argc > 4 ? (int)strtol(argv[4], NULL, 10) : runs.port;
    runs.curl = curl_easy_init();
    cancels.curl = curl_easy_init();
    if (us == NULL || rounds < 1 || runs.curl == NULL || cancels.curl == NULL)
        die("start", "out of memory, or no rounds");
    for (int i = 0; i < rounds; i++) {
        us[i] = strcmp(argv[1], "start") == 0 ? start_round(&runs)
                                              : abort_round(&runs, &cancels);
        usleep(PAUSE_US);
    }
    qsort(us, (size_t)rounds, sizeof *us, compare);
    printf("{\"rounds\":%d,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n", rounds,
           (double)us[rounds / 2] / 1e3, (double)us[rounds * 99 / 100] / 1e3,
           (double)us[rounds - 1] / 1e3);
    curl_easy_cleanup(runs.curl);
    curl_easy_cleanup(cancels.curl);
    free(us);
    return 0;
}
