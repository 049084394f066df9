/* What everybody else does: cancels, deletes, retries, restores, pauses; and what the
 * janitor does. */
#include "tests/db/race.h"

#include <stdio.h>
#include <string.h>

static void note_answers(struct actor *a, const struct db_rows *rows, const int64_t *ids,
                         const char *result)
{
    for (int i = 0; i < rows->count; i++) {
        if (strcmp(row_text(rows, i, 1), result) == 0)
            note(a, result, ids[i], 0);
    }
}

static void cancel(struct actor *a)
{
    const char *more[6] = {"{\"retry\":\"requeue\"}", "{\"undo_seconds\":0}"};
    struct db_value values[BATCH_MAX * 11], *v = values;
    int64_t ids[BATCH_MAX];
    struct db_rows rows;
    int n = 1 + any(a, BATCH_MAX);

    for (int i = 0; i < n; i++, v += 11) {
        ids[i] = any_id(a);
        int kind = any(a, 6);
        const struct db_value row[11] = {db_int(ids[i]),
                                         db_int(kind == 0 || any(a, 2)),
                                         db_int(kind > 0 && any(a, 8) == 0),
                                         db_null(),
                                         db_text("ann"),
                                         db_text("user"),
                                         db_null(),
                                         db_text(any(a, 5) ? NULL : "{todo,doing}"),
                                         db_null(),
                                         db_null(),
                                         db_text(more[kind])};
        memcpy(v, row, sizeof row);
    }
    if (!run(a, SQL_job_cancel, n, values, &rows))
        return;
    note_answers(a, &rows, ids, "cancelled");
    db_rows_free(&rows);
}

/* Of a request that came or of one that comes yet. */
static void cancel_key(struct actor *a)
{
    char key[16];
    struct db_rows rows;

    snprintf(key, sizeof key, "K%d", any(a, KEYS));
    struct db_value v[] = {db_text(key), db_null(),         db_text("ann"),
                           db_int(600),  db_int(any(a, 2)), db_null()};
    if (!run(a, SQL_key_cancel, 1, v, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        if (strcmp(row_text(&rows, i, 1), "cancelled") == 0)
            note(a, "cancelled", row_int(&rows, i, 10), 0);
    }
    db_rows_free(&rows);
}

static void delete_some(struct actor *a)
{
    struct db_value values[BATCH_MAX * 6], *v = values;
    struct db_rows rows;
    int n = 1 + any(a, 2);

    for (int i = 0; i < n; i++, v += 6) {
        const struct db_value row[6] = {db_int(any_id(a)), db_int(any(a, 2)), db_null(),
                                        db_text("ann"),    db_null(),         db_null()};
        memcpy(v, row, sizeof row);
    }
    if (run(a, SQL_job_delete, n, values, &rows))
        db_rows_free(&rows);
}

static void retry(struct actor *a)
{
    static const char more[] =
        "{\"lock\":\"l0\",\"queueing_lock\":\"k1\",\"queue\":\"r\",\"delay_ms\":5}";
    struct db_value values[BATCH_MAX * 4], *v = values;
    int64_t ids[BATCH_MAX];
    struct db_rows rows;
    int n = 1 + any(a, BATCH_MAX), width = 3 + (any(a, 3) > 0); /* 3: a restore */

    for (int i = 0; i < n; i++, v += width) {
        const struct db_value row[4] = {db_int(ids[i] = any_id(a)), db_text("ann"),
                                        db_null(), db_text(any(a, 2) == 0 ? more : NULL)};
        memcpy(v, row, sizeof row);
    }
    if (!run(a, width == 3 ? SQL_job_restore : SQL_job_retry, n, values, &rows))
        return;
    note_answers(a, &rows, ids, width == 3 ? "restored" : "retried");
    db_rows_free(&rows);
}

void race_ask(struct actor *a)
{
    int what = any(a, 100);

    if (what < 40)
        cancel(a);
    else if (what < 45)
        cancel_key(a);
    else if (what < 55)
        delete_some(a);
    else if (what < 75)
        retry(a);
    else
        race_insert(a);
}

/* Pauses, limits, holds. */
void race_meddle(struct actor *a)
{
    judge(a, db_run(a->db, "SELECT t.meddle()", NULL), "meddle");
}

/* What is cancelled has ended; what runs is only asked to stop. */
void race_tidy(struct actor *a)
{
    static const enum sql all[] = {
        SQL_maintain_due,  SQL_maintain_due,  SQL_maintain_reap,  SQL_maintain_expire,
        SQL_maintain_tick, SQL_maintain_undo, SQL_maintain_sweep, SQL_maintain_sweep};
    enum sql sql = all[any(a, 8)];
    bool reaps = sql == SQL_maintain_reap;
    struct db_value v[] = {db_int(reaps ? 60000 : 1 + any(a, 50)), db_int(100)};
    struct db_rows rows;

    if (!run(a, sql, 1, v, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        if (reaps)
            note(a, strcmp(row_text(&rows, i, 2), "todo") == 0 ? "back" : "end",
                 row_int(&rows, i, 0), -1);
        else if (strcmp(row_text(&rows, i, 1), "cancelled") == 0)
            note(a, "cancelled", row_int(&rows, i, 0), 0);
    }
    db_rows_free(&rows);
}
