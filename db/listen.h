/* listen: what other nodes tell us, and the one place that tells them.
 *
 * One thread with one connection. On connect: LISTEN first, then on_resync(), so that
 * nothing falls between. Then it waits, and calls on_notify() for each notification. A
 * NOTIFY of its own nonce from another connection has to come back within 1 s at start (a
 * pooler swallows LISTEN): if not, it says so once and stays on polling.
 * listen_notify_later() coalesces: at most one NOTIFY per channel and payload each 50 ms,
 * on a second connection with synchronous_commit off, never inside anybody's transaction.
 *
 * Threads: callbacks run on the listener's thread and must not block;
 * listen_notify_later() from any thread. */
#ifndef BELAY_DB_LISTEN_H
#define BELAY_DB_LISTEN_H

#include "db/db.h"

#define CHANNEL_READY "belay_ready" /* payload: queue name, or "" for any */
#define CHANNEL_ABORT "belay_abort" /* payload: worker id */
#define CHANNEL_SWEEP "belay_sweep" /* payload: "" */
#define CHANNEL_ENDED "belay_ended" /* reserved */

struct listener;

struct listener_options {
    const char *url;
    bool listen; /* false: --no-listen. Notifications are still sent. */
    db_notify_fn *on_notify;
    void (*on_resync)(void *arg); /* after every (re)connect */
    void *arg;
};

enum err listener_open(const struct listener_options *options,
                       struct listener **out_listener) MUST_CHECK;
void listen_notify_later(struct listener *l, const char *channel, const char *payload);
bool listener_is_up(struct listener *l);
void listener_close(struct listener *l);

#endif
