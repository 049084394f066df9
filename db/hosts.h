/* hosts: the list of hosts that a connection string may have, one by one. Private to db/.
 *
 *     for (int i = 0; i < hosts_count(url); i++) {
 *         CLEANUP(host_release) struct host h = HOST_INIT;
 *         e = host_pick(url, i, &h);
 *         ... connect to url with host, hostaddr and port replaced by those of h ...
 *     }
 *
 * A string with one host, with none, or with lists that do not fit each other counts as
 * one, and is left to libpq as it stands. */
#ifndef BELAY_DB_HOSTS_H
#define BELAY_DB_HOSTS_H

#include "server/core/buf.h"

#include <libpq-fe.h>

/* Empty: the string does not say it. */
struct host {
    struct buf name, address, port;
};

#define HOST_INIT ((struct host){BUF_INIT, BUF_INIT, BUF_INIT})

/* What a string says of hosts, lists with commas; NULL: nothing. Borrowed from the
 * options. */
struct host_lists {
    const char *host, *address, *port;
};

/* NULL: a wrong string, or no string but the name of a database; `why` in words. */
PQconninfoOption *host_options(const char *url, struct host_lists *out, struct buf *why);
void host_options_free(PQconninfoOption **options);

int hosts_count(const char *url);
enum err host_pick(const char *url, int i, struct host *out) MUST_CHECK;
void host_release(struct host *h);

#endif
