/* One request and its answer, as a client sees them. */
#include "server/core/clock.h"
#include "tests/http/peer.h"
#include "tests/http/server.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JSON "Content-Type: application/json\r\n"

/* The `code` of a problem document, which must be one. */
static const char *code_of(const struct answer *a)
{
    static char code[64];
    json_t *problem = json_loadb(a->body, a->body_len, JSON_REJECT_DUPLICATES, NULL);

    cr_assert_not_null(problem, "not JSON: %s", a->body);
    cr_assert_str_eq(answer_header(a, "Content-Type"), "application/problem+json");
    cr_assert_eq(json_integer_value(json_object_get(problem, "status")), a->status);
    snprintf(code, sizeof code, "%s",
             json_string_value(json_object_get(problem, "code")));
    json_decref(problem);
    return code;
}

static int status_of(int port, const char *request)
{
    return peer_ask(port, request).status;
}

Test(exchange, head_is_get_without_the_body)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    peer_say(fd, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n");
    cr_assert(peer_hear_head(fd, &a));
    cr_assert_eq(a.status, 200);
    cr_assert_str_eq(answer_header(&a, "Content-Length"), "14");
    peer_say(fd, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    cr_assert(peer_hear(fd, &a), "a body came, or nothing");
    cr_assert_str_eq(a.body, "{\"hello\":true}");
    peer_say(fd, "HEAD /nothing HTTP/1.1\r\n" HOST "\r\n");
    cr_assert(peer_hear_head(fd, &a));
    cr_assert_eq(a.status, 404);
    cr_assert(peer_is_cut(fd));
    close(fd);
    server_stop(&s);
}

Test(exchange, another_method_of_a_known_path_is_405_and_says_which_there_are)
{
    struct server s;

    server_start(&s, NULL);
    struct answer a = peer_ask(s.port, "PATCH /hello HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_eq(a.status, 405);
    cr_assert_str_eq(answer_header(&a, "Allow"), "GET, HEAD, DELETE");
    cr_assert_str_eq(code_of(&a), "method-not-allowed");
    a = peer_ask(s.port, "PATCH /nothing HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_eq(a.status, 404);
    cr_assert_str_eq(code_of(&a), "route-not-found");
    server_stop(&s);
}

Test(exchange, only_the_path_itself_is_found)
{
    static const char *const absent[] = {"/",
                                         "/hello/",
                                         "//hello",
                                         "/Hello",
                                         "/hello/../hello",
                                         "/things",
                                         "/things/",
                                         "/things/1/2",
                                         "/things/0",
                                         "/things/-1",
                                         "/things/1e3",
                                         "/things/033",
                                         "/things/9007199254740992",
                                         "/things/%31"};
    char request[128];
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "\r\n", absent[i]);
        cr_expect_eq(status_of(s.port, request), 404, "%s", absent[i]);
    }
    cr_assert_eq(
        status_of(s.port, "GET /things/9007199254740991 HTTP/1.1\r\n" HOST "\r\n"), 200);
    server_stop(&s);
}

Test(exchange, a_tag_that_the_client_has_is_304)
{
    static const struct {
        const char *given;
        int status;
    } cases[] = {
        {"\"33-7\"", 304},
        {"W/\"33-7\"", 304},
        {"*", 304},
        {"\"a\", \"33-7\"", 304},
        {"\"a\",W/\"33-7\",\"b\"", 304},
        {"\"33-70\"", 200},
        {"\"133-7\"", 200},
        {"33-7", 200},
        {"\"a\"\"33-7", 200},
        {"\"33", 200},
        {"\"33-7\" *", 304},
        {", \"33-7\"", 200},
        {"", 200},
    };
    char request[160];
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(request, sizeof request,
                 "GET /etag HTTP/1.1\r\n" HOST "If-None-Match: %s\r\n\r\n",
                 cases[i].given);
        struct answer a = peer_ask(s.port, request);
        cr_expect_eq(a.status, cases[i].status, "%s: %d", cases[i].given, a.status);
        cr_expect_str_eq(answer_header(&a, "ETag"), "\"33-7\"");
        cr_expect_eq(a.body_len, a.status == 304 ? 0u : 9u);
    }
    server_stop(&s);
}

Test(exchange, the_body_is_asked_for_when_the_client_expects_that)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    peer_say(fd, "POST /echo HTTP/1.1\r\n" HOST JSON
                 "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    cr_assert(peer_hear(fd, &a));
    cr_assert_eq(a.status, 100);
    peer_say(fd, "{}");
    cr_assert(peer_hear(fd, &a));
    cr_assert_eq(a.status, 200);
    close(fd);
    fd = peer_dial(s.port);
    peer_say(fd, "POST /echo HTTP/1.1\r\n" HOST JSON
                 "Content-Length: 20000000\r\nExpect: 100-continue\r\n\r\n");
    cr_assert(peer_hear(fd, &a));
    cr_assert_eq(a.status, 413, "%d", a.status);
    cr_assert(peer_is_cut(fd));
    close(fd);
    server_stop(&s);
}

Test(exchange, the_clients_own_request_id_is_kept_where_it_is_sane)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    a = peer_ask(s.port, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: a-b.C_9\r\n\r\n");
    cr_assert_str_eq(answer_header(&a, "X-Request-Id"), "a-b.C_9");
    a = peer_ask(s.port, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: a b\r\n\r\n");
    cr_assert_str_neq(answer_header(&a, "X-Request-Id"), "a b");
    a = peer_ask(s.port, "GET /nothing HTTP/1.1\r\n" HOST "X-Request-Id: mine\r\n\r\n");
    cr_assert_not_null(strstr(a.body, "\"request_id\":\"mine\""));
    server_stop(&s);
}

Test(exchange, a_body_has_to_be_json_and_to_be_there)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\n" HOST JSON "Content-Length: 2\r\n\r\n{}", 200},
        {"POST /echo HTTP/1.1\r\n" HOST
         "Content-Type: Application/JSON;charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
         200},
        {"POST /echo HTTP/1.1\r\n" HOST "\r\n", 200},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", 415},
        {"POST /echo HTTP/1.1\r\n" HOST
         "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
         415},
        {"POST /echo HTTP/1.1\r\n" HOST
         "Content-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}",
         415},
        {"POST /required HTTP/1.1\r\n" HOST "\r\n", 400},
        {"POST /required HTTP/1.1\r\n" HOST JSON "Content-Length: 0\r\n\r\n", 400},
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(status_of(s.port, cases[i].request), cases[i].status, "%s",
                     cases[i].request);
    server_stop(&s);
}

/* An option in it would be passed over, and the answer would say 200. */
Test(exchange, a_body_is_refused_where_none_is_read_unless_it_says_nothing)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"DELETE /hello HTTP/1.1\r\n" HOST JSON
         "Content-Length: 14\r\n\r\n{\"abort\":true}",
         400},
        {"DELETE /hello HTTP/1.1\r\n" HOST JSON "Content-Length: 4\r\n\r\nnull", 400},
        {"DELETE /hello HTTP/1.1\r\n" HOST "Content-Length: 7\r\n\r\nabort=1", 400},
        {"DELETE /hello HTTP/1.1\r\n" HOST JSON "Content-Length: 3\r\n\r\n{ }", 200},
        {"DELETE /hello HTTP/1.1\r\n" HOST "\r\n", 200},
        {"GET /hello HTTP/1.1\r\n" HOST JSON "Content-Length: 14\r\n\r\n{\"abort\":true}",
         200},
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(status_of(s.port, cases[i].request), cases[i].status, "%s",
                     cases[i].request);
    struct answer a = peer_ask(s.port, cases[0].request);
    cr_expect_str_eq(code_of(&a), "bad-request");
    cr_expect_not_null(strstr(a.body, "hello takes no body"), "%s", a.body);
    server_stop(&s);
}

Test(exchange, a_query_has_the_documented_parameters_once_and_in_utf8)
{
    static const struct {
        const char *query, *body; /* NULL: 400 */
    } cases[] = {
        {"", "|-1|0"},
        {"?text=a%20b+c", "a b c|-1|0"},
        {"?text=%c3%a9%c3%a9%c3%a9%c3%a9%c3%a9%c3%a9%c3%a9%c3%a9",
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9|-1|0"},
        {"?n=7&flag=true&text=x", "x|7|1"},
        {"?flag=1", "|-1|1"},
        {"?flag=0", "|-1|0"},
        {"?text=", "|-1|0"},
        {"?text=123456789", NULL},
        {"?text=a&text=b", NULL},
        {"?TEXT=a", NULL},
        {"?text", NULL},
        {"?text=%ff", NULL},
        {"?text=%ed%a0%80", NULL},
        {"?text=%c0%80", NULL},
        {"?%ff=1", NULL},
        {"?other=1", NULL},
        {"?n=10", NULL},
        {"?n=-1", NULL},
        {"?n=1x", NULL},
        {"?n=", NULL},
        {"?n=99999999999999999999", NULL},
        {"?flag=yes", NULL},
    };
    char request[256];
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(request, sizeof request, "GET /query%s HTTP/1.1\r\n" HOST "\r\n",
                 cases[i].query);
        struct answer a = peer_ask(s.port, request);
        cr_expect_eq(a.status, cases[i].body != NULL ? 200 : 400, "%s: %d",
                     cases[i].query, a.status);
        if (cases[i].body != NULL)
            cr_expect_str_eq(a.body, cases[i].body);
        else
            cr_expect_str_eq(code_of(&a), "bad-query");
    }
    server_stop(&s);
}

Test(exchange, a_number_with_a_plus_or_a_space_is_not_a_number)
{
    struct server s;

    server_start(&s, NULL);
    cr_expect_eq(status_of(s.port, "GET /query?n=%2b7 HTTP/1.1\r\n" HOST "\r\n"), 400);
    cr_expect_eq(status_of(s.port, "GET /query?n=%207 HTTP/1.1\r\n" HOST "\r\n"), 400);
    server_stop(&s);
}

/* What we echo comes from outside, and may be cut in the middle of a character. */
Test(exchange, a_problem_is_json_whatever_it_quotes)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    a = peer_ask(s.port, "POST /echo HTTP/1.1\r\n" HOST
                         "Content-Type: \"\xff\xc3\r\nContent-Length: 2\r\n\r\n{}");
    cr_assert_str_eq(code_of(&a), "unsupported-media-type");
    a = peer_ask(s.port,
                 "DELETE /hello HTTP/1.1\r\n" HOST "Origin: \xf0\x9f\x98\r\n\r\n");
    cr_assert_str_eq(code_of(&a), "forbidden-origin");
    server_stop(&s);
}

Test(exchange, prefer_wait_is_read_as_rfc_7240_says)
{
    static const struct {
        const char *prefer, *applied;
    } cases[] = {
        {"wait=0", "wait=0"},      {"respond-async, wait=0", "wait=0"},
        {"wait=0; foo", "wait=0"}, {"WAIT=0", "wait=0"},
        {"wait=x", NULL},          {"wait=-1", NULL},
        {"respond-async", NULL},   {"nowait=0", NULL},
    };
    char request[160];
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(request, sizeof request,
                 "GET /wait HTTP/1.1\r\n" HOST "Prefer: %s\r\n\r\n", cases[i].prefer);
        struct answer a = peer_ask(s.port, request);
        const char *applied = answer_header(&a, "Preference-Applied");
        cr_expect_eq(a.status, 200);
        cr_expect(applied == cases[i].applied ||
                      (applied != NULL && cases[i].applied != NULL &&
                       strcmp(applied, cases[i].applied) == 0),
                  "%s: %s", cases[i].prefer, applied);
    }
    server_stop(&s);
}

Test(exchange, a_large_answer_arrives_whole)
{
    struct server s;

    server_start(&s, NULL);
    struct answer a = peer_ask(s.port, "GET /big?n=3000000 HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_eq(a.body_len, 3000000u);
    for (size_t i = 0; i < a.body_len; i++)
        cr_assert_eq(a.body[i], 'b');
    server_stop(&s);
}

Test(exchange, a_document_that_memory_ran_out_for_is_no_success)
{
    struct server s;

    server_start(&s, NULL);
    struct answer a = peer_ask(s.port, "GET /half HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_eq(a.status, 503);
    cr_assert_not_null(strstr(a.body, "\"code\":\"no-memory\""));
    server_stop(&s);
}

Test(exchange, an_address_that_is_taken_is_told_of_with_the_remedy)
{
    struct server s;
    struct buf why = BUF_INIT;
    struct http *second = NULL;

    server_start(&s, NULL);
    s.config.port = s.port;
    struct http_options options = {.config = &s.config};
    cr_assert_eq(http_open(&options, &second, &why), ERR_CONFIG);
    cr_assert_null(second);
    cr_assert_not_null(strstr(why.text, "Address already in use; choose another --port"));
    buf_release(&why);
    server_stop(&s);
}
