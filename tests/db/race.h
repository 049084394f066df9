/* race: several sessions that do everything to the same few hundred jobs at once.
 *
 *     struct actor a = {.url = url, .act = race_work, .seed = 7};
 *
 * race.c runs one thread an actor; an actor does one thing after the other, chosen at
 * random. race_worker.c is what a worker does, race_insert.c how jobs come in, and
 * race_ask.c what everybody else does. What an actor was answered goes into its log, for
 * ledger.h. An actor belongs to its thread; race_newest_id is shared. */
#ifndef BELAY_TESTS_DB_RACE_H
#define BELAY_TESTS_DB_RACE_H

#include "db/db.h"
#include "server/core/buf.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BATCH_MAX = 6, MINE_MAX = 64, KEYS = 400 };

struct claimed {
    int64_t id, lease, worker;
    int attempt;
};

struct actor {
    const char *url;
    void (*act)(struct actor *);
    pthread_t thread;
    struct db *db;
    unsigned seed;
    int64_t worker;
    struct claimed mine[MINE_MAX];
    int n_mine;
    struct buf log; /* rows of SQL: what, job, attempt */
};

extern _Atomic(int64_t) race_newest_id;

/* Any number from 0 that is below the one that is given; one of the newer jobs. */
int any(struct actor *a, int below);
int64_t any_id(struct actor *a);

/* What the actor was answered of a job, into its log. */
void note(struct actor *a, const char *what, int64_t job, int attempt);

/* Counts a statement and what became of it; false: it failed. run() also carries it out.
 */
bool judge(struct actor *a, enum err e, const char *what);
bool run(struct actor *a, enum sql sql, int n, const struct db_value *values,
         struct db_rows *rows);

/* What an actor may be; each does one thing. */
void register_worker(struct actor *a);
void race_work(struct actor *a);
void race_insert(struct actor *a);
void race_put(struct actor *a);
void race_ask(struct actor *a);
void race_meddle(struct actor *a);
void race_tidy(struct actor *a);

#endif
