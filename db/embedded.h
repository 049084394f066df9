/* embedded: a private PostgreSQL for a machine that has no DATABASE_URL.
 *
 * initdb into <dir>/pgdata when there is none, then postgres as a child process on a unix
 * socket only, no TCP. The socket is in the same directory: `psql -h <dir>/pgdata -U
 * belay postgres`. As root it drops to the `postgres` user; where that user cannot enter
 * <dir>, the cluster is under /var/lib/belay and <dir>/pgdata is a link to it. The child
 * gets SIGINT (fast shutdown) when this process dies, however it dies. Data is kept
 * between runs; fsync is on. A second `belay serve` on the same directory is a clear
 * error.
 *
 * Call embedded_start() from the main thread, before other threads (PDEATHSIG is per
 * thread). */
#ifndef BELAY_DB_EMBEDDED_H
#define BELAY_DB_EMBEDDED_H

#include "server/core/buf.h"
#include "server/core/err.h"

struct embedded;

/* `dir` is made when it is missing. ERR_CONFIG with words in `why` when there is no
 * PostgreSQL on this machine, or it does not start within 30 s (its log is
 * <dir>/postgres.log). */
enum err embedded_start(const char *dir, struct embedded **out_pg,
                        struct buf *why) MUST_CHECK;

/* The connection string for it; valid as long as `pg`. */
const char *embedded_url(const struct embedded *pg);

/* Fast shutdown, waits at most 10 s. NULL is fine. */
void embedded_stop(struct embedded *pg);

#endif
