/* How jobs come in: as they are, as families, and by requests that may come twice or that
 * are put over what waits. */
#include "tests/db/race.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOCKS = 5, INSERT_PARAMS = 16, PUT_PARAMS = INSERT_PARAMS + 4, METADATA = 6 };
enum { FAMILY_BYTES = 64 };

/* A child of some job, or one that depends on two others. */
static const char *any_family(struct actor *a, char out[FAMILY_BYTES])
{
    int what = any(a, 6);

    if (what > 1)
        return NULL;
    snprintf(out, FAMILY_BYTES,
             what == 0 ? "{\"parent_id\":%" PRId64 ",\"on_parent_cancel\":\"cascade\"}"
                       : "{\"depends_on\":[%" PRId64 ",%" PRId64 "]}",
             any_id(a), any_id(a));
    return out;
}

static const char *any_lock(struct actor *a, char out[8], const char *prefix)
{
    if (any(a, 2) == 0)
        return NULL;
    snprintf(out, 8, "%.1s%d", prefix, any(a, LOCKS));
    return out;
}

/* The texts of a row have to live until it is sent. */
struct texts {
    char lock[8], queueing_lock[8], family[FAMILY_BYTES], metadata[32];
};

static void any_row(struct actor *a, struct texts *t, struct db_value *v)
{
    const struct db_value row[INSERT_PARAMS] = {
        db_text("t"),
        db_text("default"),
        db_int(any(a, 3)),
        db_text("{}"),
        db_int(1 + any(a, 3)),
        db_text("{}"),
        db_text("{}"),
        db_null(),
        any(a, 3) == 0 ? db_int(any(a, 30)) : db_null(),
        db_text(any_lock(a, t->lock, "l")),
        db_text(any(a, 4) == 0 ? any_lock(a, t->queueing_lock, "k") : NULL),
        db_int(0),
        db_null(),
        db_null(),
        any(a, 4) == 0 ? db_int(any(a, 100)) : db_null(),
        db_text(any_family(a, t->family))};
    memcpy(v, row, sizeof row);
}

static void see(int64_t id)
{
    if (id > race_newest_id)
        atomic_store(&race_newest_id, id);
}

void race_insert(struct actor *a)
{
    struct db_value values[BATCH_MAX * INSERT_PARAMS];
    struct texts texts[BATCH_MAX];
    struct db_rows rows;
    int n = 1 + any(a, BATCH_MAX);

    for (int i = 0; i < n; i++)
        any_row(a, &texts[i], values + i * INSERT_PARAMS);
    for (int i = 0; i < n; i++) { /* each a group of its own, as from n requests */
        if (!run(a, SQL_job_insert, 1, values + i * INSERT_PARAMS, &rows))
            continue;
        if (strcmp(row_text(&rows, 0, 2), "created") == 0)
            see(row_int(&rows, 0, 1));
        db_rows_free(&rows);
    }
}

/* A batch in one request, with a key that came before or not, over what waits. Its jobs
 * say which key put them in, so that race.c can tell whether two did. */
void race_put(struct actor *a)
{
    static const char *const modes[] = {"ignore", "replace", "abort_replace", "reject"};
    struct db_value values[BATCH_MAX * PUT_PARAMS];
    struct texts texts[BATCH_MAX];
    char key[16];
    struct db_rows rows;
    int n = 1 + any(a, 3), number = any(a, KEYS);
    bool keyed = any(a, 3) > 0;

    snprintf(key, sizeof key, "K%d", number);
    for (int i = 0; i < n; i++) {
        struct db_value *v = values + i * PUT_PARAMS;
        any_row(a, &texts[i], v);
        snprintf(texts[i].metadata, sizeof texts[i].metadata, "{\"key\":\"%s\"}", key);
        v[METADATA] = db_text(keyed ? texts[i].metadata : "{}");
        v[INSERT_PARAMS] = db_text(keyed ? key : NULL);
        v[INSERT_PARAMS + 1] = db_text(any(a, 8) == 0 ? "other" : "hash");
        v[INSERT_PARAMS + 2] = db_int(600);
        v[INSERT_PARAMS + 3] = db_text(modes[any(a, 4)]);
    }
    if (!run(a, SQL_job_put, n, values, &rows))
        return;
    if (rows.count > 0 && !row_is_null(&rows, 0, 3))
        see(row_int(&rows, 0, 3));
    db_rows_free(&rows);
}
