/* standby: a second PostgreSQL that follows the world's, synchronously, and takes its
 * place.
 *
 *     struct standby s = {.directory = "..."};
 *     standby_make(&s, &w);      no commit is answered any more before it has it too
 *     world_kill_database(&w);
 *     standby_promote(&s, &w);   the world's database is the other one now
 *     standby_stop(&s, &w);
 *
 * It is a copy by pg_basebackup, in a directory of its own inside of the world's. What
 * cannot go on ends the program with exit code 2. Threads: main. */
#ifndef BELAY_TESTS_CHAOS_STANDBY_H
#define BELAY_TESTS_CHAOS_STANDBY_H

#include "tests/chaos/world.h"

struct standby {
    char directory[80]; /* whatever cluster was there before is removed */
    struct embedded *postgres;
};

void standby_make(struct standby *s, struct world *w);
/* The database of the world has ended. s is empty afterwards. */
void standby_promote(struct standby *s, struct world *w);
/* Commits do not wait for it any more, and it ends. */
void standby_stop(struct standby *s, struct world *w);

#endif
