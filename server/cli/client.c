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

enum { LIMIT_MS = 30000, CONNECT_MS = 5000, STATUS_UNAVAILABLE = 503 };

void answer_release(struct answer *a)
{
    buf_release(&a->text);
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

static size_t take_bytes(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *text = arg;

    buf_add(text, bytes, size * n);
    return text->failed ? 0 : size * n;
}

static bool set_headers(const struct question *q, struct curl_slist **headers)
{
    char prefer[64];

    *headers = curl_slist_append(NULL, "Accept: application/json, application/*+json");
    if (*headers != NULL && q->body != NULL)
        *headers = curl_slist_append(*headers, "Content-Type: application/json");
    if (*headers != NULL && q->wait_seconds > 0) {
        snprintf(prefer, sizeof prefer, "Prefer: wait=%" PRId64, q->wait_seconds);
        *headers = curl_slist_append(*headers, prefer);
    }
    return *headers != NULL;
}

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
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &out->text);
    if (q->body != NULL || strcmp(q->method, "POST") == 0)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body != NULL ? q->body : "");
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
    return code;
}

/* True when the request cannot have reached the server. */
static bool was_not_sent(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
           code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL;
}

static int say_no_answer(const struct call *call, const struct question *q, CURLcode code)
{
    if (q->quiet)
        return EX_UNAVAILABLE;
    fprintf(stderr, "belay %s: no answer from %s: %s\n", call->verb->name, call->url,
            curl_easy_strerror(code));
    if (was_not_sent(code))
        fprintf(stderr, "Is `belay serve` running there? --url or BELAY_URL says where "
                        "it is.\n");
    else if (strcmp(q->method, "GET") != 0)
        fprintf(stderr, "Whether it was done is not known; `belay get` and `belay list` "
                        "tell.\n");
    return EX_UNAVAILABLE;
}

/* Numbers that int64_t cannot hold are good JSON, too: then all become floating point. */
static json_t *parse_answer(const struct buf *text)
{
    json_t *json = json_loadb(text->text, text->len, JSON_DECODE_ANY, NULL);

    return json != NULL ? json
                        : json_loadb(text->text, text->len,
                                     JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
}

int client_ask(const struct call *call, const struct question *q, struct answer *out)
{
    CLEANUP(buf_release) struct buf url = BUF_INIT;
    size_t len = strlen(call->url);

    while (len > 0 && call->url[len - 1] == '/')
        len--;
    buf_add(&url, call->url, len);
    buf_adds(&url, q->path);
    CURLcode code = perform(q, url.text, out);
    if (code != CURLE_OK)
        return say_no_answer(call, q, code);
    out->json = parse_answer(&out->text);
    if (!q->quiet && call->json && out->json != NULL)
        printf("%.*s\n", (int)out->text.len, out->text.text);
    if (out->status >= 200 && out->status < 300)
        return 0;
    if (!q->quiet)
        print_problem(call, out);
    return out->status == STATUS_UNAVAILABLE ? EX_UNAVAILABLE : 1;
}

int client_ask_job(const struct call *call, const char *rest, const struct question *q,
                   struct answer *out)
{
    CLEANUP(buf_release) struct buf path = BUF_INIT;
    struct question about = *q;
    const char *id = call->words[0];

    if (id[0] == '\0' || id[strspn(id, "0123456789")] != '\0')
        return usage_error(call, "\"%s\" is not the id of a job; it should be a number",
                           id);
    buf_addf(&path, "/jobs/%s%s", id, rest);
    about.path = path.text;
    return client_ask(call, &about, out);
}
