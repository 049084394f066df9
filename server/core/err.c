/* The table is made from err.def, so a new error is one row there: number, status, code
 * and title cannot disagree. */
#include "server/core/err.h"

#include <assert.h>

struct err_row {
    int status;
    const char *code, *title;
};

static const struct err_row rows[] = {
#define ERR(name, status, code, title) [ERR_##name] = {status, code, title},
#include "server/core/err.def"
#undef ERR
};

static const struct err_row *row_of(enum err e)
{
    assert(e < ERR_COUNT);
    return &rows[e];
}

int err_status(enum err e)
{
    return row_of(e)->status;
}

const char *err_code(enum err e)
{
    return row_of(e)->code;
}

const char *err_title(enum err e)
{
    return row_of(e)->title;
}
