/* queue_limit: what PostgreSQL itself can do with our tables and our statements.
 *
 *     queue_limit DATABASE_URL JOBS BATCH [QUEUE]
 *
 * One connection, one loop: finish the last batch and claim the next in one transaction
 * and one round trip, history kept. No HTTP, no threads, no task: the limit that the
 * service's own rate is held against. JOBS jobs must wait in `ready`; with QUEUE only
 * those of that queue are claimed. Prints one line of JSON. */
#include "db/db.h"
#include "server/core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { FINISH_PARAMS = 13, BATCH_MAX = 2000 };

struct batch {
    int n;
    struct db_value values[BATCH_MAX * FINISH_PARAMS];
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "queue_limit: %s: %s\n", what, why);
    exit(1);
}

/* The claimed rows become the rows of the next finish. */
static void fill_finish(struct batch *b, const struct db_rows *claimed, int64_t worker)
{
    b->n = claimed->count;
    for (int i = 0; i < claimed->count; i++) {
        struct db_value *v = b->values + (size_t)i * FINISH_PARAMS;
        int k = 0;
        v[k++] = db_int(row_int(claimed, i, 0)); /* id */
        v[k++] = db_int(row_int(claimed, i, 1)); /* lease */
        v[k++] = db_int(worker);
        v[k++] = db_int(row_int(claimed, i, 5)); /* attempt */
        v[k++] = db_text("succeeded");
        v[k++] = db_null();                       /* result */
        v[k++] = db_null();                       /* error */
        v[k++] = db_int(100);                     /* started_us */
        v[k++] = db_null();                       /* finished_us_ago */
        v[k++] = db_null();                       /* message */
        v[k++] = (struct db_value){.num = false}; /* killed */
        v[k++] = db_null();
        v[k] = db_null();
    }
}

static int round_trip(struct db *db, struct batch *b, int64_t worker, int n,
                      const char *queues)
{
    struct db_value claim[] = {db_int(worker), db_int(n), db_int(n), db_text(queues),
                               db_null()};
    struct db_call calls[2] = {{SQL_job_finish, b->n, b->values},
                               {SQL_job_claim, 1, claim}};
    struct db_rows rows[2];
    int skip = b->n == 0;

    if (db_exec_all(db, 2 - skip, calls + skip, rows + skip) != ERR_OK)
        die("claim and finish", db_errmsg(db));
    if (!skip)
        db_rows_free(&rows[0]);
    fill_finish(b, &rows[1], worker);
    db_rows_free(&rows[1]);
    return b->n;
}

int main(int argc, char **argv)
{
    static struct batch batch;
    char why[256];
    char queues[160];
    struct db *db;
    struct db_rows rows;

    if (argc < 4)
        die("usage", "queue_limit DATABASE_URL JOBS BATCH");
    struct db_options options = {
        .url = argv[1], .application_name = "belay bench", .pin_plans = true};
    int64_t jobs = strtoll(argv[2], NULL, 10), done = 0;
    int n = (int)strtol(argv[3], NULL, 10);
    struct db_value worker[] = {db_text("queue_limit"),
                                db_text("localhost"),
                                db_int(1),
                                db_text("bench"),
                                db_int(1),
                                db_null(),
                                db_null()};
    if (n < 1 || n > BATCH_MAX)
        die("BATCH", "must be 1..2000");
    if (db_open(&options, &db, why, sizeof why) != ERR_OK)
        die("connect", why);
    if (db_exec(db, SQL_worker_register, 1, worker, &rows) != ERR_OK)
        die("register", db_errmsg(db));
    snprintf(queues, sizeof queues, "{\"%s\"}", argc > 4 ? argv[4] : "");
    const char *only = argc > 4 && argv[4][0] != '\0' ? queues : NULL;
    int64_t id = row_int(&rows, 0, 0), start_us = clock_us();
    db_rows_free(&rows);
    while (done < jobs) {
        int got = round_trip(db, &batch, id, n, only);
        if (got == 0)
            die("claim", "there are fewer jobs than JOBS");
        done += got;
    }
    round_trip(db, &batch, id, n, only); /* finishes the last batch */
    int64_t us = clock_us() - start_us;
    printf("{\"jobs\":%" PRId64 ",\"seconds\":%.3f,\"per_second\":%.0f}\n", done,
           (double)us / 1e6, (double)done * 1e6 / (double)us);
    db_close(db);
    return 0;
}
