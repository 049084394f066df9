/* One datagram is one message: a socket pair of SOCK_SEQPACKET keeps the bounds, and file
 * descriptors travel with it (SCM_RIGHTS). Rejected: a byte stream with lengths (half a
 * message can be all that comes before a process dies). */
#include "workers/message.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union fd_message {
    char bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
    struct cmsghdr aligned;
};

/* sendmsg() only reads, but struct iovec has no const. */
union not_written {
    const void *in;
    void *out;
};

int message_send(int socket, const void *message, size_t len, const int *fds, int n_fds,
                 int ms)
{
    union fd_message control = {.bytes = {0}};
    struct iovec part = {.iov_base = (union not_written){message}.out, .iov_len = len};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    size_t size = (size_t)n_fds * sizeof(int);

    if (n_fds > 0) {
        head.msg_control = control.bytes;
        head.msg_controllen = CMSG_SPACE(size);
        control.aligned.cmsg_level = SOL_SOCKET;
        control.aligned.cmsg_type = SCM_RIGHTS;
        control.aligned.cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(&control.aligned), fds, size);
    }
    for (;;) {
        struct pollfd room = {.fd = socket, .events = POLLOUT};
        if (sendmsg(socket, &head, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EAGAIN && poll(&room, 1, ms) == 0)
            errno = ETIMEDOUT;
        if (errno != EAGAIN && errno != EINTR)
            return -1;
    }
}

ssize_t message_receive(int socket, void *message, size_t room, int *fds, int max_fds,
                        int *out_n_fds)
{
    union fd_message control;
    struct iovec part = {.iov_base = message, .iov_len = room};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes};
    ssize_t len = recvmsg(socket, &head, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *rights = len > 0 ? CMSG_FIRSTHDR(&head) : NULL;

    *out_n_fds = 0;
    if (rights == NULL || rights->cmsg_type != SCM_RIGHTS)
        return len;
    size_t n = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(rights) + i * sizeof fd, sizeof fd);
        if (*out_n_fds < max_fds)
            fds[(*out_n_fds)++] = fd;
        else
            close(fd);
    }
    return len;
}
