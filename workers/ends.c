/* The rows of three statements, packed by hand in the order of their parameters; an
 * assertion holds the counts against the statements themselves. Finish and give-back are
 * two statements because one is the hot path, a plain insert of ends, and the other moves
 * a job back row by row. Rejected: one statement for both, which made the hot one as slow
 * as the other. */
#include "workers/ends.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINISH_PARAMS = 13, GIVE_BACK_PARAMS = 9, STAGE_PARAMS = 5, PROGRESS_PARAMS = 7 };

/* The columns of job_finish.sql and job_give_back.sql. */
enum {
    ANSWER_ORD,
    ANSWER_ID,
    ANSWER_TAKEN,
    ANSWER_STATUS,
    ANSWER_OUTCOME,
    BACK_SCHEDULED
};

static struct db_value since(int64_t then_us, int64_t now_us)
{
    return then_us == 0 ? db_null() : db_int(now_us > then_us ? now_us - then_us : 0);
}

static void put_finish(const struct job *job, int64_t now_us, struct db_value *v)
{
    const struct db_value row[FINISH_PARAMS] = {
        db_int(job->id),
        db_int(job->lease),
        db_int(job->worker_id),
        db_int(job->attempt),
        db_text(job->status),
        db_textn(job->result, (int)job->result_len),
        db_text(job->error),
        since(job->claimed_us, job->started_us),
        since(job->ended_us, now_us),
        db_text(job->message),
        db_int(job->killed),
        since(job->delivered_us, now_us),
        since(job->acknowledged_us, now_us),
    };

    memcpy(v, row, sizeof row);
}

static void put_give_back(const struct job *job, struct db_value *v)
{
    static const char *const kinds[] = {[FATE_RETRY] = "retry",
                                        [FATE_TIMEOUT] = "timeout",
                                        [FATE_SHUTDOWN] = "shutdown",
                                        [FATE_UNSTARTED] = "unstarted"};
    const char *kind =
        job->fate == FATE_TIMEOUT && job->killed ? "killed" : kinds[job->fate];
    const struct db_value row[GIVE_BACK_PARAMS] = {
        db_int(job->id),      db_int(job->lease),    db_int(job->worker_id),
        db_int(job->attempt), db_text(kind),         db_int(job->retry_ms),
        db_text(job->error),  db_text(job->message), db_text(job->changes),
    };

    memcpy(v, row, sizeof row);
}

/* The values of both statements, and the queues that jobs are moved to: those are named
 * in a statement before, because whoever has a turn of a lock may not wait for anybody
 * who names the same. */
struct values {
    struct db_value *finish, *back, *queues;
    int n_finish, n_back, n_queues;
};

static void values_release(struct values *v)
{
    free(v->finish);
    free(v->back);
    free(v->queues);
}

static enum err values_make(struct values *v, const struct job_list *jobs)
{
    size_t n = (size_t)jobs->n + 1;
    int64_t now_us = clock_us();

    assert(sql_params(SQL_job_finish) == FINISH_PARAMS &&
           sql_params(SQL_job_give_back) == GIVE_BACK_PARAMS);
    *v = (struct values){
        .finish = malloc(n * FINISH_PARAMS * sizeof *v->finish),
        .back = malloc(n * GIVE_BACK_PARAMS * sizeof *v->back),
        .queues = malloc(n * sizeof *v->queues),
    };
    if (v->finish == NULL || v->back == NULL || v->queues == NULL)
        return ERR_NO_MEMORY;
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->fate == FATE_FINISHED)
            put_finish(job, now_us, v->finish + v->n_finish++ * FINISH_PARAMS);
        else
            put_give_back(job, v->back + v->n_back++ * GIVE_BACK_PARAMS);
        if (job->new_queue != NULL)
            v->queues[v->n_queues++] = db_text(job->new_queue);
    }
    return ERR_OK;
}

/* The words differ in their first letter. */
static enum ends_status status_of(const char *word)
{
    switch (word[0]) {
    case 's':
        return ENDS_SUCCEEDED;
    case 'f':
        return ENDS_FAILED;
    case 'c':
        return ENDS_CANCELLED;
    case 'a':
        return ENDS_ABORTED;
    default:
        return ENDS_AGAIN;
    }
}

static struct ends_answer answer_of(const struct db_rows *rows, int row, bool back)
{
    bool taken = row < rows->count && row_bool(rows, row, ANSWER_TAKEN);

    enum ends_status status =
        taken ? status_of(row_text(rows, row, ANSWER_STATUS)) : ENDS_AGAIN;

    return (struct ends_answer){
        .written = true,
        .taken = taken,
        .terminal = status != ENDS_AGAIN,
        .scheduled = taken && back && row_bool(rows, row, BACK_SCHEDULED),
        .status = status,
    };
}

/* Of those that have ended, or of those that go back. */
static void read_answers(const struct job_list *jobs, bool back,
                         const struct db_rows *rows, struct ends_answer *out)
{
    int n = 0;

    for (const struct job *job = jobs->first; job != NULL; job = job->next, out++) {
        if ((job->fate != FATE_FINISHED) == back)
            *out = answer_of(rows, n++, back);
    }
}

/* One transaction: its calls, and the rows of each. */
struct script {
    struct db_call calls[4];
    struct db_rows rows[4], *finished, *backs; /* of those two calls; NULL: not in it */
    int n;
};

static struct db_rows *script_add(struct script *s, enum sql sql, int n_rows,
                                  const struct db_value *values)
{
    s->calls[s->n] = (struct db_call){sql, n_rows, values};
    return &s->rows[s->n++];
}

static enum err script_run(struct db *db, struct script *s, const struct job_list *jobs,
                           struct ends_answer *out_answers)
{
    enum err e = s->n == 0 ? ERR_OK : db_exec_all(db, s->n, s->calls, s->rows);

    if (e == ERR_OK && s->finished != NULL)
        read_answers(jobs, false, s->finished, out_answers);
    if (e == ERR_OK && s->backs != NULL)
        read_answers(jobs, true, s->backs, out_answers);
    return e;
}

static void script_release(struct script *s)
{
    for (int i = 0; i < s->n; i++)
        db_rows_free(&s->rows[i]);
}

/* Each of the two takes its leases in their order, and turns of locks after them; in one
 * transaction the second would take both out of order, and could deadlock with whoever
 * holds the same jobs. */
enum err ends_write(struct db *db, const struct job_list *jobs,
                    const struct db_call *claim, struct db_rows *out_claimed,
                    struct ends_answer *out_answers)
{
    CLEANUP(values_release) struct values v;
    CLEANUP(script_release) struct script first = {.n = 0};
    CLEANUP(script_release) struct script second = {.n = 0};
    struct db_rows *claimed = NULL;
    enum err e = values_make(&v, jobs);

    for (int i = 0; i < jobs->n; i++)
        out_answers[i] = (struct ends_answer){.written = false};
    if (e != ERR_OK)
        return e;
    if (v.n_finish > 0) {
        struct script *s = v.n_back > 0 ? &first : &second;
        s->finished = script_add(s, SQL_job_finish, v.n_finish, v.finish);
    }
    if (v.n_queues > 0)
        script_add(&second, SQL_queue_name, v.n_queues, v.queues);
    if (v.n_back > 0)
        second.backs = script_add(&second, SQL_job_give_back, v.n_back, v.back);
    if (claim != NULL)
        claimed = script_add(&second, claim->sql, claim->n_rows, claim->values);
    e = script_run(db, &first, jobs, out_answers);
    if (e == ERR_OK)
        e = script_run(db, &second, jobs, out_answers);
    if (e == ERR_OK && claimed != NULL) {
        *out_claimed = *claimed;
        *claimed = (struct db_rows){.count = 0};
    }
    return e;
}

void ends_replace(struct job *job, const char *why)
{
    job_set_error(job, "bad_result", why);
    free(job->message);
    job->message = NULL;
    if (job->fate == FATE_FINISHED && strcmp(job->status, "aborted") != 0)
        job->status = "failed";
}

enum err ends_write_stages(struct db *db, const struct abort_stage *stages, int n,
                           struct db_rows *out_rows)
{
    CLEANUP(free_ptr)
    struct db_value *values = malloc((size_t)n * STAGE_PARAMS * sizeof *values);
    int64_t now_us = clock_us();

    if (values == NULL)
        return ERR_NO_MEMORY;
    for (int i = 0; i < n; i++) {
        const struct abort_stage *s = &stages[i];
        struct db_value *v = values + i * STAGE_PARAMS;
        v[0] = db_int(s->job_id);
        v[1] = db_int(s->worker_id);
        v[2] = db_int(s->attempt);
        v[3] = since(s->delivered_us, now_us);
        v[4] = since(s->acknowledged_us, now_us);
    }
    return db_exec(db, SQL_abort_stages, n, values, out_rows);
}

enum err ends_write_progress(struct db *db, const struct progress *reports, int n,
                             struct db_rows *out_rows)
{
    struct words {
        char percent[32];
    };
    CLEANUP(free_ptr)
    struct db_value *values = malloc((size_t)n * PROGRESS_PARAMS * sizeof *values);
    CLEANUP(free_ptr) struct words *words = malloc((size_t)n * sizeof *words);

    int64_t now_us = clock_us();

    if (values == NULL || words == NULL)
        return ERR_NO_MEMORY;
    for (int i = 0; i < n; i++) {
        const struct progress *p = &reports[i];
        struct db_value *v = values + i * PROGRESS_PARAMS;
        snprintf(words[i].percent, sizeof words[i].percent, "%.2f", p->percent);
        v[0] = db_int(p->job_id);
        v[1] = db_int(p->lease);
        v[2] = db_int(p->worker_id);
        v[3] = p->percent >= 0 ? db_text(words[i].percent) : db_null();
        v[4] = p->message[0] != '\0' ? db_text(p->message) : db_null();
        v[5] = p->shield[0] != '\0' ? db_text(p->shield) : db_null();
        v[6] = p->shield[0] != '\0' ? db_int(now_us - p->shield_since_us) : db_null();
    }
    return db_exec(db, SQL_job_progress, n, values, out_rows);
}
