/* Jobs that an HTTP server does, over the real program: what the server gets, and what
 * its answers make of the job. */
#include "tests/support/cluster.h"
#include "tests/support/service.h"
#include "workers/webhook.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void receiver_open(void);
TestSuite(endpoints, .timeout = 90, .init = receiver_open, .fini = service_stop_all);

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

/* -- a server that is asked ---------------------------------------------------------- */

enum { REQUEST_MOST = 64 << 10, PATHS = 16 };

/* The last request of each path, as it came. */
static struct seen {
    char path[32], text[REQUEST_MOST];
    int times;
    bool closed; /* by the other side, while it waited for the answer */
} seen[PATHS];
static pthread_mutex_t seen_mutex = PTHREAD_MUTEX_INITIALIZER;
static int receiver_port;

/* Under seen_mutex. */
static struct seen *seen_at(const char *path)
{
    struct seen *s = seen;

    while (s->path[0] != '\0' && strcmp(s->path, path) != 0)
        s++;
    snprintf(s->path, sizeof s->path, "%s", path);
    return s;
}

static int times_seen(const char *path)
{
    pthread_mutex_lock(&seen_mutex);
    int times = seen_at(path)->times;
    pthread_mutex_unlock(&seen_mutex);
    return times;
}

static bool was_closed(const char *path)
{
    pthread_mutex_lock(&seen_mutex);
    bool closed = seen_at(path)->closed;
    pthread_mutex_unlock(&seen_mutex);
    return closed;
}

static const char *answer_of(const char *path, int times)
{
    if (strcmp(path, "/text") == 0)
        return "200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ndone";
    if (strcmp(path, "/liar") == 0)
        return "200 OK\r\nContent-Type: application/json\r\nContent-Length: "
               "4\r\n\r\n{oh}";
    if (strcmp(path, "/broken") == 0)
        return "500 Broken\r\nContent-Length: 10\r\n\r\nno storage";
    if (strcmp(path, "/later") == 0 && times == 1)
        return "503 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    if (strcmp(path, "/cancel") == 0)
        return "204 No Content\r\n\r\n";
    return "200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
           "Content-Length: 14\r\n\r\n{\"pixels\":1.0}";
}

static size_t read_request(int fd, char *text)
{
    size_t len = 0, all = REQUEST_MOST - 1;
    ssize_t n;

    while (len < all && (n = recv(fd, text + len, REQUEST_MOST - 1 - len, 0)) > 0) {
        len += (size_t)n;
        text[len] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "\r\ncontent-length:");
        if (end != NULL)
            all = (size_t)(end + 4 - text) +
                  (length != NULL ? (size_t)strtol(length + 17, NULL, 10) : 0);
    }
    return len;
}

static void *serve(void *arg)
{
    static _Thread_local char text[REQUEST_MOST], head[1024];
    int fd = (int)(intptr_t)arg;
    char path[32] = "", byte;

    if (read_request(fd, text) > 5) {
        snprintf(path, sizeof path, "%.*s", (int)strcspn(text + 5, " "), text + 5);
        pthread_mutex_lock(&seen_mutex);
        struct seen *s = seen_at(path);
        memcpy(s->text, text, sizeof text);
        int times = ++s->times;
        pthread_mutex_unlock(&seen_mutex);
        if (strcmp(path, "/hang") != 0) {
            int len = snprintf(head, sizeof head, "HTTP/1.1 %s", answer_of(path, times));
            cr_assert_eq(send(fd, head, (size_t)len, MSG_NOSIGNAL), len);
        } else if (recv(fd, &byte, 1, 0) <= 0) {
            pthread_mutex_lock(&seen_mutex);
            s->closed = true;
            pthread_mutex_unlock(&seen_mutex);
        }
    }
    close(fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    int listener = (int)(intptr_t)arg, fd;
    pthread_t thread;

    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

static void receiver_open(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    pthread_t thread;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 16), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    receiver_port = ntohs(address.sin_port);
    cr_assert_eq(pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)listener),
                 0);
}

/* -- a service that knows it --------------------------------------------------------- */

/* One endpoint, named as its path; `more` are further keys. */
static struct service *start_with(const char *path, const char *more)
{
    const char *file = scratch_path("belay.yaml");

    scratch_write(file, text_of("endpoints:\n"
                                "  - name: %s\n"
                                "    url: http://127.0.0.1:%d%s\n"
                                "    cancel_url: http://127.0.0.1:%d/cancel\n"
                                "    secret: " SECRET "\n"
                                "%s",
                                path + 1, receiver_port, path, receiver_port, more));
    return service_start(cluster_database(), text_of("--config %s", file));
}

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

#define PRIVATE "    allow_private: true\n"

static struct reply *run_one(const char *path, const char *more, const char *job)
{
    struct service *s = start_with(path, more);
    struct reply *r =
        http(s, "POST", "/jobs", "Prefer: wait=30\r\ntraceparent: " TRACE "\r\n",
             text_of("{\"task\":\"%s\"%s%s}", path + 1, job[0] != '\0' ? "," : "", job));

    expect_status(r, 201);
    return r;
}

/* The header's value in the last request of that path. */
static const char *header_of(const char *path, const char *name)
{
    const char *line = strcasestr(seen_at(path)->text, text_of("\r\n%s: ", name));

    cr_assert_not_null(line, "no %s in %s", name, seen_at(path)->text);
    line += strlen(name) + 4;
    return text_of("%.*s", (int)strcspn(line, "\r"), line);
}

static const char *body_of(const char *path)
{
    return strstr(seen_at(path)->text, "\r\n\r\n") + 4;
}

static void expect_signed(const char *path)
{
    const char *body = body_of(path);
    char signature[WEBHOOK_SIGNATURE_BYTES];
    struct webhook_key key;

    cr_assert(webhook_key_parse(SECRET, &key));
    webhook_sign(&key, header_of(path, "webhook-id"),
                 strtoll(header_of(path, "webhook-timestamp"), NULL, 10), body,
                 strlen(body), signature);
    cr_expect_str_eq(header_of(path, "webhook-signature"), signature);
}

/* -- the tests ----------------------------------------------------------------------- */

Test(endpoints, a_job_is_a_signed_post_and_a_json_body_its_result)
{
    struct reply *r = run_one("/ok", PRIVATE "    headers: [\"X-Tenant: acme\"]\n",
                              "\"args\":{\"image\": 1.10},\"queue\":\"images\"");

    expect_text(r, "status", "succeeded");
    cr_expect_str_eq(header_of("/ok", "traceparent"), TRACE);
    cr_expect_not_null(strstr(r->body, "\"result\":{\"pixels\":1.0}"), "%s", r->body);
    expect_signed("/ok");
    cr_expect_str_eq(header_of("/ok", "webhook-id"),
                     text_of("job_%s_1", reply_text(r, "id")));
    cr_expect_str_eq(header_of("/ok", "Content-Type"), "application/json");
    cr_expect_str_eq(header_of("/ok", "X-Tenant"), "acme");
    const char *body = body_of("/ok");
    json_t *message = json_loads(body, 0, NULL);
    cr_assert_not_null(message, "%s", body);
    cr_expect_not_null(strstr(body, "\"type\":\"job.run\""));
    cr_expect_not_null(strstr(body, "\"args\":{\"image\": 1.10}}}"), "%s", body);
    cr_expect_not_null(strstr(body, "\"queue\":\"images\""), "%s", body);
    json_decref(message);
}

Test(endpoints, any_other_2xx_is_a_success_without_a_result)
{
    struct reply *r = run_one("/text", PRIVATE, "");

    expect_text(r, "status", "succeeded");
    expect_text(r, "result", "null");
}

Test(endpoints, what_calls_itself_json_and_is_not_fails)
{
    struct reply *r = run_one("/liar", PRIVATE, "");

    expect_text(r, "status", "failed");
    expect_text(r, "error.kind", "bad_result");
}

Test(endpoints, another_status_fails_with_the_first_words_of_the_body)
{
    struct reply *r = run_one("/broken", PRIVATE, "");

    expect_text(r, "status", "failed");
    expect_text(r, "error.kind", "http_status");
    expect_text(r, "error.message", "the endpoint answered 500: no storage");
}

Test(endpoints, retry_after_is_a_further_attempt_with_an_id_of_its_own)
{
    struct reply *r = run_one("/later", PRIVATE, "\"max_attempts\":2");

    expect_text(r, "status", "succeeded");
    expect_text(r, "attempt", "2");
    cr_expect_eq(times_seen("/later"), 2);
    cr_expect_str_eq(header_of("/later", "webhook-id"),
                     text_of("job_%s_2", reply_text(r, "id")));
}

Test(endpoints, a_private_address_is_not_asked_unless_that_is_allowed)
{
    struct reply *r = run_one("/ok", "", "");

    expect_text(r, "status", "failed");
    expect_text(r, "error.kind", "http_error");
    cr_expect_not_null(strstr(reply_text(r, "error.message"), "not a public one"));
    cr_expect_eq(times_seen("/ok"), 0);
}

Test(endpoints, an_abort_closes_the_connection_and_tells_the_cancel_url)
{
    struct service *s = start_with("/hang", PRIVATE);
    int64_t id = put_job(s, "{\"task\":\"hang\"}");

    wait_until(times_seen("/hang") == 1);
    struct reply *r =
        http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=30&reason=enough", id);
    expect_status(r, 200);
    expect_text(r, "job.status", "aborted");
    expect_text(r, "cancellation.message",
                "the connection was closed; cancel_url answered 204");
    wait_until(was_closed("/hang"));
    expect_signed("/cancel");
    cr_expect_str_eq(header_of("/cancel", "webhook-id"), text_of("job_%ld_1_cancel", id));
    cr_expect_not_null(strstr(body_of("/cancel"), "\"type\":\"job.cancel\""));
    cr_expect_not_null(strstr(body_of("/cancel"), "\"reason\":\"enough\""));
}

Test(endpoints, a_server_that_does_not_answer_is_left_after_the_timeout)
{
    struct reply *r = run_one("/hang", PRIVATE "    timeout_seconds: 1\n", "");

    expect_text(r, "status", "failed");
    expect_text(r, "error.kind", "timeout");
    wait_until(was_closed("/hang"));
}
