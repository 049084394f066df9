/* frames: what Belay and the children that run its tasks say to each other: a kind and
 * some bytes, over a stream socket.
 *
 *     frame_send(fd, FRAME_LOG, parts, 1, ms)
 *     if (frames_read(&f, fd) == FRAMES_MORE)
 *         while (frames_next(&f, &frame)) ...
 *
 * A stream, and not one datagram a message as in message.h: a result may be larger than
 * any datagram. Both ends are one program, so numbers go as they lie in memory; but what
 * comes from a child is checked, because its task may have written over anything. One
 * thread an end. */
#ifndef BELAY_WORKERS_FRAMES_H
#define BELAY_WORKERS_FRAMES_H

#include "server/core/buf.h"
#include "workers/job.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_kind {
    /* to the child */
    FRAME_JOB,        /* struct frame_job, queue, task, args */
    FRAME_ABORT_INFO, /* struct frame_abort_info, reason, actor */
    /* from the child */
    FRAME_SEEN,     /* the task has seen that it is to stop */
    FRAME_ASK,      /* wants FRAME_ABORT_INFO */
    FRAME_PROGRESS, /* double, words */
    FRAME_LOG,      /* a line */
    FRAME_END,      /* struct frame_end, kind, message, next, result */
    FRAME_KINDS
};

/* Texts follow these, each with its NUL. Whole words only: a hole between two fields
 * would carry bytes that nobody has written. */
struct frame_job {
    int64_t id;
    int attempt, max_attempts, slot;
    char traceparent[TRACEPARENT_BYTES];
};
struct frame_abort_info {
    int64_t grace_left_ms, since_request_ms;
    int64_t cause; /* < 0: none was asked for */
};
struct frame_end {
    int result, bad_result; /* result: enum job_result */
    int has_kind, has_message;
    int64_t retry_ms, result_len; /* result_len < 0: there is none */
};

enum { FRAME_MOST_BYTES = 128 * 1024 * 1024 };

struct frame_part {
    const void *bytes;
    size_t len;
};

/* Sends all of it, or false: nobody reads, or not within `ms` (-1: for ever). */
bool frame_send(int fd, enum frame_kind kind, const struct frame_part *parts, int n_parts,
                int ms);

/* What has come and was not taken yet. All zero is empty. */
struct frames {
    char *bytes;
    size_t len, room, taken;
};
void frames_release(struct frames *f);

enum frames_got { FRAMES_MORE, FRAMES_NOTHING, FRAMES_END };
/* One read. Nothing: it would have to wait. End: the other side has closed, or there is
 * no memory. */
enum frames_got frames_read(struct frames *f, int fd);

struct frame {
    enum frame_kind kind;
    const char *bytes; /* valid until the next frames_read() */
    size_t len;
};
/* The next whole frame. False: there is none; *out_broken: what has come is none. */
bool frames_next(struct frames *f, struct frame *out, bool *out_broken);

/* Takes `len` bytes, or a text up to its NUL, off the front of a frame; false when it is
 * not there. */
bool frame_take(struct frame *frame, void *out, size_t len);
bool frame_take_text(struct frame *frame, const char **out);

#endif
