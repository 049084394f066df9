#include "workers/message.h"

#include "server/core/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(message, .timeout = 30);

static int ends[2];

static void open_pair(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

Test(message, descriptors_travel_with_it_and_close_on_exec, .init = open_pair)
{
    int pipes[2], got[3] = {-1, -1, -1}, n = 0;
    char text[16], c = 0;

    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(message_send(ends[0], "hello", 6, pipes, 2, 1000), 0);
    cr_assert_eq(message_receive(ends[1], text, sizeof text, got, 3, &n), 6);
    cr_assert_str_eq(text, "hello");
    cr_assert_eq(n, 2);
    cr_assert_eq(fcntl(got[1], F_GETFD), FD_CLOEXEC);
    cr_assert_eq(write(got[1], "x", 1), 1);
    cr_assert_eq(read(pipes[0], &c, 1), 1);
    cr_assert_eq(c, 'x');
}

Test(message, descriptors_that_nobody_wants_are_closed, .init = open_pair)
{
    int pipes[2], n = -1;
    char c;

    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(message_send(ends[0], "x", 1, &pipes[1], 1, 1000), 0);
    close(pipes[1]);
    cr_assert_eq(message_receive(ends[1], &c, 1, NULL, 0, &n), 1);
    cr_assert_eq(n, 0);
    cr_assert_eq(read(pipes[0], &c, 1), 0, "the last writer is gone");
}

Test(message, the_end_and_a_closed_peer_are_told, .init = open_pair)
{
    char c;
    int n;

    close(ends[0]);
    cr_assert_eq(message_receive(ends[1], &c, 1, NULL, 0, &n), 0);
    errno = 0;
    cr_assert_eq(message_send(ends[1], "x", 1, NULL, 0, 1000), -1);
    cr_assert_eq(errno, EPIPE);
}

Test(message, a_peer_that_does_not_read_ends_in_a_timeout, .init = open_pair)
{
    char big[8192] = "";
    int64_t before_ms = clock_ms();

    while (message_send(ends[0], big, sizeof big, NULL, 0, 50) == 0)
        cr_assert_lt(clock_ms() - before_ms, 20000);
    cr_assert_eq(errno, ETIMEDOUT);
}
