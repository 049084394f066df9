/* All that is missing is applied in one transaction under a transaction-level advisory
 * lock: eight nodes that start at once queue up, the first applies, the others find
 * nothing to do, and a failure leaves the database as it was. Rejected: a session-level
 * lock and a transaction a file, which a transaction pooler breaks and a crash leaves
 * half done. */
#include "db/migrate.h"

#include "db/statement.h"
#include "server/core/cleanup.h"

#include <stdio.h>
#include <string.h>

enum { MIGRATE_TIMEOUT_MS = 60000 };

static const char begin[] =
    "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL client_min_messages = warning;"
    "SELECT pg_advisory_xact_lock(4993, 1);"
    "CREATE SCHEMA IF NOT EXISTS belay;"
    "CREATE TABLE IF NOT EXISTS belay.migrations (version int PRIMARY KEY, name text NOT "
    "NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now());";

int migrate_version(void)
{
    int newest = 0;

    for (const struct migration *m = migrations; m->text != NULL; m++)
        newest = m->version;
    return newest;
}

static enum err apply(struct db *db, const struct migration *m)
{
    CLEANUP(buf_release) struct buf record = BUF_INIT;
    enum err e = db_run(db, m->text, NULL);

    buf_addf(&record, "INSERT INTO belay.migrations (version, name) VALUES (%d, '%s')",
             m->version, m->name);
    if (e == ERR_OK)
        e = record.failed ? ERR_NO_MEMORY : db_run(db, record.text, NULL);
    return e;
}

static enum err read_version(struct db *db, int *out_version)
{
    struct db_rows rows;
    enum err e =
        db_run(db, "SELECT coalesce(max(version), 0) FROM belay.migrations", &rows);

    if (e != ERR_OK)
        return e;
    *out_version = (int)row_int(&rows, 0, 0);
    db_rows_free(&rows);
    return ERR_OK;
}

static enum err refuse_newer(int version, struct buf *why)
{
    if (version <= migrate_version())
        return ERR_OK;
    buf_addf(why,
             "the database has schema version %d, but this program knows versions up to "
             "%d; use a newer belay",
             version, migrate_version());
    return ERR_SCHEMA_TOO_NEW;
}

/* A look without the lock: most starts find all there, and a role that may not create
 * anything, or a standby, can start too. */
static enum err look(struct db *db, int *out_version, struct buf *why)
{
    struct db_rows rows;
    enum err e = db_run(db, "SELECT to_regclass('belay.migrations') IS NOT NULL", &rows);

    if (e != ERR_OK)
        return e;
    bool is_there = row_bool(&rows, 0, 0);
    db_rows_free(&rows);
    *out_version = 0;
    if (is_there)
        e = read_version(db, out_version);
    return e == ERR_OK ? refuse_newer(*out_version, why) : e;
}

static enum err apply_missing(struct db *db, int *out_applied, struct buf *why)
{
    int version = 0;
    enum err e = read_version(db, &version);

    if (e == ERR_OK)
        e = refuse_newer(version, why);
    for (const struct migration *m = migrations; e == ERR_OK && m->text != NULL; m++) {
        if (m->version <= version)
            continue;
        e = apply(db, m);
        if (e != ERR_OK)
            buf_addf(why, "migration %s: %s", m->name, db_errmsg(db));
        else
            (*out_applied)++;
    }
    return e;
}

static enum err run(struct db *db, int *out_applied, struct buf *why)
{
    int version;
    enum err e = look(db, &version, why);

    if (e == ERR_OK && version == migrate_version())
        return ERR_OK;
    if (e == ERR_OK)
        e = db_run(db, begin, NULL);
    if (e == ERR_OK)
        e = apply_missing(db, out_applied, why);
    if (e == ERR_OK)
        e = db_run(db, "COMMIT", NULL);
    if (e == ERR_OK)
        return ERR_OK;
    if (why->len == 0)
        buf_adds(why, db_errmsg(db));
    if (!db_is_broken(db) && db_run(db, "ROLLBACK", NULL) != ERR_OK)
        return e; /* closing the connection rolls back too */
    return e;
}

enum err migrate(const char *url, int *out_applied, struct buf *why)
{
    struct db_options options = {.url = url,
                                 .application_name = "belay migrate",
                                 .statement_timeout_ms = MIGRATE_TIMEOUT_MS,
                                 .no_prepare = true};
    char words[512];
    struct db *db;
    int applied = 0;
    enum err e = db_open(&options, &db, words, sizeof words);

    if (e != ERR_OK) {
        buf_adds(why, words);
        return e;
    }
    e = run(db, &applied, why);
    if (e == ERR_OK && out_applied != NULL)
        *out_applied = applied;
    db_close(db);
    return e;
}
