/* migrate: brings the schema `belay` up to the version that this program knows.
 *
 * Files are db/migrations/NNNN_what.sql, embedded; what is missing
 * runs in one transaction under one advisory lock, so that eight nodes that start at once
 * on an empty database apply each once, and a failure leaves everything as it was.
 * belay.migrations(version, name, applied_at) is the record. A database that is newer
 * than the program is ERR_SCHEMA_TOO_NEW, and nothing is touched. */
#ifndef BELAY_DB_MIGRATE_H
#define BELAY_DB_MIGRATE_H

#include "db/db.h"
#include "server/core/buf.h"

/* The newest version that this program knows. */
int migrate_version(void);

/* Applies what is missing; out_applied may be NULL. `why` gets the words of a failure. */
enum err migrate(const char *url, int *out_applied, struct buf *why) MUST_CHECK;

#endif
