/* Requests that are answered later: by a timer, by somebody else, or not at all. */
#include "server/core/clock.h"
#include "tests/http/peer.h"
#include "tests/http/server.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT  "GET /wait?wait=60 HTTP/1.1\r\n" HOST "\r\n"
#define HOLD  "GET /hold HTTP/1.1\r\n" HOST "\r\n"
#define HELLO "GET /hello HTTP/1.1\r\n" HOST "\r\n"

Test(waits, a_timer_answers_when_the_time_is_up)
{
    struct server s;

    server_start(&s, NULL);
    int64_t from_ms = clock_ms();
    struct answer a = peer_ask(s.port, "GET /wait?wait=1 HTTP/1.1\r\n" HOST "\r\n");
    cr_assert_str_eq(a.body, "{\"waited\":true}");
    cr_assert(clock_ms() - from_ms >= 1000 && clock_ms() - from_ms < 2000);
    server_stop(&s);
}

Test(waits, an_answer_from_elsewhere_wakes_the_request)
{
    struct server s;
    struct answer a;
    int fds[HELD_MAX];

    server_start(&s, NULL);
    for (int i = 0; i < HELD_MAX; i++) {
        fds[i] = peer_dial(s.port);
        peer_say(fds[i], HOLD HELLO);
    }
    server_expect(&s.waiting, HELD_MAX);
    server_release(&s);
    for (int i = 0; i < HELD_MAX; i++) {
        cr_assert(peer_hear(fds[i], &a));
        cr_assert_str_eq(a.body, "{\"held\":true}");
        cr_assert(peer_hear(fds[i], &a), "what came behind it is lost");
        cr_assert_str_eq(a.body, "{\"hello\":true}");
        close(fds[i]);
    }
    server_stop(&s);
}

Test(waits, a_client_that_hangs_up_ends_its_wait)
{
    struct server s;
    int fds[20];

    server_start(&s, NULL);
    for (int i = 0; i < 20; i++) {
        fds[i] = peer_dial(s.port);
        peer_say(fds[i], WAIT);
    }
    server_expect(&s.waiting, 20);
    for (int i = 0; i < 20; i++) {
        struct linger at_once = {.l_onoff = i % 2};
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(fds[i]);
    }
    server_expect(&s.waits_ended, 20);
    cr_assert_eq(atomic_load(&s.gone), 20);
    cr_assert_eq(peer_ask(s.port, HELLO).status, 200);
    server_stop(&s);
}

Test(waits, an_answer_for_a_client_that_has_hung_up_goes_nowhere)
{
    struct server s;

    server_start(&s, NULL);
    for (int i = 0; i < 10; i++) {
        int fd = peer_dial(s.port);
        peer_say(fd, HOLD);
        server_expect(&s.waiting, i + 1);
        close(fd);
    }
    server_release(&s);
    cr_assert_eq(peer_ask(s.port, HELLO).status, 200);
    server_stop(&s);
}

Test(waits, a_client_that_has_said_all_it_had_to_say_is_still_answered)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    peer_say(fd, WAIT);
    shutdown(fd, SHUT_WR);
    cr_assert(peer_hear(fd, &a));
    cr_assert_str_eq(a.body, "{\"waited\":true}");
    close(fd);
    server_stop(&s);
}

/* -- the stop ------------------------------------------------------------------------ */

Test(waits, the_stop_ends_them_and_they_are_answered)
{
    struct server s;
    struct answer a;
    int fds[10];

    server_start(&s, NULL);
    for (int i = 0; i < 10; i++) {
        fds[i] = peer_dial(s.port);
        peer_say(fds[i], WAIT);
    }
    server_expect(&s.waiting, 10);
    int64_t from_ms = clock_ms();
    server_stop(&s);
    cr_assert_lt(clock_ms() - from_ms, 1000);
    for (int i = 0; i < 10; i++) {
        cr_assert(peer_hear(fds[i], &a));
        cr_assert_str_eq(a.body, "{\"waited\":true}");
        cr_assert_str_eq(answer_header(&a, "Connection"), "close");
        cr_assert(peer_is_cut(fds[i]));
        close(fds[i]);
    }
}

/* Whoever holds them may still answer, after the end of the loop and on another thread.
 */
Test(waits, what_nobody_answers_hears_503_and_may_be_answered_too_late)
{
    struct server s;
    struct answer a;
    int fds[5];

    server_start(&s, NULL);
    for (int i = 0; i < 5; i++) {
        fds[i] = peer_dial(s.port);
        peer_say(fds[i], "GET /hold?text=mine HTTP/1.1\r\n" HOST "\r\n");
    }
    server_expect(&s.waiting, 5);
    http_close(s.http);
    for (int i = 0; i < 5; i++) {
        struct request *req = s.held[i];
        cr_assert(req_is_gone(req));
        cr_assert_null(req_header(req, "Host"));
        cr_assert_null(req_query(req, "wait"));
        cr_assert_str_eq(s.held_text[i], "mine", "a statement may still read it");
        req_set_header(req, "ETag", "\"1\"");
        req_timer_start(req, 10, NULL, NULL);
        if (i % 2 == 0)
            req_reply(req, 200, NULL, "{}", 2);
        else
            req_error(req, req_fail(req, ERR_INVALID, "too late"));
        cr_assert(peer_hear(fds[i], &a));
        cr_assert_eq(a.status, 503);
        close(fds[i]);
    }
    server_free(&s);
}

Test(waits, a_body_that_ends_during_the_stop_is_still_answered)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    int wakes = atomic_load(&s.wakes), fd = peer_dial(s.port), idle = peer_dial(s.port);
    peer_say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
                 "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    cr_assert(peer_hear(fd, &a));
    http_drain(s.http);
    server_expect(&s.wakes, wakes + 1);
    peer_say(fd, "{}");
    cr_assert(peer_hear(fd, &a));
    cr_assert_eq(a.status, 200);
    cr_assert_str_eq(answer_header(&a, "Connection"), "close");
    close(fd);
    close(idle);
    server_stop(&s);
}

Test(waits, idle_connections_are_cut_when_it_drains)
{
    struct server s;
    struct answer a;

    server_start(&s, NULL);
    int fd = peer_dial(s.port);
    peer_say(fd, HELLO);
    cr_assert(peer_hear(fd, &a));
    http_drain(s.http);
    cr_assert(peer_is_cut(fd));
    close(fd);
    server_stop(&s);
}

/* The stop must not depend on what clients do. */
Test(waits, a_client_in_the_middle_of_everything_does_not_hold_up_the_stop)
{
    static const char *const beginnings[] = {
        "", "G", "GET /hello HTTP/1.1\r\n",
        "GET /big?n=50000000 HTTP/1.1\r\n" HOST "\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
        "Content-Length: 9\r\n\r\n{"};
    enum { N = sizeof beginnings / sizeof *beginnings };
    struct server s;
    int fds[N];

    server_start(&s, NULL);
    for (int i = 0; i < N; i++) {
        fds[i] = peer_dial(s.port);
        peer_say(fds[i], beginnings[i]);
    }
    server_expect(&s.calls, 1);
    int64_t from_ms = clock_ms();
    server_stop(&s);
    cr_assert_lt(clock_ms() - from_ms, 7000);
    for (int i = 0; i < N; i++)
        close(fds[i]);
}

static void *close_it(void *arg)
{
    struct server *s = arg;

    http_close(s->http);
    return NULL;
}

/* The last moment: those who waited have just heard 503, and one more body ends. Were it
 * to wait now, libmicrohttpd would end the process. */
Test(waits, nothing_begins_to_wait_when_the_waiting_has_been_ended)
{
    struct server s;
    struct answer a;
    pthread_t closer;

    server_start(&s, NULL);
    int held = peer_dial(s.port), late = peer_dial(s.port);
    peer_say(held, HOLD);
    server_expect(&s.waiting, 1);
    peer_say(late, "GET /hold HTTP/1.1\r\n" HOST
                   "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    cr_assert(peer_hear(late, &a));
    cr_assert_eq(a.status, 100);
    cr_assert_eq(pthread_create(&closer, NULL, close_it, &s), 0);
    cr_assert(peer_hear(held, &a));
    cr_assert_eq(a.status, 503);
    peer_say(late, "{}");
    cr_assert(peer_hear(late, &a));
    cr_assert_eq(a.status, 503);
    cr_assert_eq(atomic_load(&s.waiting), 1, "it began to wait");
    pthread_join(closer, NULL);
    close(held);
    close(late);
    server_free(&s);
}
