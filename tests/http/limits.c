/* What takes too long, is too large, or is too many. */
#include "server/core/clock.h"
#include "tests/http/peer.h"
#include "tests/http/server.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define JSON "Content-Type: application/json\r\n"
#define POST "POST /echo HTTP/1.1\r\n" HOST JSON

static void soon(struct config *c)
{
    c->timeout_header_seconds = 1;
    c->timeout_body_seconds = 1;
    c->timeout_idle_seconds = 1;
}

/* -- size ---------------------------------------------------------------------------- */

Test(limits, a_body_of_a_gibibyte_is_refused_before_it_is_read)
{
    struct server s;
    int status;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    peer_say(fd, POST "Content-Length: 1073741824\r\n\r\n");
    cr_assert_eq(peer_hear_all(fd, &status), 1);
    cr_assert_eq(status, 413);
    close(fd);
    server_stop(&s);
}

/* Nothing was announced, so it is read until it is too much, then a little longer. */
Test(limits, a_chunked_body_of_a_gibibyte_is_cut)
{
    static char chunk[65536 + 16];
    struct server s;
    size_t sent = 0;

    server_start(&s, NULL);
    int head = snprintf(chunk, sizeof chunk, "10000\r\n");
    memset(chunk + head, ' ', 65536);
    memcpy(chunk + head + 65536, "\r\n", 2);
    int fd = peer_dial(s.port);
    peer_say(fd, POST "Transfer-Encoding: chunked\r\n\r\n");
    while (sent < 1u << 30 && peer_send(fd, chunk, (size_t)head + 65538))
        sent += 65536;
    cr_assert_lt(sent, 32u << 20, "%zu bytes were taken", sent);
    cr_assert_eq(atomic_load(&s.calls), 0);
    close(fd);
    server_stop(&s);
}

static struct answer post_chunked(int port, size_t len)
{
    char *body = malloc(len + 64);
    struct answer a;

    cr_assert_not_null(body);
    int head = snprintf(body, 32, "%zx\r\n", len);
    memset(body + head, ' ', len);
    memcpy(body + head + len, "\r\n0\r\n\r\n", 8);
    int fd = peer_dial(port);
    peer_say(fd, POST "Transfer-Encoding: chunked\r\n\r\n");
    cr_assert(peer_send(fd, body, (size_t)head + len + 7));
    cr_assert(peer_hear(fd, &a), "%zu bytes: cut", len);
    cr_assert(peer_is_cut(fd));
    close(fd);
    free(body);
    return a;
}

Test(limits, a_chunked_body_that_is_a_little_too_large_hears_413)
{
    struct server s;

    server_start(&s, NULL);
    cr_assert_eq(post_chunked(s.port, 1048576).status, 200);
    cr_assert_eq(post_chunked(s.port, 1048577).status, 413);
    struct answer a = post_chunked(s.port, 3000000);
    cr_assert_eq(a.status, 413);
    cr_assert_not_null(strstr(a.body, "1048576"), "not the limit: %s", a.body);
    server_stop(&s);
}

static void small(struct config *c)
{
    c->body_max_bytes = 1024;
}

Test(limits, a_small_limit_is_answered_too)
{
    struct server s;

    server_start(&s, small);
    cr_assert_eq(post_chunked(s.port, 1024).status, 200);
    cr_assert_eq(post_chunked(s.port, 1025).status, 413);
    cr_assert_eq(post_chunked(s.port, 200000).status, 413);
    server_stop(&s);
}

Test(limits, a_body_may_have_all_the_bytes_of_the_limit_and_no_more)
{
    char request[2048];
    struct server s;

    server_start(&s, small);
    for (int len = 1023; len <= 1026; len++) {
        int head =
            snprintf(request, sizeof request, POST "Content-Length: %d\r\n\r\n", len);
        memset(request + head, ' ', (size_t)len);
        request[head + len] = '\0';
        cr_expect_eq(peer_ask(s.port, request).status, len <= 1024 ? 200 : 413, "%d",
                     len);
    }
    server_stop(&s);
}

Test(limits, a_target_that_is_too_long_is_414)
{
    static char request[70000];
    struct server s;

    server_start(&s, NULL);
    for (size_t len = 3000; len <= 60000; len += 1500) {
        int head = snprintf(request, sizeof request, "GET /query?text=");
        memset(request + head, 'x', len);
        snprintf(request + head + len, 64,
                 " HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
        int fd = peer_dial(s.port), status;
        peer_send(fd, request, strlen(request));
        cr_expect_eq(peer_hear_all(fd, &status), 1, "%zu", len);
        cr_expect_eq(status, len <= 4000 ? 400 : 414, "%zu: %d", len, status);
        close(fd);
    }
    server_stop(&s);
}

/* One header of `len` bytes, or as many short ones as it takes. */
static int ask_with_headers(int port, size_t len, bool is_short)
{
    static char request[80000];
    struct answer a = {.status = 0};
    size_t n = (size_t)snprintf(request, sizeof request, "GET /hello HTTP/1.1\r\n" HOST);

    if (!is_short) {
        n += (size_t)snprintf(request + n, sizeof request - n, "X: ");
        memset(request + n, 'x', len);
        n += len;
        memcpy(request + n, "\r\n", 2);
        n += 2;
    }
    while (is_short && n < len) {
        memcpy(request + n, "X:y\r\n", 5);
        n += 5;
    }
    memcpy(request + n, "\r\n", 2);
    int fd = peer_dial(port);
    peer_send(fd, request, n + 2);
    if (!peer_hear(fd, &a))
        a.status = 0;
    close(fd);
    return a.status;
}

Test(limits, headers_that_are_too_large_are_431_and_never_silence)
{
    struct server s;

    server_start(&s, NULL);
    for (size_t len = 1000; len <= 60000; len += 1000) {
        int status = ask_with_headers(s.port, len, false);
        cr_expect_eq(status, len <= 16000 ? 200 : 431, "%zu: %d", len, status);
    }
    for (size_t len = 1000; len <= 60000; len += 1000) {
        int status = ask_with_headers(s.port, len, true);
        cr_expect(status == 431 || (status == 200 && len <= 16000),
                  "%zu in short ones: %d", len, status);
    }
    server_stop(&s);
}

/* -- time ---------------------------------------------------------------------------- */

/* Sends one byte of `text` again and again, twenty a second, until an answer or the end
 * comes; returns after how many milliseconds. */
static int64_t drip(int fd, const char *text)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t began_ms = clock_ms();

    for (size_t i = 0; poll(&p, 1, 50) == 0; i++) {
        peer_send(fd, text + i % strlen(text), 1);
        cr_assert_lt(clock_ms() - began_ms, 10000, "it listens for ever");
    }
    return clock_ms() - began_ms;
}

static int64_t cut_after_ms(const char *first, const char *then, int wanted)
{
    struct server s;
    int status;

    server_start(&s, soon);
    int fd = peer_dial(s.port);
    peer_say(fd, first);
    int64_t ms = drip(fd, then);
    cr_assert_eq(peer_hear_all(fd, &status), wanted != 0);
    cr_assert_eq(status, wanted, "%d", status);
    cr_assert(wanted == 0 || strstr(peer_text(), "\"code\":\"request-timeout\"") != NULL);
    cr_assert_leq(ms, 2000, "after %d ms", (int)ms);
    close(fd);
    server_stop(&s);
    return ms;
}

static void is_cut_in_time(const char *first, const char *then, int wanted)
{
    cr_assert_geq(cut_after_ms(first, then, wanted), 900, "too early");
}

Test(limits, slow_headers_are_cut_at_the_deadline)
{
    is_cut_in_time("GET /hello HTTP/1.1\r\n" HOST "X: ", "a", 408);
}

static void two_seconds(struct config *c)
{
    c->timeout_header_seconds = 2;
}

/* It runs from the connect: a request line that comes late buys the headers no time. */
Test(limits, a_late_request_line_does_not_push_the_deadline_of_the_headers_back)
{
    struct pollfd p = {.events = POLLIN};
    struct server s;
    int status;

    server_start(&s, two_seconds);
    int64_t from_ms = clock_ms();
    int fd = p.fd = peer_dial(s.port);
    cr_assert_eq(poll(&p, 1, 1600), 0, "cut too early");
    peer_say(fd, "GET /hello HTTP/1.1\r\n" HOST "X: ");
    drip(fd, "a");
    cr_assert_eq(peer_hear_all(fd, &status), 1);
    cr_assert_eq(status, 408);
    cr_assert_lt(clock_ms() - from_ms, 3300, "after %d ms", (int)(clock_ms() - from_ms));
    close(fd);
    server_stop(&s);
}

Test(limits, a_slow_request_line_is_cut_at_the_deadline)
{
    is_cut_in_time("GET /", "a", 0);
}

Test(limits, empty_lines_in_front_of_a_request_do_not_push_the_deadline_back)
{
    cut_after_ms("\r\n", "\r\n", 0); /* libmicrohttpd 1.0 does not wait for so long */
}

Test(limits, a_slow_body_is_cut_at_the_deadline)
{
    is_cut_in_time(POST "Content-Length: 1000\r\n\r\n", " ", 408);
}

Test(limits, a_slow_chunked_body_is_cut_at_the_deadline)
{
    is_cut_in_time(POST "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", 408);
}

Test(limits, a_second_request_does_not_inherit_the_time_of_the_first)
{
    struct server s;
    struct answer a;

    server_start(&s, soon);
    int fd = peer_dial(s.port);
    int64_t began_ms = clock_ms();
    while (clock_ms() - began_ms < 2500) {
        peer_say(fd, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        cr_assert(peer_hear(fd, &a));
        poll(NULL, 0, 20);
    }
    cr_assert(peer_is_cut(fd), "an idle connection stays");
    cr_assert_lt(clock_ms() - began_ms, 2500 + 2000);
    close(fd);
    server_stop(&s);
}

/* -- number -------------------------------------------------------------------------- */

static void four(struct config *c)
{
    c->connections_max = 4;
}

/* But not at once: a client may think for a moment between two requests. */
Test(limits, those_who_say_nothing_make_room_when_the_server_is_full)
{
    int silent[4];
    struct server s;

    server_start(&s, four);
    int64_t from_ms = clock_ms();
    for (int i = 0; i < 4; i++)
        silent[i] = peer_dial(s.port);
    struct answer a = peer_ask(s.port, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_eq(a.status, 200);
    cr_assert_geq(clock_ms() - from_ms, 900, "cut without a moment's patience");
    for (int i = 0; i < 4; i++)
        close(silent[i]);
    server_stop(&s);
}

enum { MANY = 5000, ASKED_MAX = 200000 };

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* How many of them have been cut since the last look. */
static int count_cut(struct pollfd *fds, int n)
{
    int cut = 0;

    poll(fds, (nfds_t)n, 0);
    for (int i = 0; i < n; i++) {
        if (fds[i].fd >= 0 && fds[i].revents != 0) {
            close(fds[i].fd);
            fds[i].fd = -1;
            cut++;
        }
    }
    return cut;
}

/* Between two requests it is as idle as the others, and on a busy machine that may be for
 * too long once: then it dials again, as any client would. A server that cuts it sooner
 * fails the test. */
static int64_t time_one_answer(const struct server *s, int *fd)
{
    static const char text[] = "GET /hello HTTP/1.1\r\n" HOST "\r\n";
    static int64_t last_us;
    int64_t from_us = clock_us(), idle_us = last_us != 0 ? from_us - last_us : 0;
    struct answer a;

    if (!peer_send(*fd, text, sizeof text - 1) || !peer_hear(*fd, &a)) {
        cr_assert_geq(idle_us, 900000, "cut after %d us between requests", (int)idle_us);
        close(*fd);
        *fd = peer_dial(s->port);
        peer_say(*fd, text);
        cr_assert(peer_hear(*fd, &a), "the one that is served is cut at once");
    }
    last_us = clock_us();
    return last_us - from_us;
}

Test(limits, thousands_who_say_nothing_are_cut_while_another_is_served, .timeout = 60)
{
    static struct pollfd fds[MANY];
    static int64_t took_us[ASKED_MAX];
    struct rlimit limit = {.rlim_cur = 16384, .rlim_max = 16384};
    struct server s;
    int asked = 0, cut = 0;

    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        cr_skip_test("not allowed to have 16384 descriptors");
    server_start(&s, soon);
    int fd = peer_dial(s.port);
    int64_t began_ms = clock_ms();
    for (int i = 0; i < MANY; i++) {
        fds[i] = (struct pollfd){.fd = peer_dial_soon(s.port), .events = POLLIN};
        took_us[asked++] = time_one_answer(&s, &fd);
    }
    while (cut < MANY && asked < ASKED_MAX && clock_ms() - began_ms < 40000) {
        took_us[asked++] = time_one_answer(&s, &fd);
        cut += count_cut(fds, MANY);
    }
    qsort(took_us, (size_t)asked, sizeof *took_us, by_size);
    int p99_us = (int)took_us[asked * 99 / 100];
    cr_log_info("%d answers, p99 %d us, all cut after %d ms", asked, p99_us,
                (int)(clock_ms() - began_ms));
    cr_assert_eq(cut, MANY, "%d were cut", cut);
    cr_assert_leq(p99_us, 50000, "%d us", p99_us);
    close(fd);
    server_stop(&s);
}

Test(limits, one_who_does_not_read_keeps_nobody_waiting)
{
    struct server s;
    struct answer a;
    int fds[20];

    server_start(&s, NULL);
    for (int i = 0; i < 20; i++) {
        fds[i] = peer_dial(s.port);
        peer_say(fds[i], "GET /big?n=20000000 HTTP/1.1\r\n" HOST "\r\n");
    }
    server_expect(&s.calls, 20);
    int64_t from_ms = clock_ms();
    for (int i = 0; i < 100; i++) {
        a = peer_ask(s.port, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        cr_assert_eq(a.status, 200);
    }
    cr_assert_lt(clock_ms() - from_ms, 2000);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    server_stop(&s);
}
