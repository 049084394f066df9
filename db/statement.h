/* statement: the tables that the build makes from db/sql/ and db/migrations/. Private to
 * db/. */
#ifndef BELAY_DB_STATEMENT_H
#define BELAY_DB_STATEMENT_H

#include <stdbool.h>

struct statement {
    const char *name, *text;
    const char *types; /* a letter a parameter: l bigint, i int, s smallint, b boolean, t
                          timestamptz, x text, j json, g the lane's own group number */
    bool is_array;
};
extern const struct statement statements[];

struct migration {
    int version;
    const char *name, *text; /* text NULL: the end */
};
extern const struct migration migrations[];

#endif
