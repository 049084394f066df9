/* The message is the same for every attempt but for its id and time, and goes out as an
 * async task: a thousand endpoints that take their time cost a thousand small stacks. An
 * abort closes the connection, which is all that HTTP has to say "stop" with; a server
 * that wants to hear it in words declares a cancel_url. Rejected: a thread of the pool
 * for each call, and an answer that comes later by a call back (the server would have to
 * know where we are, and a lost call would be a job that hangs). */
#include "workers/endpoint.h"

#include "workers/declaration_base.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    SECONDS_MAX = 86400, /* of Retry-After */
    HEADERS_MOST = 64,
    SIGNED_HEADERS = 3,
    OWN_HEADERS = 6, /* and the NULL at the end */
    ID_BYTES = 80,
    SAID_BYTES = 200, /* of a body that goes into an error's message */
    CANCEL_MS = 5000, /* that the cancel_url has to answer */
};

/* -- what is declared ---------------------------------------------------------------- */

static bool is_http(const char *url)
{
    return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

/* The first line of the file. */
static bool read_secret(const char *path, char *out, int size, struct buf *why)
{
    FILE *in = fopen(path, "re");
    bool good = in != NULL && fgets(out, size, in) != NULL;

    if (!good)
        buf_addf(why, "secret_file %s: %s", path,
                 in == NULL ? strerror(errno) : "is empty");
    else
        out[strcspn(out, "\r\n")] = '\0';
    if (in != NULL)
        fclose(in);
    return good;
}

static bool take_key(struct endpoint *e, const char *file, struct buf *why)
{
    char from_file[256] = "";
    const char *secret = e->secret;

    if ((e->secret == NULL) == (e->secret_file == NULL)) {
        buf_adds(why, "it should have one of secret: and secret_file:, with whsec_ and "
                      "24 to 64 bytes in base64; `echo whsec_$(openssl rand -base64 24)`"
                      " makes one");
        return false;
    }
    if (e->secret_file != NULL) {
        if (!declaration_make_absolute(&e->secret_file, file) ||
            !read_secret(e->secret_file, from_file, sizeof from_file, why))
            return false;
        secret = from_file;
    }
    e->key = calloc(1, sizeof *e->key);
    if (e->key == NULL)
        return false;
    if (!webhook_key_parse(secret, e->key))
        buf_adds(why, "the secret should be whsec_ and 24 to 64 bytes in base64");
    return why->len == 0;
}

static bool check_headers(const struct endpoint *e, struct buf *why)
{
    for (uint32_t i = 0; i < e->headers_count; i++) {
        const char *h = e->headers[i], *colon = strchr(h, ':');
        if (colon != NULL && colon != h && h[strcspn(h, "\r\n")] == '\0' &&
            strncasecmp(h, "webhook-", 8) != 0)
            continue;
        buf_addf(why, "headers: %s; it should be \"Name: value\", and none of webhook-*",
                 h);
        return false;
    }
    return true;
}

bool endpoint_check(struct endpoint *e, const char *file, struct buf *why)
{
    if (!is_http(e->url) || (e->cancel_url != NULL && !is_http(e->cancel_url))) {
        buf_addf(why, "%s: it should begin with http:// or https://",
                 is_http(e->url) ? "cancel_url" : "url");
        return false;
    }
    return check_headers(e, why) && take_key(e, file, why);
}

/* -- a message ----------------------------------------------------------------------- */

struct message {
    struct buf body;
    char headers[SIGNED_HEADERS][ID_BYTES + WEBHOOK_SIGNATURE_BYTES];
    char trace[80];
    const char *list[HEADERS_MOST + OWN_HEADERS];
};

/* {"type":"job.run","timestamp":"2026-11-24T10:00:00Z","data":{"id":33,"task":"x",
 * "queue":"default","attempt":1,"max_attempts":3 -- and what follows. */
static void begin_body(struct buf *b, struct job_ctx *ctx, const char *type, time_t now)
{
    char at[32];
    struct tm tm;

    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    buf_addf(b, "{\"type\":\"%s\",\"timestamp\":\"%s\",\"data\":{\"id\":%" PRId64, type,
             at, job_id(ctx));
    buf_addf(b, ",\"task\":\"%s\",\"queue\":", job_task(ctx)->name);
    buf_add_json_string(b, job_queue(ctx), strlen(job_queue(ctx)));
    buf_addf(b, ",\"attempt\":%d,\"max_attempts\":%d", job_attempt(ctx),
             job_max_attempts(ctx));
}

/* Signs the body, and lists the headers: ours, then those that are declared. */
static void seal(struct message *m, struct job_ctx *ctx, const char *suffix, time_t now)
{
    const struct endpoint *e = job_task(ctx)->data;
    char id[ID_BYTES], signature[WEBHOOK_SIGNATURE_BYTES];
    int n = 0;

    snprintf(id, sizeof id, "job_%" PRId64 "_%d%s", job_id(ctx), job_attempt(ctx),
             suffix);
    webhook_sign(e->key, id, now, m->body.len > 0 ? m->body.text : "", m->body.len,
                 signature);
    snprintf(m->headers[0], sizeof m->headers[0], "webhook-id: %s", id);
    snprintf(m->headers[1], sizeof m->headers[1], "webhook-timestamp: %" PRId64,
             (int64_t)now);
    snprintf(m->headers[2], sizeof m->headers[2], "webhook-signature: %s", signature);
    for (size_t i = 0; i < sizeof m->headers / sizeof *m->headers; i++)
        m->list[n++] = m->headers[i];
    m->list[n++] = "Content-Type: application/json";
    if (job_traceparent(ctx) != NULL) {
        snprintf(m->trace, sizeof m->trace, "traceparent: %s", job_traceparent(ctx));
        m->list[n++] = m->trace;
    }
    for (uint32_t i = 0; i < e->headers_count; i++)
        m->list[n++] = e->headers[i];
    m->list[n] = NULL;
}

static int post(struct job_ctx *ctx, const char *url, const struct message *m,
                struct http_answer *answer, int64_t timeout_ms)
{
    const struct endpoint *e = job_task(ctx)->data;
    struct http_request request = {.url = url,
                                   .headers = m->list,
                                   .body = m->body.text,
                                   .body_len = m->body.len,
                                   .public_only = !e->allow_private};

    return await_http(ctx, &request, answer, timeout_ms);
}

/* -- what came of it ----------------------------------------------------------------- */

/* Seconds that the server asks us to wait; < 0: it does not say. */
static double retry_after(const struct http_answer *answer)
{
    const char *value = http_answer_header(answer, "Retry-After");
    struct tm tm = {.tm_isdst = 0};
    char *end;

    if (value == NULL)
        return -1;
    double seconds = strtod(value, &end);
    if (end == value) {
        if (strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
            return -1;
        seconds = difftime(timegm(&tm), time(NULL));
    }
    return seconds < 0 ? 0 : seconds < SECONDS_MAX ? seconds : SECONDS_MAX;
}

static bool is_json(const struct http_answer *answer)
{
    const char *type = http_answer_header(answer, "Content-Type");
    size_t len = type != NULL ? strcspn(type, "; ") : 0;

    return (len == 16 && strncasecmp(type, "application/json", len) == 0) ||
           (len > 5 && strncasecmp(type + len - 5, "+json", 5) == 0);
}

static enum job_result judge(struct job_ctx *ctx, const struct http_answer *answer)
{
    double seconds = retry_after(answer);
    int status = answer->status;

    if (status >= 200 && status < 300)
        return answer->body_len > 0 && is_json(answer)
                   ? job_ok_text(ctx, answer->body, (int64_t)answer->body_len)
                   : job_ok(ctx);
    if ((status == 429 || status == 503) && seconds >= 0)
        return job_retry_in(ctx, seconds, "the endpoint answered %d, Retry-After %.0f s",
                            status, seconds);
    return job_failed(ctx, "http_status", "the endpoint answered %d%s%.*s", status,
                      answer->body_len > 0 ? ": " : "", SAID_BYTES, answer->body);
}

/* The connection is closed. Who wants to know in words is told, once. */
static enum job_result abort_elsewhere(struct job_ctx *ctx)
{
    const struct endpoint *e = job_task(ctx)->data;
    struct message m = {.body = BUF_INIT};
    struct http_answer answer = {.status = 0};
    struct abort_info info = {.reason = "", .actor = ""};
    time_t now = time(NULL);

    if (e->cancel_url == NULL)
        return job_aborted(ctx, "the connection was closed");
    job_abort_info(ctx, &info);
    begin_body(&m.body, ctx, "job.cancel", now);
    buf_adds(&m.body, ",\"reason\":");
    buf_add_json_string(&m.body, info.reason, strlen(info.reason));
    buf_adds(&m.body, ",\"actor\":");
    buf_add_json_string(&m.body, info.actor, strlen(info.actor));
    buf_adds(&m.body, "}}");
    seal(&m, ctx, "_cancel", now);
    int error =
        m.body.failed ? -ENOMEM : post(ctx, e->cancel_url, &m, &answer, CANCEL_MS);
    enum job_result result =
        error == JOB_OK
            ? job_aborted(ctx, "the connection was closed; cancel_url answered %d",
                          answer.status)
            : job_aborted(ctx, "the connection was closed; cancel_url: %s",
                          answer.why[0] != '\0' ? answer.why : "no answer");
    http_answer_release(&answer);
    buf_release(&m.body);
    return result;
}

static enum job_result run(struct job_ctx *ctx)
{
    const struct endpoint *e = job_task(ctx)->data;
    struct message m = {.body = BUF_INIT};
    struct http_answer answer = {.status = 0};
    enum job_result result;
    time_t now = time(NULL);

    begin_body(&m.body, ctx, "job.run", now);
    buf_addf(&m.body, ",\"args\":%s}}", job_args(ctx));
    seal(&m, ctx, "", now);
    int error = m.body.failed ? -ENOMEM : post(ctx, e->url, &m, &answer, JOB_FOREVER);
    if (error == JOB_OK)
        result = judge(ctx, &answer);
    else if (error == JOB_CANCELLED)
        result = abort_elsewhere(ctx);
    else
        result = job_failed(ctx, "http_error", "%s",
                            answer.why[0] != '\0' ? answer.why : strerror(-error));
    http_answer_release(&answer);
    buf_release(&m.body);
    return result;
}

struct task endpoint_task(const struct endpoint *e)
{
    return (struct task){.name = e->name,
                         .kind = TASK_ASYNC,
                         .run = run,
                         .description = e->description,
                         .max_attempts = e->max_attempts,
                         .grace_seconds = e->grace_seconds,
                         .timeout_seconds = e->timeout_seconds > 0 ? e->timeout_seconds
                                                                   : ENDPOINT_TIMEOUT_S,
                         .delete_policy = e->delete_policy,
                         .data = e,
                         .retry = declared_retry_strategy(e->retry)};
}
