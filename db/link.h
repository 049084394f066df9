/* link: a connection that comes back.
 *
 *     struct link link;
 *     link_init(&link, &options, "lane");
 *     while (...) {
 *         if (!link_connect(&link))
 *             wait until link.next_try_ms, or for something else;
 *         ... use link.db ...
 *         if (db_is_broken(link.db))
 *             link_drop(&link);
 *     }
 *     link_drop(&link);
 *
 * Attempts are spread by a full-jitter backoff, 50 ms to 4 s, and what is wrong is said
 * once a second at most, and that there is no connection three times a minute. Threads:
 * one owns it; link_is_up() from any. */
#ifndef BELAY_DB_LINK_H
#define BELAY_DB_LINK_H

#include "db/db.h"

#include <stdatomic.h>

struct link {
    struct db_options options; /* its texts are borrowed for the link's life */
    const char *event;         /* of its log lines */
    struct db *db;             /* NULL while there is no connection */
    int failures;              /* in a row */
    int64_t next_try_ms;       /* clock_ms() before which nothing is tried */
    int64_t reminder_at_ms;    /* before which a failure to connect is not said again */
    atomic_bool up;
    _Atomic(int64_t) complained_ms;
};

void link_init(struct link *l, const struct db_options *options, const char *event);
/* True when there is a connection; makes one where it is time to. */
bool link_connect(struct link *l);
/* Closes it, if there is one; the next attempt is put off. */
void link_drop(struct link *l);
/* Something on it failed without breaking it: sleeps, longer each time in a row. */
void link_rest(struct link *l);
/* It works again. */
void link_works(struct link *l);
bool link_is_up(struct link *l);
/* One line at most once a second: "event failed=what why=...". */
void link_complain(struct link *l, const char *what, const char *why);

#endif
