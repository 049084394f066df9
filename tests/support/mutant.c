/* What tests/mutants asks of a run of tests, by its environment: another schema than that
 * of the migrations, and to be told which test each database was made for. */
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/support/cluster_private.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "r");
    char part[4096];
    size_t n;

    if (f == NULL)
        return false;
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        buf_add(out, part, n);
    fclose(f);
    return true;
}

bool mutant_apply(const char *url, struct buf *why)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;
    const char *path = getenv("BELAY_TEST_MUTANT");

    if (path == NULL)
        return true;
    if (!read_file(path, &sql)) {
        buf_addf(why, "%s cannot be read", path);
        return false;
    }
    PGconn *conn = PQconnectdb(url);
    PGresult *result = PQexec(conn, sql.text);
    bool good = PQresultStatus(result) == PGRES_COMMAND_OK;

    if (!good)
        buf_adds(why, PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
    return good;
}

void mutant_say_whose(const char *url)
{
    const char *path = getenv("BELAY_TEST_WHOSE");
    const char *name = strstr(url, "dbname=");
    FILE *f = path != NULL && name != NULL ? fopen(path, "a") : NULL;

    if (f == NULL)
        return;
    fprintf(f, "%s %s/%s\n", name, criterion_current_test->category,
            criterion_current_test->name);
    fclose(f);
}
