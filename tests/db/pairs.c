/* Every two statements that change a job meet at it: one after the other; the second
 * while the first has done its part and not committed; and the same when the first then
 * thinks better of it. What comes of it is the table pairs.txt; no two may deadlock, and
 * no invariant may break in any of it.
 *
 * A line: first, second in start: answer | answer > state. Then what the second does in
 * the middle, `waits` or `passes`, and what it answers and where the job ends where that
 * is not what it would have been one after the other; the same where the first rolls back
 * and it is not as if that had never been. */
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/db/jobs.h"
#include "tests/db/session.h"
#include "tests/db/states.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(pairs, .timeout = 240);

#define TABLE "tests/db/pairs.txt"

/* `@` is the job, `^` its lease and `~` its worker, as they are at the start. */
static const struct act {
    const char *name, *start, *call;
} acts[] = {
    {"claim", "ready", "t.claim_of(@)"},
    {"due", "late_scheduled", "(SELECT nullif(moved, 0) FROM belay.due(9))"},
    {"finish", "doing", "t.finish(@, ^, ~)"},
    {"finish_aborted", "asked", "t.finish(@, ^, ~, 'aborted')"},
    {"try_again", "doing", "t.back(@, ^, ~, 'retry', 60000)"},
    {"shut_down", "doing", "t.back(@, ^, ~, 'shutdown')"},
    {"recover", "doing", "nullif(belay.recover(~, '{}'), 0)"},
    {"reap", "dying", "split_part(t.reap(), ':', 2)"},
    {"cancel", "ready", "t.cancel(@)"},
    {"abort", "doing", "t.cancel(@, true)"},
    {"requeue", "doing", "t.requeue(@)"},
    {"time_out", "doing", "t.late(@)"},
    {"expire", "overdue", "(SELECT result FROM belay.expire(9) WHERE job_id = @)"},
    {"delete", "succeeded", "t.del(@)"},
    {"delete_abort", "doing", "t.del(@, true)"},
    {"retry", "failed", "t.retry(@)"},
    {"restore", "cancelled", "t.restore(@)"},
    {"hold", "ready", "t.hold(@)"},
    {"release", "held", "t.release(@)"},
    {"replace", "unique", "t.replace(@)"},
    {"sweep", "orphan", "t.sweeps(@)"},
    {"set_free", "freed", "t.sweeps(@)"},
    {"bulk_cancel", "listed", "t.walk(true)"},
    {"retain", "old", "(SELECT nullif(removed, 0) FROM belay.retain('{9,9,9,9}', 0, 9))"},
};

enum { ACTS = sizeof acts / sizeof acts[0] };

/* Starts of their own; and a clean table for each. */
static const char starting[] =
    "CREATE FUNCTION t.replace(job bigint) RETURNS text LANGUAGE plpgsql AS $$ DECLARE k "
    "text := (SELECT queueing_lock FROM belay.jobs WHERE id = job); BEGIN IF k IS NULL "
    "THEN RETURN NULL; END IF; RETURN (SELECT result || CASE job_id WHEN job THEN "
    "' this' ELSE '' END FROM belay.put_jobs('{0}', '{t}', '{default}', '{5}', "
    "ARRAY['{}'::json], '{1}', ARRAY['{}'], ARRAY['{}'::json], '{NULL}', '{NULL}', "
    "'{NULL}', ARRAY[k], '{f}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', "
    "'{NULL}', '{60}', '{replace}')); END $$;"
    "CREATE FUNCTION t.sweeps(job bigint) RETURNS text LANGUAGE sql AS $$ SELECT "
    "string_agg(concat(result, nullif(released, 0)), '') FROM belay.sweep(9) x WHERE "
    "x.job_id = job OR x.job_id IS NULL HAVING bool_or(result IS NOT NULL OR released > "
    "0) $$;"
    "CREATE FUNCTION t.walk(also boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN FOR "
    "i "
    "IN 1 .. 12 LOOP PERFORM belay.operation_step(1000); END LOOP; RETURN (SELECT "
    "string_agg(concat(cancelled, aborting), ' ') FROM belay.operations WHERE cancelled "
    "+ "
    "aborting > 0); END $$;"
    "DO $do$ BEGIN EXECUTE 'CREATE FUNCTION t.wipe() RETURNS void LANGUAGE plpgsql AS "
    "$$ BEGIN ' || (SELECT string_agg(format('DELETE FROM belay.%I;', c.relname), ' ') "
    "FROM pg_class c WHERE c.relnamespace = 'belay'::regnamespace AND c.relkind IN ('r', "
    "'p') AND NOT c.relispartition AND c.relname NOT IN ('queues', 'tasks', "
    "'migrations')) || ' END $$'; END $do$;"
    "CREATE FUNCTION t.start(start text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE job "
    "bigint; parent bigint; BEGIN PERFORM t.wipe(); CASE start WHEN 'late_scheduled' "
    "THEN job := "
    "t.stand('scheduled'); UPDATE belay.scheduled SET run_at = '2020-01-01'; UPDATE "
    "belay.jobs SET scheduled_at = '2020-01-01'; WHEN 'dying' THEN job := "
    "t.stand('doing', 9); PERFORM t.die(job); WHEN 'overdue' THEN job := "
    "t.stand('ready'); UPDATE belay.jobs SET deadline = '2020-01-01'; INSERT INTO "
    "belay.deadlines VALUES ('2020-01-01', job); WHEN 'unique' THEN job := t.ins(NULL, "
    "'k', NULL, 1, 0, 'q'); WHEN 'orphan' THEN parent := t.ins(); job := "
    "t.child(parent); PERFORM t.cancel(parent); WHEN 'freed' THEN parent := "
    "t.make('doing'); job := t.after(parent); PERFORM t.finish_mine(parent); WHEN "
    "'listed' THEN job := t.stand('ready'); PERFORM "
    "belay.create_operation(belay.operation_of('cancel', '{\"task\":\"t\"}', true, "
    "false, "
    "NULL, NULL, NULL, NULL)); WHEN 'old' THEN job := t.stand('succeeded'); UPDATE "
    "belay.ends SET finished_at = '2020-01-01'; UPDATE belay.jobs SET created_at = "
    "'2020-01-01'; ELSE job := t.stand(start, 9); END CASE; RETURN (SELECT concat_ws(' "
    "', job, coalesce(l.id, "
    "0), coalesce(l.worker_id, 0)) FROM (SELECT (t.lease(job)).*) l); END $$;";

struct stage {
    struct session *a, *b, *c;
    char job[24], lease[24], worker[24];
};

static void stage_set(struct stage *s, const char *start)
{
    char answer[100];
    char *rest = answer;

    snprintf(answer, sizeof answer, "%s",
             session_run(s->c, text_of("SELECT t.start('%s')", start)));
    snprintf(s->job, sizeof s->job, "%s", strsep(&rest, " "));
    snprintf(s->lease, sizeof s->lease, "%s", strsep(&rest, " "));
    snprintf(s->worker, sizeof s->worker, "%s", rest);
}

static const char *call_of(const struct stage *s, const struct act *act)
{
    struct buf sql = BUF_INIT;

    buf_adds(&sql, "SELECT coalesce(");
    for (const char *c = act->call; *c != '\0'; c++) {
        if (*c == '@' || *c == '^' || *c == '~')
            buf_adds(&sql, *c == '@' ? s->job : *c == '^' ? s->lease : s->worker);
        else
            buf_addc(&sql, *c);
    }
    buf_adds(&sql, "::text, 'nothing')");
    const char *text = text_of("%s", sql.text);
    buf_release(&sql);
    return text;
}

/* Where the job is, with all that is broken. */
static const char *state_of(const struct stage *s)
{
    return text_of("%s",
                   session_run(s->c, text_of("SELECT t.state(%s) || t.check()", s->job)));
}

static const char *run_alone(struct stage *s, const struct act *act)
{
    return text_of("%s", session_run(s->a, call_of(s, act)));
}

/* The second while the first is in the middle. Answers "answer > state", and whether it
 * had to wait. */
static const char *run_middle(struct stage *s, const struct act *first,
                              const struct act *second, const char *then, bool *out_waits)
{
    session_run(s->a, "BEGIN");
    session_run(s->a, call_of(s, first));
    session_start(s->b, call_of(s, second));
    *out_waits = session_waits(s->b, s->a, s->c);
    if (!*out_waits) {
        const char *answer = text_of("%s", session_end(s->b));
        session_run(s->a, then);
        return text_of("%s > %s", answer, state_of(s));
    }
    session_run(s->a, then);
    const char *answer = text_of("%s", session_end(s->b));
    return text_of("%s > %s", answer, state_of(s));
}

/* As if the first had never been? Only asked where it would have done something. */
static void add_rollback(struct buf *is, struct stage *s, const struct act *first,
                         const struct act *second, const char *start)
{
    bool waits;

    stage_set(s, start);
    const char *answer = run_alone(s, second);
    const char *alone = text_of("%s > %s", answer, state_of(s));
    stage_set(s, start);
    const char *middle = run_middle(s, first, second, "ROLLBACK", &waits);
    if (strcmp(middle, alone) != 0)
        buf_addf(is, "; rolled back: %s", middle);
}

static void add_pair(struct buf *is, struct stage *s, const struct act *first,
                     const struct act *second, const char *start)
{
    bool waits;

    stage_set(s, start);
    const char *before = state_of(s);
    const char *one = run_alone(s, first);
    bool does_something = strcmp(before, state_of(s)) != 0;
    const char *two = run_alone(s, second);
    const char *in_turn = text_of("%s > %s", two, state_of(s));
    buf_addf(is, "  %s, %s in %s: %s | %s", first->name, second->name, start, one,
             in_turn);

    stage_set(s, start);
    const char *middle = run_middle(s, first, second, "COMMIT", &waits);
    buf_addf(is, "; %s", waits ? "waits" : "passes");
    if (strcmp(middle, in_turn) != 0)
        buf_addf(is, ", %s", middle);
    if (does_something)
        add_rollback(is, s, first, second, start);
    buf_addc(is, '\n');
}

/* The part of the table that begins with this act's name. */
static void read_part(const char *name, struct buf *out)
{
    FILE *f = fopen(TABLE, "r");
    char line[1000];
    bool inside = false;

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (line[0] != ' ')
            inside = strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == '\n';
        else if (inside)
            buf_adds(out, line);
    }
    if (f != NULL)
        fclose(f);
}

static void expect_part(const char *name, const char *is)
{
    CLEANUP(buf_release) struct buf expected = BUF_INIT;
    const char *path = text_of("build/pairs.%s", name);

    read_part(name, &expected);
    if (expected.text != NULL && strcmp(is, expected.text) == 0)
        return;
    FILE *f = fopen(path, "w");
    if (f != NULL) {
        fprintf(f, "%s\n%s", name, is);
        fclose(f);
    }
    cr_expect_fail("not what " TABLE " says of %s; %s is what it is", name, path);
}

ParameterizedTestParameters(pairs, what_comes_of_it)
{
    static int all[ACTS];

    for (int i = 0; i < ACTS; i++)
        all[i] = i;
    return cr_make_param_array(int, all, ACTS);
}

ParameterizedTest(const int *which, pairs, what_comes_of_it)
{
    CLEANUP(buf_release) struct buf is = BUF_INIT;
    const char *url = states_database();
    const struct act *first = &acts[*which];
    struct stage s = {
        session_open(url), session_open(url), session_open(url), "", "", ""};

    cluster_psql(url, starting);
    for (int i = 0; i < ACTS; i++) {
        add_pair(&is, &s, first, &acts[i], first->start);
        if (strcmp(first->start, acts[i].start) != 0)
            add_pair(&is, &s, first, &acts[i], acts[i].start);
    }
    expect_part(first->name, is.text);
    session_close(s.a);
    session_close(s.b);
    session_close(s.c);
}
