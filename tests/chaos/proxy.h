/* proxy: stands between nodes and PostgreSQL, and does to their connections what networks
 * do.
 *
 *     struct proxy *p = proxy_open("/run/postgresql/.s.PGSQL.5432");
 *     ... nodes connect to 127.0.0.1, port proxy_port(p) ...
 *     proxy_arm(p, "order-33", PROXY_RESET, 120);
 *     ... the statement with these words in it loses its connection after 120 bytes ...
 *     proxy_close(p);
 *
 * It listens on loopback only. An exchange begins with the first byte of the piece that
 * has the words in it, and counts the bytes of both directions. Threads: one a
 * connection; all functions may be called from any. */
#ifndef BELAY_TESTS_CHAOS_PROXY_H
#define BELAY_TESTS_CHAOS_PROXY_H

#include <stdbool.h>
#include <stdint.h>

enum proxy_fault {
    PROXY_PASS,
    PROXY_CLOSE,      /* both sides see an orderly end */
    PROXY_RESET,      /* the client sees a reset, the server an end */
    PROXY_HALF_OPEN,  /* the server has gone, and the client does not hear of it */
    PROXY_BLACK_HOLE, /* nothing comes through any more, and nobody hears of it */
    PROXY_FAULTS
};

struct proxy;

struct proxy *proxy_open(const char *upstream_socket);
int proxy_port(const struct proxy *p);
void proxy_close(struct proxy *p);

/* The next exchange with `words` in it suffers the fault after `at_byte` bytes, once. */
void proxy_arm(struct proxy *p, const char *words, enum proxy_fault fault,
               int64_t at_byte);
/* Of the exchange that was armed last: its bytes so far; 0: it has not come. */
int64_t proxy_exchange_bytes(struct proxy *p);

/* All connections that there are suffer it at once. While it is PROXY_BLACK_HOLE, those
 * that are made later get nothing through either. PROXY_PASS: new ones work again. */
void proxy_strike(struct proxy *p, enum proxy_fault fault);
/* The same for those that LISTEN, from now on, until false: NOTIFY is dead. */
void proxy_mute(struct proxy *p, bool mute);

/* Each piece is held for so long, and is of so many bytes at most; 0, 0: as they come. */
void proxy_slow(struct proxy *p, int delay_ms, int piece_bytes);

#endif
