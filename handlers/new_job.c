/* What a client writes of a job, read into one row of job_insert.sql: by whatever takes
 * jobs in. What few jobs ask for goes to one JSON value (options), so that a statement
 * need not grow with each such thing. Rejected: a parameter for each, most of them an
 * array of nulls. */
#include "handlers/new_job.h"

#include "handlers/known_task.h"
#include "handlers/strategy.h"
#include "server/core/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

enum {
    FIELDS = 25,
    TIMEOUT_MAX_SECONDS = 604800,
    RETRY_MAX_BYTES = 4096,
    DEPENDS_ON_MAX = 20
};

/* -1 and INT64_MIN stand for "not given": 0 is a good delay, and a good time. */
static const struct new_job defaults = {.queue = "default",
                                        .scheduled_at = INT64_MIN,
                                        .deadline = INT64_MIN,
                                        .delay_seconds = -1,
                                        .timeout_seconds = -1,
                                        .deadline_seconds = -1};

#define AT(member) offsetof(struct new_job, member)

/* A copy a call, because one limit is a setting; a static table could not have it. */
static void job_fields(const struct config *c, struct field fields[FIELDS])
{
    const struct field all[] = {
        {"task", FIELD_NAME, AT(task), 1, 128},
        {"queue", FIELD_NAME, AT(queue), 1, 128},
        {"priority", FIELD_INT, AT(priority), INT32_MIN, INT32_MAX},
        {"args", FIELD_OBJECT, AT(args), 0, c->args_max_bytes},
        {"max_attempts", FIELD_INT, AT(max_attempts), 1, 1000},
        {"tags", FIELD_STRINGS, AT(tags), 0, 20},
        {"metadata", FIELD_OBJECT, AT(metadata), 0, 16384},
        {"scheduled_at", FIELD_TIME, AT(scheduled_at), 0, 0},
        {"delay_seconds", FIELD_NUMBER, AT(delay_seconds), 0, DELAY_MAX_SECONDS},
        {"lock", FIELD_TEXT, AT(lock), 1, 255},
        {"lock_strict", FIELD_BOOL, AT(lock_strict), 0, 0},
        {"queueing_lock", FIELD_TEXT, AT(queueing_lock), 1, 255},
        {"limit_key", FIELD_NAME, AT(limit_key), 1, 128},
        {"on_conflict", FIELD_TEXT, AT(on_conflict), 1, 20},
        {"timeout_seconds", FIELD_NUMBER, AT(timeout_seconds), 0, TIMEOUT_MAX_SECONDS},
        {"deadline", FIELD_TIME, AT(deadline), 0, 0},
        {"deadline_seconds", FIELD_NUMBER, AT(deadline_seconds), 0, DELAY_MAX_SECONDS},
        {"delete_policy", FIELD_TEXT, AT(delete_policy), 1, 16},
        {"on_success", FIELD_OBJECT, AT(on_success), 0, c->args_max_bytes},
        {"on_failure", FIELD_OBJECT, AT(on_failure), 0, c->args_max_bytes},
        {"on_cancel", FIELD_OBJECT, AT(on_cancel), 0, c->args_max_bytes},
        {"retry", FIELD_OBJECT, AT(retry), 0, RETRY_MAX_BYTES},
        {"parent_id", FIELD_INT, AT(parent_id), 1, JOB_ID_MAX},
        {"on_parent_cancel", FIELD_TEXT, AT(on_parent_cancel), 1, 16},
        {"depends_on", FIELD_IDS, AT(depends_on), 0, DEPENDS_ON_MAX},
    };

    memcpy(fields, all, sizeof all);
}

static const char *const delete_policies[] = {[DELETE_NEVER] = "never",
                                              [DELETE_SUCCESSFUL] = "successful",
                                              [DELETE_ALWAYS] = "always"};

static bool is_delete_policy(const char *word)
{
    for (int i = DELETE_NEVER; i <= DELETE_ALWAYS; i++) {
        if (strcmp(word, delete_policies[i]) == 0)
            return true;
    }
    return false;
}

/* Only one of two ways to say a time, and a policy that there is. */
static enum err check_together(struct request *req, const char *where,
                               const struct new_job *job)
{
    if (job->scheduled_at != INT64_MIN && job->delay_seconds >= 0)
        return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/delay_seconds", where),
                           "cannot stand beside scheduled_at");
    if (job->deadline != INT64_MIN && job->deadline_seconds >= 0)
        return req_fail_at(req, ERR_INVALID,
                           req_printf(req, "%s/deadline_seconds", where),
                           "cannot stand beside deadline");
    if (job->delete_policy != NULL && !is_delete_policy(job->delete_policy))
        return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/delete_policy", where),
                           "must be never, successful or always");
    if (job->limit_key != NULL && strchr(job->limit_key, '/') != NULL)
        return req_fail_at(req, ERR_INVALID, req_printf(req, "%s/limit_key", where),
                           "is part of a path, and may not have a slash");
    return ERR_OK;
}

/* What a child does at the end of its parent: nothing is there to do without one. */
static enum err check_parent(struct request *req, const char *where,
                             const struct new_job *job)
{
    const char *how = job->on_parent_cancel;

    if (how == NULL)
        return ERR_OK;
    if (strcmp(how, "cascade") != 0 && strcmp(how, "detach") != 0)
        return req_fail_at(req, ERR_INVALID,
                           req_printf(req, "%s/on_parent_cancel", where),
                           "must be cascade or detach");
    if (job->parent_id == 0)
        return req_fail_at(req, ERR_INVALID,
                           req_printf(req, "%s/on_parent_cancel", where),
                           "cannot stand without parent_id");
    return ERR_OK;
}

/* -- jobs that follow ---------------------------------------------------------------- */

/* Which are kept as they were written; db/migrations/0013_follow.sql reads them. */
static enum err check_next(struct request *req, const char *where, struct span next)
{
    struct next_job {
        const char *task, *queue;
        int64_t priority, max_attempts;
        struct span args;
    } out = {.task = NULL};
    const struct field fields[] = {
        {"task", FIELD_NAME, offsetof(struct next_job, task), 1, 128},
        {"queue", FIELD_NAME, offsetof(struct next_job, queue), 1, 128},
        {"priority", FIELD_INT, offsetof(struct next_job, priority), INT32_MIN,
         INT32_MAX},
        {"max_attempts", FIELD_INT, offsetof(struct next_job, max_attempts), 1, 1000},
        {"args", FIELD_OBJECT, offsetof(struct next_job, args), 0, INT32_MAX},
    };
    const struct task *task;

    if (next.text == NULL)
        return ERR_OK;
    enum err e =
        fields_read(req, where, next, fields, sizeof fields / sizeof *fields, &out);
    return e == ERR_OK ? known_task(req, where, out.task, &task) : e;
}

static enum err check_followers(struct request *req, const char *where,
                                const struct new_job *job)
{
    enum err e =
        check_next(req, req_printf(req, "%s/on_success", where), job->on_success);

    if (e == ERR_OK)
        e = check_next(req, req_printf(req, "%s/on_failure", where), job->on_failure);
    if (e == ERR_OK)
        e = check_next(req, req_printf(req, "%s/on_cancel", where), job->on_cancel);
    return e;
}

/* A strategy that could never be used is a mistake: who gives one expects retries. */
static enum err check_retry(struct request *req, const char *where,
                            const struct new_job *j)
{
    const char *here = req_printf(req, "%s/retry", where);

    if (j->retry.text == NULL)
        return ERR_OK;
    if (j->max_attempts == 1)
        return req_fail_at(req, ERR_INVALID, here,
                           "says when to try again, but max_attempts is 1");
    return strategy_check(req, here, j->retry);
}

/* NULL stands for reject, too: what is asked for most costs nothing. */
static enum err check_conflict(struct request *req, const char *where,
                               struct new_job *out)
{
    static const char *const known[] = {"reject", "ignore", "replace", "abort_replace"};
    const char *pointer = req_printf(req, "%s/on_conflict", where);
    size_t i = 0;

    if (out->on_conflict == NULL)
        return ERR_OK;
    while (i < 4 && strcmp(known[i], out->on_conflict) != 0)
        i++;
    if (i == 4)
        return req_fail_at(req, ERR_INVALID, pointer,
                           "must be reject, ignore, replace or abort_replace");
    if (out->queueing_lock == NULL)
        return req_fail_at(req, ERR_INVALID, pointer, "needs a queueing_lock");
    if (i == 0)
        out->on_conflict = NULL;
    return ERR_OK;
}

enum err new_job_read(struct request *req, const char *where, struct span object,
                      struct new_job *out)
{
    const struct config *c = req_app(req)->config;
    struct field fields[FIELDS];
    const struct task *task;

    *out = defaults;
    job_fields(c, fields);
    enum err e = fields_read(req, where, object, fields, FIELDS, out);
    if (e == ERR_OK)
        e = check_together(req, where, out);
    if (e == ERR_OK)
        e = check_conflict(req, where, out);
    if (e == ERR_OK)
        e = check_parent(req, where, out);
    if (e == ERR_OK)
        e = known_task(req, where, out->task, &task);
    if (e == ERR_OK)
        e = check_followers(req, where, out);
    if (e != ERR_OK)
        return e;
    if (out->max_attempts == 0)
        out->max_attempts = known_task_attempts(req, task);
    if (out->delete_policy == NULL)
        out->delete_policy = delete_policies[task->delete_policy];
    return check_retry(req, where, out);
}

/* Objects go to PostgreSQL as the bytes that came: 1.10 stays 1.10. `fallback` is a
 * literal, so it outlives the operation. */
static struct db_value span_or(const struct span *s, const char *fallback)
{
    return s->text != NULL ? db_textn(s->text, (int)s->len) : db_text(fallback);
}

/* Rounded up, because 0 has a meaning of its own. */
static struct db_value ms_or_null(double seconds)
{
    return seconds >= 0 ? db_int((int64_t)(seconds * 1000 + 0.9999)) : db_null();
}

/* -- options ------------------------------------------------------------------------- */

/* As W3C Trace Context has it: version-trace-parent-flags. One that is not so is to be
 * taken for none. */
static const char *trace_parent(const struct request *req)
{
    static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    const char *given = req_header(req, "traceparent");

    if (given == NULL || strlen(given) != sizeof form - 1 || strncmp(given, "ff", 2) == 0)
        return NULL;
    for (size_t i = 0; form[i] != '\0'; i++) {
        bool good = form[i] == '-' ? given[i] == '-'
                                   : strchr("0123456789abcdef", given[i]) != NULL;
        if (!good)
            return NULL;
    }
    return given;
}

static void add_option(struct buf *b, const char *name, const char *json, size_t len)
{
    if (json != NULL)
        buf_addf(b, "%c\"%s\":%.*s", b->len == 0 ? '{' : ',', name, (int)len, json);
}

static void add_text(struct buf *b, const char *name, const char *json)
{
    add_option(b, name, json, json != NULL ? strlen(json) : 0);
}

static void add_word(struct request *req, struct buf *b, const char *name,
                     const char *word)
{
    add_text(b, name, word != NULL ? req_printf(req, "\"%s\"", word) : NULL);
}

/* Those of the job as belay.options_text() takes them, or null. */
static struct db_value options(struct request *req, const struct new_job *j)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    bool deletes = strcmp(j->delete_policy, delete_policies[DELETE_NEVER]) != 0;

    add_word(req, &b, "traceparent", trace_parent(req));
    if (j->lock_strict)
        add_option(&b, "lock_strict", "true", 4);
    add_word(req, &b, "limit_key", j->limit_key);
    add_word(req, &b, "delete_policy", deletes ? j->delete_policy : NULL);
    add_option(&b, "retry", j->retry.text, j->retry.len);
    add_option(&b, "on_success", j->on_success.text, j->on_success.len);
    add_option(&b, "on_failure", j->on_failure.text, j->on_failure.len);
    add_option(&b, "on_cancel", j->on_cancel.text, j->on_cancel.len);
    if (j->parent_id != 0)
        add_text(&b, "parent_id", req_printf(req, "%" PRId64, j->parent_id));
    add_word(req, &b, "on_parent_cancel", j->on_parent_cancel);
    add_text(&b, "depends_on", j->depends_on);
    if (b.len == 0)
        return db_null();
    buf_addc(&b, '}');
    return db_textn(req_strdup(req, b.text, b.len), (int)b.len);
}

void new_job_put(struct request *req, const struct new_job *j, bool want_json,
                 struct db_value *v)
{
    const struct db_value row[INSERT_PARAMS] = {
        db_text(j->task),
        db_text(j->queue),
        db_int(j->priority),
        span_or(&j->args, "{}"),
        db_int(j->max_attempts),
        db_text(j->tags != NULL ? j->tags : "{}"),
        span_or(&j->metadata, "{}"),
        j->scheduled_at != INT64_MIN ? db_int(j->scheduled_at) : db_null(),
        ms_or_null(j->delay_seconds),
        db_text(j->lock),
        db_text(j->queueing_lock),
        db_int(want_json),
        ms_or_null(j->timeout_seconds),
        j->deadline != INT64_MIN ? db_int(j->deadline) : db_null(),
        ms_or_null(j->deadline_seconds),
        options(req, j),
    };

    assert(sql_params(SQL_job_insert) == INSERT_PARAMS);
    memcpy(v, row, sizeof row);
}
