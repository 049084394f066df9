/* Every state of a job against every statement: what is answered, and where the job
 * stands then. The table is tests/model/transitions.txt, which the model reads too. */
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/db/states.h"
#include "tests/support/cluster.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(matrix, .timeout = 120);

#define TABLE "tests/model/transitions.txt"

enum { ROWS = 80, HEAD_BYTES = 200, CELLS_BYTES = 1500 };

/* A row: `name, N attempts: call`, and the lines below. Criterion hands it to another
 * process, so it has no pointers. */
struct row {
    char head[HEAD_BYTES];
    char cells[CELLS_BYTES];
};

static void add_line(struct row *rows, size_t *n, const char *line)
{
    if (line[0] == '#' || line[0] == '\n')
        return;
    if (line[0] != ' ') {
        cr_assert(*n < ROWS && strlen(line) < HEAD_BYTES, "%s", line);
        snprintf(rows[(*n)++].head, HEAD_BYTES, "%.*s", (int)strcspn(line, "\n"), line);
        return;
    }
    char *cells = rows[*n - 1].cells;
    size_t have = strlen(cells);
    cr_assert(have + strlen(line) < CELLS_BYTES, "%s", line);
    snprintf(cells + have, CELLS_BYTES - have, "%s", line);
}

static void free_rows(struct criterion_test_params *p)
{
    cr_free(p->params);
}

ParameterizedTestParameters(matrix, every_statement_from_every_state)
{
    struct row *rows = cr_calloc(ROWS, sizeof *rows);
    FILE *f = fopen(TABLE, "r");
    char line[CELLS_BYTES];
    size_t n = 0;

    if (f != NULL) {
        while (fgets(line, sizeof line, f) != NULL)
            add_line(rows, &n, line);
        fclose(f);
    }
    return cr_make_param_array(struct row, rows, n, free_rows);
}

/* Puts the job in for each `@` of the call. */
static void add_call(struct buf *sql, const char *call)
{
    for (const char *c = call; *c != '\0'; c++) {
        if (*c == '@')
            buf_adds(sql, "(SELECT job FROM m WHERE n = currval('s'))");
        else
            buf_addc(sql, *c);
    }
}

/* Applies the call to a job in each state, each in a transaction of its own. */
static void add_states(struct buf *sql, const char *call, int attempts)
{
    buf_adds(sql, "CREATE TEMP SEQUENCE s;"
                  "CREATE TEMP TABLE m (n int, state text, job bigint, answer text,"
                  " after text);");
    for (int i = 0; i < STATES; i++) {
        buf_addf(sql,
                 "BEGIN; INSERT INTO m SELECT nextval('s'), '%s', t.stand('%s', %d);"
                 "COMMIT; BEGIN; UPDATE m SET answer = x.a FROM (SELECT ",
                 states[i], states[i], attempts);
        add_call(sql, call);
        buf_adds(
            sql,
            " AS a OFFSET 0) x WHERE n = currval('s'); COMMIT;"
            "UPDATE m SET after = t.state(job) || t.check() WHERE n = currval('s');");
    }
}

ParameterizedTest(const struct row *row, matrix, every_statement_from_every_state)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;
    const char *call = strstr(row->head, ": ");
    const char *attempts = strchr(row->head, ',');

    cr_assert_not_null(call, "%s", row->head);
    add_states(&sql, call + 2,
               attempts != NULL && attempts < call ? (int)strtol(attempts + 1, NULL, 10)
                                                   : 1);
    buf_adds(&sql,
             "SELECT string_agg(concat('  ', states, ': ', answer, ' > ', after, E'\\n'),"
             " '' ORDER BY first) FROM (SELECT string_agg(state, ' ' ORDER BY n) states,"
             " coalesce(answer, 'nothing') answer, CASE WHEN after IN (state, 'none'"
             " || repeat('?', (state NOT IN ('unknown', 'deleted'))::int)) THEN '=' ELSE"
             " after END after, min(n) first FROM m GROUP BY 2, 3) x");
    const char *is = cluster_psql(states_database(), sql.text);
    cr_expect_str_eq(is, row->cells, "%s\nis\n%snot\n%s", row->head, is, row->cells);
}

/* A table that was not found would be one without rows, and no test. */
Test(matrix, the_table_has_rows)
{
    FILE *f = fopen(TABLE, "r");

    cr_assert_not_null(f, "no " TABLE ": run it from the root of the project");
    fclose(f);
}
