/* place: where the private PostgreSQL lives, and as whom it runs. Private to db/.
 *
 * PostgreSQL refuses to run as root, so root hands a new cluster to the user `postgres`,
 * and runs an old one as the user who owns it: `sudo make run` after `make run` works on
 * the same data. */
#ifndef BELAY_DB_PLACE_H
#define BELAY_DB_PLACE_H

#include "server/core/buf.h"
#include "server/core/err.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { SOCKET_DIR_MAX = 92 /* of 107 bytes, "/.s.PGSQL.5432" takes 14 */ };

struct place {
    bool drop; /* we are root: become uid and gid before running anything of PostgreSQL */
    uid_t uid;
    gid_t gid;
    char data[PATH_MAX]; /* the cluster; it is there when it has a PG_VERSION */
    char log[PATH_MAX];
    char bin[PATH_MAX];              /* the directory of postgres and initdb */
    char socket[SOCKET_DIR_MAX + 1]; /* the data directory, where that is short enough */
    bool socket_is_temporary;
};

/* Finds all of it for the directory `dir`, which is there; makes a directory for the
 * socket where it needs one. Release with place_release(), also after an error. */
enum err place_find(struct place *p, const char *dir, struct buf *why) MUST_CHECK;

/* Removes the directory of the socket, if it was made. */
void place_release(struct place *p);

bool place_has_cluster(const struct place *p);

/* In a child process: no way back. */
enum err place_drop_privileges(const struct place *p) MUST_CHECK;

/* An empty directory of the cluster's user, where one may have been before. */
enum err place_make_empty(const struct place *p, const char *path,
                          struct buf *why) MUST_CHECK;

#endif
