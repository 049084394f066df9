/* peer: raw sockets, so that a test can send what no library would.
 *
 *     struct answer a;
 *     int fd = peer_dial(port);
 *     peer_say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
 *     cr_assert(peer_hear(fd, &a));
 *
 * Each read waits at most eight seconds for the next byte. An answer is part of static
 * memory, valid until the next one. */
#ifndef BELAY_TESTS_HTTP_PEER_H
#define BELAY_TESTS_HTTP_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOST "Host: localhost\r\n"

struct answer {
    int status;
    const char *head; /* status line and headers, NUL-terminated */
    const char *body;
    size_t body_len;
};

int peer_dial(int port);
/* Does not wait for the connection: a full backlog takes a second to answer. */
int peer_dial_soon(int port);
/* False when the server has cut the connection; a test may not mind. */
bool peer_send(int fd, const void *bytes, size_t len);
void peer_say(int fd, const char *text);

/* One answer, framed by its Content-Length, or without a body (`to_head`, 204, 304).
 * False when the connection ends before it is whole. */
bool peer_hear(int fd, struct answer *out);
bool peer_hear_head(int fd, struct answer *out);

/* Everything until the connection ends, which it must: how many answers, and the status
 * of the first (0: none). */
int peer_hear_all(int fd, int *out_first_status);

/* What peer_hear_all() has heard. */
const char *peer_text(void);

/* Waits for the end of the connection; false when a byte comes instead, or nothing. */
bool peer_is_cut(int fd);

/* The value of a header in a static buffer, or NULL. */
const char *answer_header(const struct answer *a, const char *name);

/* Dials, says, hears, closes. */
struct answer peer_ask(int port, const char *request);

#endif
