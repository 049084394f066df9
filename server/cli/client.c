/* libcurl's easy interface, one handle a question: a process asks one or two and ends.
 *
 * A transport failure is told apart by whether the request can have been acted upon: the
 * words must not say "failed" of a cancel that may have been recorded. A proxy of the
 * environment is not asked about this machine itself: a health check inside a container
 * must not leave it. */
#include "server/cli/client.h"

#include "server/cli/print.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

enum {
    LIMIT_MS = 30000,
    CONNECT_MS = 5000,
    RETRY_MS = 500,
    KEY_MAX = 255,
    STATUS_OK = 200,
    STATUS_UNAVAILABLE = 503
};

void answer_release(struct answer *a)
{
    buf_release(&a->document);
    json_decref(a->json);
    a->json = NULL;
}

static void release_curl(CURL **curl)
{
    curl_easy_cleanup(*curl);
}

static void release_headers(struct curl_slist **headers)
{
    curl_slist_free_all(*headers);
}

void client_escape(struct buf *out, const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);

    buf_adds(out, escaped != NULL ? escaped : "");
    curl_free(escaped);
}

/* Less than what came makes libcurl give up with CURLE_WRITE_ERROR. */
static size_t take_bytes(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *text = arg;

    buf_add(text, bytes, size * n);
    return text->failed ? 0 : size * n;
}

bool client_is_key(const char *text)
{
    size_t len = 0;

    while (text[len] > ' ' && text[len] <= '~')
        len++;
    return text[len] == '\0' && len >= 1 && len <= KEY_MAX;
}

/* Belay's own problem documents are application/problem+json. */
static bool set_headers(const struct question *q, struct curl_slist **headers)
{
    char prefer[64], key[sizeof "Idempotency-Key: " + KEY_MAX];

    *headers = curl_slist_append(NULL, "Accept: application/json, application/*+json");
    if (*headers != NULL && q->body != NULL)
        *headers = curl_slist_append(*headers, "Content-Type: application/json");
    if (*headers != NULL && q->key != NULL) {
        snprintf(key, sizeof key, "Idempotency-Key: %s", q->key);
        *headers = curl_slist_append(*headers, key);
    }
    if (*headers != NULL && q->wait_seconds > 0) {
        snprintf(prefer, sizeof prefer, "Prefer: wait=%" PRId64, q->wait_seconds);
        *headers = curl_slist_append(*headers, prefer);
    }
    return *headers != NULL;
}

/* The deadline grows with the wait that was asked for: the server may use all of it. Only
 * http and https: BELAY_URL must not be a way to read files. */
static void set_options(CURL *curl, const struct question *q, const char *url,
                        struct answer *out)
{
    int64_t limit = q->limit_ms > 0 ? q->limit_ms : LIMIT_MS;

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "belay/" BELAY_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(limit < CONNECT_MS ? limit : CONNECT_MS));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                     (long)(limit + q->wait_seconds * MS_PER_SECOND));
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &out->document);
    if (q->body != NULL || strcmp(q->method, "POST") == 0)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body != NULL ? q->body : "");
}

/* Preference-Applied: wait=N */
static int64_t granted_wait(CURL *curl)
{
    struct curl_header *header;

    if (curl_easy_header(curl, "Preference-Applied", 0, CURLH_HEADER, -1, &header) !=
            CURLHE_OK ||
        strncmp(header->value, "wait=", 5) != 0)
        return 0;
    return strtoll(header->value + 5, NULL, 10);
}

static CURLcode perform(const struct question *q, const char *url, struct answer *out)
{
    CLEANUP(release_curl) CURL *curl = curl_easy_init();
    CLEANUP(release_headers) struct curl_slist *headers = NULL;
    CURLcode code;

    if (curl == NULL || !set_headers(q, &headers))
        return CURLE_OUT_OF_MEMORY;
    set_options(curl, q, url, out);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
    out->waited_seconds = granted_wait(curl);
    return code;
}

/* True when the request cannot have reached the server. */
static bool was_not_sent(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
           code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL;
}

static void explain_no_answer(const struct call *call, const struct question *q,
                              CURLcode code, struct buf *why)
{
    buf_addf(why, "no answer from %s: %s", call->url, curl_easy_strerror(code));
    if (was_not_sent(code))
        buf_adds(why,
                 "\nIs `belay serve` running there? --url or BELAY_URL says where it "
                 "is.");
    else if (q->key != NULL)
        buf_adds(why, "\nWhether it was done is not known; with the same key it can be "
                      "repeated.");
    else if (strcmp(q->method, "GET") != 0)
        buf_adds(why, "\nWhether it was done is not known; `belay get` and `belay list` "
                      "tell.");
}

/* Numbers that int64_t cannot hold are good JSON, too: then all become floating point. */
static json_t *parse_answer(const struct buf *text)
{
    json_t *json = json_loadb(text->text, text->len, JSON_DECODE_ANY, NULL);

    return json != NULL ? json
                        : json_loadb(text->text, text->len,
                                     JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
}

bool client_exchange(const struct call *call, const struct question *q,
                     struct answer *out, struct buf *why)
{
    CLEANUP(buf_release) struct buf url = BUF_INIT;
    size_t len = strlen(call->url);

    while (len > 0 && call->url[len - 1] == '/')
        len--;
    buf_add(&url, call->url, len);
    buf_adds(&url, q->path);
    CURLcode code = perform(q, url.text, out);
    if (code != CURLE_OK) {
        explain_no_answer(call, q, code, why);
        return false;
    }
    out->json = parse_answer(&out->document);
    return true;
}

/* 503 is the server's way to say what no server at all means: not now, later. */
int client_report(const struct call *call, const struct answer *a)
{
    if (call->json && a->json != NULL) {
        fwrite(a->document.text, 1, a->document.len, stdout);
        putchar('\n');
    }
    if (a->status >= 200 && a->status < 300)
        return 0;
    print_problem(call, a);
    return a->status == STATUS_UNAVAILABLE ? EX_UNAVAILABLE : 1;
}

int client_say_no_answer(const struct call *call, const struct buf *why)
{
    fprintf(stderr, "belay %s: %s\n", call->verb->name, why->text);
    return EX_UNAVAILABLE;
}

int client_ask(const struct call *call, const struct question *q, struct answer *out)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;

    return client_exchange(call, q, out, &why) ? client_report(call, out)
                                               : client_say_no_answer(call, &why);
}

int client_ask_job(const struct call *call, const char *rest, const struct question *q,
                   struct answer *out)
{
    CLEANUP(buf_release) struct buf path = BUF_INIT;
    struct question about = *q;
    int64_t id;

    if (!call_job_id(call, &id))
        return 2;
    buf_addf(&path, "/jobs/%" PRId64 "%s", id, rest);
    about.path = path.text;
    return client_ask(call, &about, out);
}

/* -- waiting ------------------------------------------------------------------------- */

/* An error ends the wait as well; what it is, is reported. */
static bool goes_on(const struct answer *a)
{
    const char *status = json_text(a->json, "status");

    return a->status == STATUS_OK &&
           (strcmp(status, "todo") == 0 || strcmp(status, "doing") == 0);
}

int client_ask_end(const struct call *call, int64_t job_id, int64_t seconds,
                   struct answer *out)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT, path = BUF_INIT;
    int64_t end_ms = clock_ms() + seconds * MS_PER_SECOND,
            left_ms = seconds * MS_PER_SECOND;
    struct question q = {.method = "GET"};

    buf_addf(&path, "/jobs/%" PRId64, job_id);
    q.path = path.text;
    for (;;) { /* ends at end_ms, or when client_exchange() has its deadline */
        q.wait_seconds = (left_ms + MS_PER_SECOND - 1) / MS_PER_SECOND;
        answer_release(out);
        if (!client_exchange(call, &q, out, &why))
            return client_say_no_answer(call, &why);
        left_ms = end_ms - clock_ms();
        if (!goes_on(out) || left_ms <= 0)
            return client_report(call, out);
        if (out->waited_seconds <=
            0) /* a server that does not wait is not to be flooded */
            sleep_ms(left_ms < RETRY_MS ? left_ms : RETRY_MS);
    }
}
