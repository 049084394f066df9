/* One request: its settings for libcurl, what comes back, and what its end means.
 *
 * The body and the head are collected by libcurl's callbacks on the loop's stack, so the
 * coroutine's holds no buffer. What libcurl says in a code becomes one of a few errno
 * values, for programs; its words are kept for people. */
#include "server/core/buf.h"
#include "workers/async/address.h"
#include "workers/async/http_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { BODY_MOST = 1 << 20, HEAD_MOST = 64 << 10 };

/* On the coroutine's stack. */
struct exchange {
    struct http_transfer transfer; /* first */
    struct coroutine *co;
    struct http_client *client;
    const struct http_request *request;
    struct http_answer *answer;
    struct curl_slist *headers;
    struct buf head, body;
    size_t body_most, received;
    bool too_large, enough, refused;
    int why; /* it was stopped */
    CURLcode code;
};

/* -- what comes back ----------------------------------------------------------------- */

/* Lines of all answers, those to redirects included; each begins with its status. */
static size_t on_head(char *bytes, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    size_t len = size * n, kept = len;

    if (len > 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        buf_clear(&x->head);
        return len;
    }
    while (kept > 0 && strchr("\r\n \t", bytes[kept - 1]) != NULL)
        kept--;
    if (kept == 0)
        return len;
    buf_add(&x->head, bytes, kept);
    buf_addc(&x->head, '\0');
    x->too_large = x->head.len > HEAD_MOST;
    return x->too_large ? 0 : len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    const struct http_request *request = x->request;
    size_t len = size * n;

    x->received += len;
    if (x->body_most > 0 && x->received > x->body_most) {
        x->too_large = true;
        return 0;
    }
    if (request->on_body == NULL) {
        buf_add(&x->body, bytes, len);
        return x->body.failed ? 0 : len;
    }
    x->enough = !request->on_body(request->arg, bytes, len);
    return x->enough ? 0 : len;
}

/* -- what is asked ------------------------------------------------------------------- */

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

/* "Name: value" and no second line in it. libcurl sends a header without a value only
 * with a semicolon for the colon. */
static int add_headers(struct exchange *x)
{
    const char *const *h = x->request->headers;
    bool typed = x->request->body == NULL;

    for (; h != NULL && *h != NULL; h++) {
        const char *colon = strchr(*h, ':');
        if (colon == NULL || colon == *h || strpbrk(*h, "\r\n") != NULL)
            return -EINVAL;
        typed = typed || strncasecmp(*h, "content-type:", 13) == 0;
        if (!add_header(&x->headers, *h))
            return JOB_NO_MEMORY;
    }
    if (!typed && !add_header(&x->headers, "Content-Type: application/json"))
        return JOB_NO_MEMORY;
    /* It would make a server wait that does not know 100-continue. */
    return add_header(&x->headers, "Expect:") ? JOB_OK : JOB_NO_MEMORY;
}

/* With a method of its own libcurl keeps it across redirects, as it should not with POST.
 */
static void set_method(CURL *easy, const struct http_request *request)
{
    const char *usual = request->body != NULL ? "POST" : "GET";
    const char *method = request->method != NULL ? request->method : usual;

    if (request->body != NULL || strcmp(method, "POST") == 0) {
        usual = "POST";
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)request->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         request->body != NULL ? request->body : "");
    }
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(method, usual) != 0)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

/* -- only public servers ------------------------------------------------------------- */

/* The address is the one that is connected to: a name that points elsewhere by now does
 * not get past it. */
static curl_socket_t open_public(void *arg, curlsocktype purpose,
                                 struct curl_sockaddr *address)
{
    struct exchange *x = arg;

    (void)purpose;
    x->refused = !address_is_public(&address->addr);
    return x->refused ? CURL_SOCKET_BAD
                      : socket(address->family, address->socktype | SOCK_CLOEXEC,
                               address->protocol);
}

/* A connection that is used again was perhaps opened by a request that may do more. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's signature */
static int check_public(void *arg, char *address, char *own, int port, int own_port)
{
    struct exchange *x = arg;

    (void)own;
    (void)port;
    (void)own_port;
    x->refused = !address_text_is_public(address);
    return x->refused ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void only_public(struct exchange *x)
{
    curl_easy_setopt(x->transfer.easy, CURLOPT_OPENSOCKETFUNCTION, open_public);
    curl_easy_setopt(x->transfer.easy, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(x->transfer.easy, CURLOPT_PREREQFUNCTION, check_public);
    curl_easy_setopt(x->transfer.easy, CURLOPT_PREREQDATA, x);
}

static int set_up(struct exchange *x)
{
    const struct http_request *request = x->request;
    CURL *easy = x->transfer.easy;
    int e = add_headers(x);

    if (e != JOB_OK)
        return e;
    if (curl_easy_setopt(easy, CURLOPT_URL, request->url) != CURLE_OK)
        return JOB_NO_MEMORY;
    set_method(easy, request);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "belay/" BELAY_VERSION);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, request->redirects_most > 0 ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)request->redirects_most);
    if (request->public_only)
        only_public(x);
    if (request->ca_file != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, x->answer->why);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &x->transfer);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* A thread that looks up a name for nobody is not waited for. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    return JOB_OK;
}

/* -- the end ------------------------------------------------------------------------- */

static int meaning_of(CURLcode code)
{
    static const struct {
        CURLcode code;
        int meaning;
    } table[] = {
        {CURLE_OK, JOB_OK},
        {CURLE_UNSUPPORTED_PROTOCOL, -EINVAL},
        {CURLE_URL_MALFORMAT, -EINVAL},
        {CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH},
        {CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH},
        {CURLE_COULDNT_CONNECT, -ECONNREFUSED},
        {CURLE_OPERATION_TIMEDOUT, -EHOSTUNREACH}, /* libcurl's own, of a connect */
        {CURLE_OUT_OF_MEMORY, JOB_NO_MEMORY},
        {CURLE_ABORTED_BY_CALLBACK, JOB_NO_MEMORY},
        {CURLE_TOO_MANY_REDIRECTS, -ELOOP},
        {CURLE_GOT_NOTHING, -ECONNRESET},
        {CURLE_SEND_ERROR, -ECONNRESET},
        {CURLE_RECV_ERROR, -ECONNRESET},
        {CURLE_PARTIAL_FILE, -ECONNRESET},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].code == code)
            return table[i].meaning;
    }
    return -EPROTO;
}

static void on_end(struct http_transfer *t, CURLcode code)
{
    struct exchange *x = (struct exchange *)(void *)t;
    long status = 0;
    int e = meaning_of(code);

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    x->answer->status = (int)status;
    x->code = code;
    if (x->why != JOB_OK)
        e = x->why;
    else if (x->refused)
        e = -EACCES;
    else if (x->too_large)
        e = -EMSGSIZE;
    else if (x->enough)
        e = JOB_OK;
    else if (x->body.failed || x->head.failed)
        e = JOB_NO_MEMORY;
    coroutine_wake(x->co, e);
}

static void stop(void *arg, int why)
{
    struct exchange *x = arg;

    if (x->why == JOB_OK)
        x->why = why;
    http_client_end(x->client, &x->transfer);
}

/* -- the answer ---------------------------------------------------------------------- */

static char *take_text(struct buf *b, size_t *out_len)
{
    *out_len = b->len;
    return b->len > 0 ? buf_detach(b) : buf_empty;
}

static void finish(struct exchange *x, int e)
{
    struct http_answer *out = x->answer;
    const char *words = curl_easy_strerror(x->code);

    if (e == JOB_OK) {
        out->body = take_text(&x->body, &out->body_len);
        out->head = take_text(&x->head, &out->head_len);
        words = "";
    } else if (e == -EMSGSIZE) {
        words = "the answer is larger than it may be";
    } else if (e == -EACCES) {
        words = "refused: the address of the server is not a public one";
    } else if (out->why[0] != '\0' || e == x->why) {
        return;
    }
    snprintf(out->why, sizeof out->why, "%s", words);
}

int await_http(struct job_ctx *ctx, const struct http_request *request,
               struct http_answer *out, int64_t timeout_ms)
{
    struct exchange x = {.transfer = {.ended = on_end},
                         .co = coroutine_self(),
                         .request = request,
                         .answer = out,
                         .head = BUF_INIT,
                         .body = BUF_INIT,
                         .body_most = request->body_most};
    int e = await_begin(ctx);

    *out = (struct http_answer){.body = buf_empty, .head = buf_empty};
    if (e != JOB_OK)
        return e;
    if (request->body_most == 0 && request->on_body == NULL)
        x.body_most = BODY_MOST;
    x.client = http_client_of(coroutine_loop(x.co));
    x.transfer.easy = x.client != NULL ? http_client_easy(x.client) : NULL;
    if (x.transfer.easy == NULL)
        return JOB_NO_MEMORY;
    e = set_up(&x);
    if (e == JOB_OK && !http_client_start(x.client, &x.transfer))
        e = JOB_NO_MEMORY;
    if (e == JOB_OK) {
        e = await_park(ctx, stop, &x, timeout_ms);
        finish(&x, e);
    }
    http_client_give_back(x.client, x.transfer.easy);
    curl_slist_free_all(x.headers);
    buf_release(&x.head);
    buf_release(&x.body);
    return e;
}

const char *http_answer_header(const struct http_answer *answer, const char *name)
{
    size_t len = strlen(name);
    const char *line = answer->head, *end = answer->head + answer->head_len;

    for (; line < end; line += strlen(line) + 1) {
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " \t");
    }
    return NULL;
}

void http_answer_release(struct http_answer *answer)
{
    if (answer->body != buf_empty)
        free(answer->body);
    if (answer->head != buf_empty)
        free(answer->head);
    answer->body = answer->head = buf_empty;
    answer->body_len = answer->head_len = 0;
}
