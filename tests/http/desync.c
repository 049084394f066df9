/* Requests that two readers of HTTP could read differently (tests/http/vectors). Each is
 * followed by a request that must never be executed: the oracle is one answer with the
 * status of the file (0: none at all), the end of the connection, and a handler that was
 * not called. Where the file says so, the next request must be answered instead, and the
 * body before it, which looks like one, must not. */
#include "server/core/clock.h"
#include "server/http/private.h"
#include "tests/http/peer.h"
#include "tests/http/server.h"
#include "tests/http/vector.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VECTORS_MIN = 150 };

#define SMUGGLED "GET /smuggled HTTP/1.1\r\n" HOST "\r\n"
#define POST     "POST /echo HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
#define GET      "GET /hello HTTP/1.1\r\n"
#define LAST     GET HOST "Connection: close\r\n\r\n"

/* All at once, or byte by byte: a parser that looks at what one read brought is not
 * enough. */
static void say(int fd, const struct vector *v, bool in_pieces)
{
    if (in_pieces) {
        for (size_t n = 0; n < v->len && peer_send(fd, v->bytes + n, 1); n++)
            ;
    } else {
        peer_send(fd, v->bytes, v->len);
    }
    if (v->closes)
        peer_send(fd, SMUGGLED SMUGGLED, sizeof SMUGGLED SMUGGLED - 1);
    else
        peer_send(fd, LAST, sizeof LAST - 1);
}

/* libmicrohttpd 0.9.75 sends the head of its own answer to a wrong Content-Length twice,
 * and then closes. */
static void check_vector(struct server *s, const struct vector *v, bool in_pieces)
{
    int status, fd = peer_dial(s->port);

    atomic_store(&s->smuggled, 0);
    say(fd, v, in_pieces);
    int n = peer_hear_all(fd, &status), wanted = (status != 0) + !v->closes;
    close(fd);
    cr_expect(status == v->answers[0] || status == v->answers[1], "%s: %d", v->name,
              status);
    bool doubled = n == 2 && strstr(peer_text(), "<b>Content-Length</b>") != NULL;
    cr_expect(n == wanted || doubled, "%s: %d answers, not %d", v->name, n, wanted);
    cr_expect_eq(atomic_load(&s->smuggled), 0, "%s: smuggled", v->name);
}

/* For a chunk that announces more than ever comes. */
static void soon(struct config *c)
{
    c->timeout_body_seconds = 2;
}

static void check_vectors(bool in_pieces)
{
    const struct vector *vectors;
    size_t n = vectors_load(&vectors);
    struct server s;

    server_start(&s, soon);
    cr_assert_geq(n, VECTORS_MIN);
    for (size_t i = 0; i < n; i++)
        check_vector(&s, &vectors[i], in_pieces);
    server_stop(&s);
}

Test(desync, nothing_that_leaves_room_for_doubt_is_followed_by_another_request)
{
    check_vectors(false);
}

Test(desync, a_request_that_comes_byte_by_byte_is_judged_the_same)
{
    check_vectors(true);
}

Test(desync, requests_that_are_in_order_are_answered_in_order)
{
    static const char line[] = "GET /things/%d HTTP/1.1\r\n" HOST "\r\n";
    char requests[20 * sizeof line], wanted[32];
    struct server s;
    struct answer a;
    size_t len = 0;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    for (int i = 1; i <= 20; i++)
        len += (size_t)snprintf(requests + len, sizeof requests - len, line, i);
    peer_say(fd, requests);
    for (int i = 1; i <= 20; i++) {
        cr_assert(peer_hear(fd, &a));
        snprintf(wanted, sizeof wanted, "{\"id\":%d}", i);
        cr_assert_str_eq(a.body, wanted);
    }
    close(fd);
    server_stop(&s);
}

Test(desync, a_body_with_a_length_may_be_followed_by_another_request)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    peer_say(fd, POST "Content-Length: 7\r\n\r\n{\"a\":1}" GET HOST "\r\n");
    cr_assert(peer_hear(fd, &a));
    cr_assert_str_eq(a.body, "{\"a\":1}");
    cr_assert(peer_hear(fd, &a));
    cr_assert_str_eq(a.body, "{\"hello\":true}");
    close(fd);
    server_stop(&s);
}

/* What a careful client may send, and has to get through. */
Test(desync, headers_in_good_order_pass)
{
    static const char *const good[] = {
        GET "Host:localhost\r\n\r\n",
        GET "Host:   localhost\r\n\r\n",
        GET "Host:\tlocalhost\r\n\r\n",
        GET "hOST: localhost:8080\r\nX-Empty:\r\nX-Spaces:   \r\nX-Last: a\r\n\r\n",
        GET "Host: 127.0.0.1:8080\r\n\r\n",
        GET "Host: [::1]:8080\r\n\r\n",
        GET HOST "X: a:b: c\td\r\nX: \"quoted\"\r\nCookie: a=b; c=\"d\"\r\n\r\n",
        GET HOST "X: caf\xc3\xa9\r\n\r\n",
        "\r\n" GET HOST "\r\n",
        "GET http://localhost/hello HTTP/1.1\r\n" HOST "\r\n",
        "GET HTTP://LocalHost/hello HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello? HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
        POST "Content-Length: 000002\r\n\r\n{}",
        POST "Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n" HOST "\r\n",
        "GET /hello HTTP/1.0\r\n\r\n",
    };
    struct server s;

    server_start(&s, NULL);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct answer a = peer_ask(s.port, good[i]);
        cr_expect_eq(a.status / 100, 2, "%d for %s: %s", a.status, good[i], a.body);
    }
    server_stop(&s);
}
