/* connection: what db.c and exec.c share of a struct db. Private to db/. */
#ifndef BELAY_DB_CONNECTION_H
#define BELAY_DB_CONNECTION_H

#include "db/db.h"

#include <libpq-fe.h>

enum { DB_MESSAGE_BYTES = 512 };

struct db {
    PGconn *conn;
    int statement_timeout_ms;
    int64_t limit_ms; /* db_limit(); 0: none */
    int stop_fd;      /* 0: none, or it was seen */
    int64_t stop_ms;  /* then nothing is waited for any more; 0: nobody is to stop */
    bool prepared; /* false: statements are sent with their text (no_prepare, or a pooler)
                    */
    bool broken;
    bool silent; /* broken, because no answer came in time */
    char sqlstate[6];
    char message[DB_MESSAGE_BYTES];
};

/* When an answer that was asked for now has to be there, by clock_ms(). */
int64_t db_deadline_ms(const struct db *db);

/* Until the socket is ready, or somebody has asked to stop, which shortens every wait
 * from then on. False: the time is over. */
bool db_wait_socket(struct db *db, short events, int64_t end_ms, short *out_events);

/* The next result, or NULL: none is left, or the connection has failed. */
PGresult *db_next_result(struct db *db, int64_t end_ms);

/* Remember what went wrong and say which kind it was. */
enum err db_fail_connection(struct db *db, const char *what);
enum err db_fail_waiting(struct db *db); /* for an answer: none came, or the end of it */
enum err db_fail_result(struct db *db, const PGresult *result);

#endif
