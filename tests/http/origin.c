/* Which hosts and web pages are listened to. */
#include "server/core/clock.h"
#include "tests/http/peer.h"
#include "tests/http/server.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void allow(struct config *c)
{
    free(c->allowed_hosts);
    free(c->allowed_origins);
    c->allowed_hosts = strdup("belay.example, other.example,");
    c->allowed_origins = strdup("https://desk.example");
}

struct case_of {
    const char *headers;
    int status;
};

static void check(const char *method, const struct case_of *cases, size_t n)
{
    char request[512];
    struct server s;

    server_start(&s, allow);
    for (size_t i = 0; i < n; i++) {
        snprintf(request, sizeof request, "%s /hello HTTP/1.1\r\n%s\r\n", method,
                 cases[i].headers);
        struct answer a = peer_ask(s.port, request);
        cr_expect_eq(a.status, cases[i].status, "%s: %d", cases[i].headers, a.status);
    }
    server_stop(&s);
}

#define COUNT(cases) (sizeof(cases) / sizeof *(cases))

Test(origin, a_host_that_is_not_ours_is_421)
{
    static const struct case_of cases[] = {
        {"Host: localhost\r\n", 200},
        {"Host: LOCALHOST:99\r\n", 200},
        {"Host: 127.0.0.1\r\n", 200},
        {"Host: 10.1.2.3:8080\r\n", 200},
        {"Host: [::1]\r\n", 200},
        {"Host: belay.example\r\n", 200},
        {"Host: Other.Example:443\r\n", 200},
        {"Host: evil.example\r\n", 421},
        {"Host: belay.example.evil.example\r\n", 421},
        {"Host: notbelay.example\r\n", 421},
        {"Host: localhost.evil.example\r\n", 421},
        {"Host: 127.0.0.1.evil.example\r\n", 421},
        {"Host: belay\r\n", 421},
        {"Host: .\r\n", 421},
    };

    check("GET", cases, COUNT(cases));
}

Test(origin, a_page_of_another_site_changes_nothing)
{
    static const struct case_of cases[] = {
        {HOST, 200},
        {HOST "Origin: http://localhost\r\n", 200},
        {HOST "Origin: https://desk.example\r\n", 200},
        {HOST "Origin: https://desk.example\r\nSec-Fetch-Site: cross-site\r\n", 200},
        {HOST "Origin: http://localhost:3000\r\n", 403},
        {HOST "Origin: http://evil.example\r\n", 403},
        {HOST "Origin: http://desk.example\r\n", 403},
        {HOST "Origin: https://desk.example.evil.example\r\n", 403},
        {HOST "Origin: null\r\n", 403},
        {HOST "Origin:\r\n", 403},
        {HOST "Sec-Fetch-Site: cross-site\r\n", 403},
        {HOST "Sec-Fetch-Site: same-site\r\n", 403},
        {HOST "Sec-Fetch-Site: same-origin\r\n", 200},
        {HOST "Sec-Fetch-Site: none\r\n", 200},
    };

    check("DELETE", cases, COUNT(cases));
}

Test(origin, reading_is_not_refused_but_not_shared_either)
{
    static const struct case_of cases[] = {
        {HOST "Origin: http://evil.example\r\n", 200},
        {HOST "Sec-Fetch-Site: cross-site\r\n", 200},
    };
    struct server s;

    check("GET", cases, COUNT(cases));
    server_start(&s, allow);
    struct answer a = peer_ask(s.port, "GET /hello HTTP/1.1\r\n" HOST
                                       "Origin: http://evil.example\r\n\r\n");
    cr_assert_null(answer_header(&a, "Access-Control-Allow-Origin"));
    a = peer_ask(s.port,
                 "GET /hello HTTP/1.1\r\n" HOST "Origin: https://desk.example\r\n\r\n");
    cr_assert_str_eq(answer_header(&a, "Access-Control-Allow-Origin"),
                     "https://desk.example");
    cr_assert_str_eq(answer_header(&a, "Vary"), "Origin");
    cr_assert_not_null(strstr(a.head, "Access-Control-Expose-Headers: Location, ETag"));
    server_stop(&s);
}

Test(origin, a_preflight_of_an_allowed_page_is_granted)
{
    struct server s;
    struct answer a;

    server_start(&s, allow);
    a = peer_ask(s.port,
                 "OPTIONS /hello HTTP/1.1\r\n" HOST "Origin: https://desk.example\r\n"
                 "Access-Control-Request-Method: DELETE\r\n\r\n");
    cr_assert_eq(a.status, 204);
    cr_assert_str_eq(answer_header(&a, "Access-Control-Allow-Origin"),
                     "https://desk.example");
    cr_assert_not_null(strstr(a.head, "Access-Control-Allow-Methods: "));
    a = peer_ask(s.port,
                 "OPTIONS /hello HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n"
                 "Access-Control-Request-Method: DELETE\r\n\r\n");
    cr_assert_null(answer_header(&a, "Access-Control-Allow-Origin"));
    server_stop(&s);
}
