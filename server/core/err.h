/* err: one error type for the whole program.
 *
 * A function that can fail returns `enum err` and writes its `out_` parameters only on
 * ERR_OK. The words for a human stay in the object that failed (db_errmsg(), req_fail());
 * this type says only which kind of failure it was, and so which HTTP status and public
 * code a client sees. The list is err.def.
 *
 *     enum err e = db_open(conninfo, &db);
 *     if (e != ERR_OK)
 *         return e; */
#ifndef BELAY_CORE_ERR_H
#define BELAY_CORE_ERR_H

#include "server/core/banned.h"

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum err {
#define ERR(name, status, code, title) ERR_##name,
#include "server/core/err.def"
#undef ERR
    ERR_COUNT
};

/* The HTTP status of an error: 200 for ERR_OK, else 4xx or 5xx. */
int err_status(enum err e);

/* The public code: lower case, hyphens, stable; "job-not-found". Static. */
const char *err_code(enum err e);

/* A few words in English: "There is no such job". Static. */
const char *err_title(enum err e);

#endif
