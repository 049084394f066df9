/* A head of kind and length, then the bytes. The sender waits for room and for nothing
 * else; the reader takes what there is and gives out whole frames. Rejected: JSON (both
 * ends are one program); a line a message (args and results hold anything). */
#include "workers/frames.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { ROOM_FIRST = 4096, PARTS_MOST = 5 };

struct head {
    uint32_t kind, len;
};

/* sendmsg() only reads, but struct iovec has no const. */
union not_written {
    const void *in;
    void *out;
};

/* Leaves out what was sent. */
static void skip(struct msghdr *m, size_t sent)
{
    while (m->msg_iovlen > 0 && sent >= m->msg_iov->iov_len) {
        sent -= m->msg_iov->iov_len;
        m->msg_iov++;
        m->msg_iovlen--;
    }
    if (m->msg_iovlen > 0) {
        m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + sent;
        m->msg_iov->iov_len -= sent;
    }
}

static bool send_all(int fd, struct msghdr *m, int ms)
{
    while (m->msg_iovlen > 0) {
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        ssize_t n = sendmsg(fd, m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            skip(m, (size_t)n);
        else if (errno != EINTR && (errno != EAGAIN || poll(&room, 1, ms) == 0))
            return false;
    }
    return true;
}

bool frame_send(int fd, enum frame_kind kind, const struct frame_part *parts, int n_parts,
                int ms)
{
    struct iovec io[PARTS_MOST + 1];
    struct head head = {.kind = (uint32_t)kind};
    size_t len = 0;

    for (int i = 0; i < n_parts; i++) {
        io[i + 1] = (struct iovec){.iov_base = (union not_written){parts[i].bytes}.out,
                                   .iov_len = parts[i].len};
        len += parts[i].len;
    }
    if (len > FRAME_MOST_BYTES)
        return false;
    head.len = (uint32_t)len;
    io[0] = (struct iovec){.iov_base = &head, .iov_len = sizeof head};
    struct msghdr m = {.msg_iov = io, .msg_iovlen = (size_t)n_parts + 1};
    return send_all(fd, &m, ms);
}

void frames_release(struct frames *f)
{
    free(f->bytes);
    *f = (struct frames){.bytes = NULL};
}

/* Moves what is left to the front, and makes room for as much again. */
static bool make_room(struct frames *f)
{
    size_t left = f->len - f->taken;

    if (f->taken > 0)
        memmove(f->bytes, f->bytes + f->taken, left);
    f->len = left;
    f->taken = 0;
    if (f->room - f->len >= ROOM_FIRST / 2)
        return true;
    size_t room = f->room > 0 ? 2 * f->room : ROOM_FIRST;
    char *bytes = realloc(f->bytes, room);
    if (bytes == NULL)
        return false;
    f->bytes = bytes;
    f->room = room;
    return true;
}

enum frames_got frames_read(struct frames *f, int fd)
{
    if (!make_room(f))
        return FRAMES_END;
    ssize_t n = recv(fd, f->bytes + f->len, f->room - f->len, 0);
    if (n > 0) {
        f->len += (size_t)n;
        return FRAMES_MORE;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? FRAMES_NOTHING : FRAMES_END;
}

bool frames_next(struct frames *f, struct frame *out, bool *out_broken)
{
    size_t left = f->len - f->taken;
    struct head head;

    *out_broken = false;
    if (left < sizeof head)
        return false;
    memcpy(&head, f->bytes + f->taken, sizeof head);
    if (head.kind >= FRAME_KINDS || head.len > FRAME_MOST_BYTES) {
        *out_broken = true;
        return false;
    }
    if (left - sizeof head < head.len)
        return false;
    *out = (struct frame){.kind = (enum frame_kind)head.kind,
                          .bytes = f->bytes + f->taken + sizeof head,
                          .len = head.len};
    f->taken += sizeof head + head.len;
    return true;
}

bool frame_take(struct frame *frame, void *out, size_t len)
{
    if (frame->len < len)
        return false;
    memcpy(out, frame->bytes, len);
    frame->bytes += len;
    frame->len -= len;
    return true;
}

bool frame_take_text(struct frame *frame, const char **out)
{
    const char *end = memchr(frame->bytes, '\0', frame->len);

    if (end == NULL)
        return false;
    *out = frame->bytes;
    frame->len -= (size_t)(end - frame->bytes) + 1;
    frame->bytes = end + 1;
    return true;
}
