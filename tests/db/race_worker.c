/* What a worker does: claims, finishes, gives back, and dies now and then. */
#include "tests/db/race.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FINISH_PARAMS = 13, BACK_PARAMS = 9 };

void register_worker(struct actor *a)
{
    struct db_value v[] = {db_text("w"), db_text("h"), db_int(1), db_text("1"),
                           db_int(8),    db_null(),    db_null()};
    struct db_rows rows;

    if (!run(a, SQL_worker_register, 1, v, &rows))
        return;
    a->worker = row_int(&rows, 0, 0);
    db_rows_free(&rows);
}

static void claim(struct actor *a)
{
    int n = 1 + any(a, 8);
    struct db_value v[] = {db_int(a->worker), db_int(n), db_int(1 + any(a, n)), db_null(),
                           db_null()};
    struct db_rows rows;

    if (a->n_mine + n > MINE_MAX || !run(a, SQL_job_claim, 1, v, &rows))
        return;
    for (int i = 0; i < rows.count; i++)
        a->mine[a->n_mine++] = (struct claimed){.id = row_int(&rows, i, 0),
                                                .lease = row_int(&rows, i, 1),
                                                .worker = a->worker,
                                                .attempt = (int)row_int(&rows, i, 5)};
    db_rows_free(&rows);
}

/* Takes up to BATCH_MAX of the claimed jobs. */
static int take(struct actor *a, struct claimed out[BATCH_MAX])
{
    int n = 1 + any(a, BATCH_MAX);

    for (int i = 0; i < n; i++) {
        if (a->n_mine == 0)
            return i;
        int k = any(a, a->n_mine);
        out[i] = a->mine[k];
        a->mine[k] = a->mine[--a->n_mine];
    }
    return n;
}

static void finish(struct actor *a)
{
    static const char *const statuses[] = {"succeeded", "succeeded", "failed", "aborted"};
    struct db_value values[BATCH_MAX * FINISH_PARAMS], *v = values;
    struct claimed c[BATCH_MAX];
    struct db_rows rows;
    int n = take(a, c);

    for (int i = 0; i < n; i++, v += FINISH_PARAMS) {
        const struct db_value row[FINISH_PARAMS] = {db_int(c[i].id),
                                                    db_int(c[i].lease),
                                                    db_int(c[i].worker),
                                                    db_int(c[i].attempt),
                                                    db_text(statuses[any(a, 4)]),
                                                    db_null(),
                                                    db_null(),
                                                    db_int(10),
                                                    db_int(0),
                                                    db_null(),
                                                    db_int(0),
                                                    db_null(),
                                                    db_null()};
        memcpy(v, row, sizeof row);
    }
    if (n == 0 || !run(a, SQL_job_finish, n, values, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        bool again =
            strcmp(row_text(&rows, i, 3), "todo") == 0; /* asked to start again */
        if (row_bool(&rows, i, 2))
            note(a, again ? "back" : "end", c[i].id, c[i].attempt);
    }
    db_rows_free(&rows);
}

static void give_back(struct actor *a)
{
    static const char *const kinds[] = {"retry", "retry", "shutdown", "unstarted"};
    struct db_value values[BATCH_MAX * BACK_PARAMS], *v = values;
    const char *kind[BATCH_MAX];
    struct claimed c[BATCH_MAX];
    struct db_rows rows;
    int n = take(a, c);

    for (int i = 0; i < n; i++, v += BACK_PARAMS) {
        const char *next = any(a, 4) == 0 ? "{\"lock\":\"l0\",\"queue\":\"r\"}" : NULL;
        kind[i] = kinds[any(a, 4)];
        const struct db_value row[BACK_PARAMS] = {
            db_int(c[i].id),     db_int(c[i].lease),
            db_int(c[i].worker), db_int(c[i].attempt),
            db_text(kind[i]),    db_int(any(a, 3) * 10),
            db_null(),           db_null(),
            db_text(next)};
        memcpy(v, row, sizeof row);
    }
    if (n == 0 || !run(a, SQL_job_give_back, n, values, &rows))
        return;
    for (int i = 0; i < rows.count; i++) {
        bool ended = strcmp(row_text(&rows, i, 3), "todo") != 0;
        bool started =
            strcmp(kind[i], "unstarted") != 0; /* else its number is used again */
        if (row_bool(&rows, i, 2) && (ended || started))
            note(a, ended ? "end" : "back", c[i].id, started ? c[i].attempt : 0);
    }
    db_rows_free(&rows);
}

/* Is not heard of any more, but goes on: what it still writes may be stale. */
static void die(struct actor *a)
{
    char sql[160];

    snprintf(sql, sizeof sql,
             "UPDATE belay.workers SET heartbeat_at = now() - interval '1 hour' WHERE id "
             "= %" PRId64,
             a->worker);
    if (db_run(a->db, sql, NULL) == ERR_OK)
        register_worker(a);
}

void race_work(struct actor *a)
{
    int what = any(a, 100);

    if (what < 40)
        claim(a);
    else if (what < 75)
        finish(a);
    else if (what < 98)
        give_back(a);
    else
        die(a);
}
