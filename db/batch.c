/* A batch is a choice among operations that wait: those of one statement, because one
 * statement is all that PostgreSQL is asked at a time, and not more than it answers
 * within a moment. Rejected: to fail a batch as a whole (one bad request would fail its
 * neighbours), and to check each operation before (PostgreSQL is the only one who knows).
 */
#include "db/batch.h"

#include "db/params.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BATCH_ROWS_MAX = 1000, /* of operations together; one alone may have more */
    BATCH_BYTES_MAX = 4 << 20,
    CONFLICT_TRIES = 3,
};

/* The result of one batch; freed with its last user, on the completing thread. */
struct shared_rows {
    struct db_rows rows;
    int users;
};

/* -- lists --------------------------------------------------------------------------- */

void pending_init(struct pending_list *l)
{
    *l = (struct pending_list){.head = NULL, .tail = &l->head};
}

void pending_add(struct pending_list *l, struct pending *p)
{
    p->next = NULL;
    *l->tail = p;
    l->tail = &p->next;
    l->n++;
    l->rows += p->op.n_rows;
}

void pending_splice(struct pending_list *to, struct pending_list *from)
{
    if (from->head == NULL)
        return;
    *to->tail = from->head;
    to->tail = from->tail;
    to->n += from->n;
    to->rows += from->rows;
    pending_init(from);
}

struct pending *pending_take(struct pending_list *l)
{
    struct pending *p = l->head;

    if (p == NULL)
        return NULL;
    l->head = p->next;
    l->n--;
    l->rows -= p->op.n_rows;
    if (l->head == NULL)
        l->tail = &l->head;
    return p;
}

/* -- taking -------------------------------------------------------------------------- */

static size_t bytes_of(const struct db_op *op)
{
    int n = op->n_rows * sql_params(op->sql);
    size_t bytes = 0;

    for (int i = 0; i < n; i++)
        bytes += 12 + (size_t)op->values[i].len;
    return bytes;
}

int batch_take(struct pending_list *waiting, struct pending **batch)
{
    struct pending **link = &waiting->head, *p;
    enum sql sql = waiting->head->op.sql;
    int n = 0, rows = 0, most = sql_is_array(sql) ? BATCH_OPS_MAX : 1;
    size_t bytes = 0;

    while ((p = *link) != NULL && n < most) {
        if (p->op.sql != sql) {
            link = &p->next;
            continue;
        }
        rows += p->op.n_rows;
        bytes += bytes_of(&p->op);
        if (n > 0 && (rows > BATCH_ROWS_MAX || bytes > BATCH_BYTES_MAX))
            break;
        *link = p->next;
        waiting->rows -= p->op.n_rows;
        batch[n++] = p;
    }
    waiting->n -= n;
    while (*link != NULL)
        link = &(*link)->next;
    waiting->tail = link;
    return n;
}

/* -- sending ------------------------------------------------------------------------- */

void batch_fail(struct pending **batch, int n, enum err e, const char *message)
{
    for (int i = 0; i < n; i++) {
        batch[i]->why = e;
        snprintf(batch[i]->message, sizeof batch[i]->message, "%s", message);
    }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
/* No batch is empty, so there is one that has it. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
/* Cuts the result into the parts of its operations: rows are in the order of `ord`, the
 * number of the input row. */
static enum err share_rows(struct pending **batch, int n, struct db_rows *rows)
{
    struct shared_rows *shared = malloc(sizeof *shared);
    int row = 0, last_ord = 0;

    if (shared == NULL) {
        db_rows_free(rows);
        return ERR_NO_MEMORY;
    }
    *shared = (struct shared_rows){.rows = *rows, .users = n};
    for (int i = 0; i < n; i++) {
        struct pending *p = batch[i];
        p->shared = shared;
        p->first = row;
        last_ord += p->op.n_rows;
        if (!sql_is_array(p->op.sql))
            row = rows->count;
        while (row < rows->count && row_int(rows, row, 0) <= last_ord)
            row++;
        p->count = row - p->first;
    }
    return ERR_OK;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

static enum err exec_once(struct link *link, struct pending **batch, int n)
{
    struct db_part parts[BATCH_OPS_MAX];
    struct db_rows rows;

    for (int i = 0; i < n; i++)
        parts[i] = (struct db_part){.n_rows = batch[i]->op.n_rows,
                                    .values = batch[i]->op.values};
    enum err e = db_exec_parts(link->db, batch[0]->op.sql, n, parts, &rows);
    return e == ERR_OK ? share_rows(batch, n, &rows) : e;
}

/* The connection failed with the statement on its way: only PostgreSQL's own word says
 * that nothing happened. */
static enum err fate_of_lost(const struct link *link, bool changes, enum err e)
{
    bool said = db_sqlstate(link->db)[0] != '\0';

    return db_is_broken(link->db) && !said && changes ? ERR_OUTCOME_UNKNOWN : e;
}

void batch_exec(struct link *link, bool changes, struct pending **batch, int n)
{
    enum err e = ERR_CONFLICT;

    for (int i = 0; i < CONFLICT_TRIES && e == ERR_CONFLICT && !db_is_broken(link->db);
         i++)
        e = exec_once(link, batch, n);
    if (e == ERR_OK)
        return;
    e = fate_of_lost(link, changes, e);
    if (n == 1 || db_is_broken(link->db) || e == ERR_UNAVAILABLE) {
        batch_fail(batch, n, e == ERR_CONFLICT ? ERR_UNAVAILABLE : e,
                   db_errmsg(link->db));
        return;
    }
    batch_exec(link, changes, batch,
               n / 2); /* one of them is bad: find it, spare the others */
    if (db_is_broken(link->db))
        batch_fail(batch + n / 2, n - n / 2, ERR_UNAVAILABLE, db_errmsg(link->db));
    else
        batch_exec(link, changes, batch + n / 2, n - n / 2);
}

/* -- answers ------------------------------------------------------------------------- */

void batch_complete(struct pending_list *answered)
{
    struct pending *p;

    while ((p = pending_take(answered)) != NULL) {
        struct db_rows none = {.result = NULL}, rows = none;

        if (p->shared != NULL)
            rows = (struct db_rows){
                .result = p->shared->rows.result, .first = p->first, .count = p->count};
        p->op.done(p->op.arg, p->why == ERR_OK ? &rows : &none, p->why, p->message);
        if (p->shared != NULL && --p->shared->users == 0) {
            db_rows_free(&p->shared->rows);
            free(p->shared);
        }
        free(p);
    }
}
