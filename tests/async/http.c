/* await_http(): servers that async tasks wait for. */
#include "server/core/clock.h"
#include "tests/async/harness.h"
#include "tests/async/web.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>

TestSuite(http, .init = web_open, .timeout = 60);

static int get(struct job_ctx *ctx, const char *path, struct http_answer *out)
{
    struct http_request request = {.url = web_url(path)};

    return await_http(ctx, &request, out, 10000);
}

/* -- what it answers ----------------------------------------------------------------- */

static void answers(struct job_ctx *ctx)
{
    struct http_answer answer;

    cr_expect_eq(get(ctx, "/hello", &answer), JOB_OK, "%s", answer.why);
    cr_expect_eq(answer.status, 200);
    cr_expect_str_eq(answer.body, "hello");
    cr_expect_eq(answer.body_len, 5);
    cr_expect_str_eq(http_answer_header(&answer, "x-name"), "Ada");
    cr_expect_null(http_answer_header(&answer, "x-nam"));
    cr_expect_str_eq(answer.why, "");
    http_answer_release(&answer);
    cr_expect_eq(get(ctx, "/nowhere", &answer), JOB_OK);
    cr_expect_eq(answer.status, 404);
    cr_expect_str_eq(answer.body, "");
    http_answer_release(&answer);
    cr_expect_eq(web_connections(), 1, "the connection is used again");
}
Test(http, status_headers_and_body_are_the_answer)
{
    run_async(answers);
}

static void asks(struct job_ctx *ctx)
{
    const char *headers[] = {"X-Colour: blue", "Authorization: Bearer 123", NULL};
    struct http_request request = {.url = web_url("/mirror"),
                                   .headers = headers,
                                   .body = "{\"a\":1}",
                                   .body_len = 7};
    struct http_answer answer;

    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect(strncmp(answer.body, "POST /mirror HTTP/1.1\r\n", 23) == 0);
    cr_expect(strstr(answer.body, "\r\nX-Colour: blue\r\n") != NULL);
    cr_expect(strstr(answer.body, "\r\nAuthorization: Bearer 123\r\n") != NULL);
    cr_expect(strstr(answer.body, "\r\nContent-Type: application/json\r\n") != NULL);
    cr_expect(strstr(answer.body, "\r\n\r\n{\"a\":1}") != NULL);
    cr_expect(strstr(answer.body, "Expect") == NULL);
    http_answer_release(&answer);
    request.method = "PUT";
    request.headers = (const char *[]){"content-type: text/plain", NULL};
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect(strncmp(answer.body, "PUT /mirror", 11) == 0);
    cr_expect(strstr(answer.body, "application/json") == NULL);
    http_answer_release(&answer);
    request = (struct http_request){.url = web_url("/mirror"), .method = "DELETE"};
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect(strncmp(answer.body, "DELETE /mirror", 14) == 0);
    cr_expect(strstr(answer.body, "Content-Length") == NULL);
    cr_expect(strstr(answer.body, "Authorization") == NULL, "of the request before");
    http_answer_release(&answer);
    request = (struct http_request){.url = web_url("/hello"), .method = "HEAD"};
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect_eq(answer.status, 200);
    cr_expect_str_eq(answer.body, "");
    http_answer_release(&answer);
}
Test(http, method_headers_and_body_reach_the_server)
{
    run_async(asks);
}

static void moves(struct job_ctx *ctx)
{
    struct http_request request = {.url = web_url("/moved/2")};
    struct http_answer answer;

    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect_eq(answer.status, 302);
    cr_expect_str_eq(http_answer_header(&answer, "Location"), "/moved/1");
    http_answer_release(&answer);
    request.redirects_most = 2;
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -ELOOP);
    cr_expect_neq(answer.why[0], '\0');
    http_answer_release(&answer);
    request.redirects_most = 3;
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect_eq(answer.status, 200);
    cr_expect_str_eq(answer.body, "hello");
    cr_expect_str_eq(http_answer_header(&answer, "X-Name"), "Ada", "of the last answer");
    http_answer_release(&answer);
}
Test(http, redirects_are_followed_as_far_as_was_allowed)
{
    run_async(moves);
}

static void is_limited(struct job_ctx *ctx)
{
    struct http_request request = {.url = web_url("/bytes/1048576")};
    struct http_answer answer;

    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect_eq(answer.body_len, 1 << 20);
    http_answer_release(&answer);
    request.url = web_url("/bytes/1048577");
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EMSGSIZE);
    cr_expect_eq(answer.status, 200);
    cr_expect_str_eq(answer.body, "");
    cr_expect(strstr(answer.why, "larger") != NULL, "%s", answer.why);
    http_answer_release(&answer);
    request.body_most = 2 << 20;
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    http_answer_release(&answer);
}
Test(http, a_body_over_the_limit_is_an_error_that_says_so)
{
    run_async(is_limited);
}

struct stream {
    size_t len, most;
    int pieces;
};

static bool take_piece(void *arg, const char *bytes, size_t len)
{
    struct stream *s = arg;

    cr_expect_eq(bytes[0], 'x');
    cr_expect_eq(await_sleep(NULL, 1, JOB_FOREVER), JOB_NO_ASYNC);
    s->len += len;
    s->pieces++;
    return s->len < s->most;
}

static void streams(struct job_ctx *ctx)
{
    struct stream all = {.most = SIZE_MAX}, some = {.most = 100000};
    struct http_request request = {
        .url = web_url("/bytes/5000000"), .on_body = take_piece, .arg = &all};
    struct http_answer answer;

    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    cr_expect_eq(all.len, 5000000);
    cr_expect_gt(all.pieces, 10);
    cr_expect_str_eq(answer.body, "");
    cr_expect_eq(answer.status, 200);
    http_answer_release(&answer);
    request.arg = &some;
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK, "%s", answer.why);
    cr_expect_geq(some.len, 100000);
    cr_expect_lt(some.len, 1000000);
    http_answer_release(&answer);
    request.body_most = 1000;
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EMSGSIZE);
    http_answer_release(&answer);
}
Test(http, a_body_can_be_streamed_and_left)
{
    run_async(streams);
}

/* -- what goes wrong ----------------------------------------------------------------- */

static void expect_error(struct job_ctx *ctx, const char *url, int error)
{
    struct http_request request = {.url = url, .redirects_most = 3};
    struct http_answer answer;
    int e = await_http(ctx, &request, &answer, 10000);

    cr_expect_eq(e, error, "%s: %d, %s", url, e, answer.why);
    cr_expect_neq(answer.why[0], '\0', "%s", url);
    cr_expect_str_eq(answer.body, "");
    http_answer_release(&answer);
}

static void fails(struct job_ctx *ctx)
{
    struct http_request request = {.url = web_url("/hello")};
    struct http_answer answer;

    expect_error(ctx, "http://127.0.0.1:1/", -ECONNREFUSED);
    expect_error(ctx, "http://no-such-name.invalid/", -EHOSTUNREACH);
    expect_error(ctx, web_url("/break"), -ECONNRESET);
    expect_error(ctx, "ftp://127.0.0.1/", -EINVAL);
    expect_error(ctx, "file:///etc/passwd", -EINVAL);
    expect_error(ctx, "http://[", -EINVAL);
    request.headers = (const char *[]){"X-Evil: 1\r\nX-Second: 2", NULL};
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EINVAL);
    http_answer_release(&answer);
    request.headers = (const char *[]){"no colon", NULL};
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EINVAL);
    http_answer_release(&answer);
    cr_expect_eq(get(ctx, "/hello", &answer), JOB_OK, "it goes on working");
    http_answer_release(&answer);
}
Test(http, what_goes_wrong_has_an_error_and_words)
{
    run_async(fails);
}

/* -- how it is stopped --------------------------------------------------------------- */

static int cancel_connected(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    while (web_open_connections() == 0)
        await_sleep(ctx, 2, JOB_FOREVER);
    await_sleep(ctx, 20, JOB_FOREVER);
    test_cancel();
    return 0;
}

static void closes_when_cancelled(struct job_ctx *ctx)
{
    static const char *const paths[] = {"/hang", "/drip"};
    struct http_answer answer;

    for (int i = 0; i < 2; i++) {
        await_spawn(ctx, cancel_connected, NULL);
        cr_expect_eq(get(ctx, paths[i], &answer), JOB_CANCELLED);
        http_answer_release(&answer);
        for (int looks = 0; web_open_connections() > 0 && looks < 200; looks++)
            await_sleep(ctx, 5, JOB_FOREVER);
        cr_expect_eq(web_open_connections(), 0, "%s is still connected", paths[i]);
    }
}
Test(http, a_cancel_closes_the_connection)
{
    run_async(closes_when_cancelled);
}

static int drip(struct job_ctx *ctx, void *arg)
{
    struct http_answer answer;

    (void)arg;
    cr_expect_eq(get(ctx, "/drip", &answer), JOB_CANCELLED);
    http_answer_release(&answer);
    return 0;
}

struct reaper {
    struct job_ctx *ctx;
    struct job_child *other;
};

static bool cancel_other(void *arg, const char *bytes, size_t len)
{
    const struct reaper *r = arg;

    (void)bytes, (void)len;
    await_cancel(r->ctx, r->other);
    test_cancel();
    return true;
}

static void cancels_from_a_callback(struct job_ctx *ctx)
{
    struct reaper r = {.ctx = ctx, .other = await_spawn(ctx, drip, NULL)};
    struct http_request request = {
        .url = web_url("/drip"), .on_body = cancel_other, .arg = &r};
    struct http_answer answer;

    cr_expect_eq(await_sleep(ctx, 20, JOB_FOREVER), JOB_OK);
    cr_expect_eq(await_http(ctx, &request, &answer, JOB_FOREVER), JOB_CANCELLED);
    http_answer_release(&answer);
    cr_expect_eq(await_join(ctx, r.other, NULL, JOB_FOREVER), JOB_OK);
}
Test(http, a_callback_may_cancel_others_and_itself)
{
    run_async(cancels_from_a_callback);
}

static int hello(struct job_ctx *ctx, void *arg)
{
    struct http_answer answer;
    int e = get(ctx, "/hello", &answer);

    (void)arg;
    cr_expect_str_eq(answer.body, "hello", "%s", answer.why);
    http_answer_release(&answer);
    return e;
}

static void asks_at_once(struct job_ctx *ctx)
{
    struct job_child *children[50];
    int result;

    for (int i = 0; i < 50; i++)
        children[i] = await_spawn(ctx, hello, NULL);
    for (int i = 0; i < 50; i++) {
        cr_expect_eq(await_join(ctx, children[i], &result, JOB_FOREVER), JOB_OK);
        cr_expect_eq(result, JOB_OK);
    }
}
Test(http, requests_run_beside_each_other)
{
    run_async(asks_at_once);
}

/* -- names --------------------------------------------------------------------------- */

static atomic_int lookups, lookups_done;

/* The C library's, but that "slow.test" takes three seconds. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name == NULL || strcmp(name, "slow.test") != 0)
        return real(name, service, hints, out);
    atomic_fetch_add(&lookups, 1);
    sleep_ms(3000);
    atomic_fetch_add(&lookups_done, 1);
    return EAI_NONAME;
}

static void looks_up(struct job_ctx *ctx)
{
    struct http_request request = {.url = "http://slow.test/"};
    struct http_answer answer;
    int64_t began_ms = clock_ms();

    cr_expect_eq(await_http(ctx, &request, &answer, 100), JOB_TIMEOUT);
    http_answer_release(&answer);
    cr_expect_eq(atomic_load(&lookups), 1, "libcurl has asked for it");
    cr_expect_eq(get(ctx, "/hello", &answer), JOB_OK);
    http_answer_release(&answer);
    cr_expect_lt(ms_since(began_ms), 2500, "%d ms", (int)ms_since(began_ms));
    while (atomic_load(&lookups_done) == 0)
        await_sleep(ctx, 10, JOB_FOREVER);
}
Test(http, a_name_that_is_looked_up_slowly_holds_up_nobody)
{
    run_async(looks_up);
}

/* -- only public servers ------------------------------------------------------------- */

static void asks_behind_the_wall(struct job_ctx *ctx)
{
    struct http_request request = {.url = web_url("/hello")};
    struct http_answer answer;

    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK);
    http_answer_release(&answer);
    request.public_only = true; /* the connection is still there */
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EACCES);
    cr_expect(strstr(answer.why, "not a public one") != NULL, "%s", answer.why);
    http_answer_release(&answer);
    request.url = "http://localhost:1/";
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EACCES);
    http_answer_release(&answer);
    cr_expect_eq(web_connections(), 1);
}
Test(http, a_server_that_is_not_public_is_not_asked_where_that_is_wanted)
{
    run_async(asks_behind_the_wall);
}
