/* params: rows of values become the binary parameters of one statement. Private to db/.
 */
#ifndef BELAY_DB_PARAMS_H
#define BELAY_DB_PARAMS_H

#include "db/db.h"
#include "db/statement.h"
#include "server/core/buf.h"

enum { PARAMS_MAX = 24 };

/* The rows of one operation. Several parts become one statement; the lane's `grp`
 * parameter numbers them from 0. */
struct db_part {
    int n_rows;
    const struct db_value *values;
};

struct params {
    int count;
    const char *values[PARAMS_MAX]; /* NULL: SQL NULL */
    int lengths[PARAMS_MAX], formats[PARAMS_MAX];
    struct buf bytes;
};

/* The type oids to prepare a statement with; returns how many. */
int params_types(const struct statement *s, unsigned oids[PARAMS_MAX]);

/* Packs; release with params_release(), also after an error (out of memory). */
enum err params_pack(struct params *p, const struct statement *s, int n_parts,
                     const struct db_part *parts) MUST_CHECK;
void params_release(struct params *p);

/* db_exec() for the rows of several operations. */
enum err db_exec_parts(struct db *db, enum sql sql, int n_parts,
                       const struct db_part *parts, struct db_rows *out_rows) MUST_CHECK;

#endif
