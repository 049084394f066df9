/* message: whole messages over a socket of type SOCK_SEQPACKET, with open files in them.
 *
 * Nothing here allocates, locks or logs: it may run after a fork. Failure is told as by
 * the system, -1 and errno. */
#ifndef BELAY_WORKERS_MESSAGE_H
#define BELAY_WORKERS_MESSAGE_H

#include <stddef.h>
#include <sys/types.h>

/* Most descriptors in one message. */
enum { MESSAGE_FDS_MAX = 3 };

/* 0, or -1 and errno, within `ms`: EPIPE when nobody is at the other end, ETIMEDOUT. The
 * receiver gets descriptors of its own for `fds`, which stay the caller's. */
int message_send(int socket, const void *message, size_t len, const int *fds, int n_fds,
                 int ms);

/* Waits for the next message: its length, 0 at the end, or -1 and errno. Writes at most
 * `max_fds` descriptors, which are close-on-exec and the caller's to close, and their
 * number. */
ssize_t message_receive(int socket, void *message, size_t room, int *fds, int max_fds,
                        int *out_n_fds);

#endif
