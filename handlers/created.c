/* A job that is due later is the janitor's business, not the dispatcher's: waking the
 * claims for it would find nothing. */
#include "handlers/created.h"

#include "handlers/wait.h"

#include <inttypes.h>
#include <string.h>

void created_wake(struct request *req, int n_ready, bool in_calendar)
{
    if (in_calendar)
        node_wake_scheduled(req_app(req)->node);
    if (n_ready > 0)
        node_wake(req_app(req)->node, "", n_ready);
}

static void reply_waited(struct request *req, int status, const struct db_rows *rows)
{
    set_etag(req, row_text(rows, 0, 3));
    req_reply(req, status, NULL, row_text(rows, 0, 4), (size_t)row_len(rows, 0, 4));
}

static void reply_waited_new(struct request *req, const struct db_rows *rows)
{
    reply_waited(req, 201, rows);
}

static void reply_waited_old(struct request *req, const struct db_rows *rows)
{
    reply_waited(req, 200, rows);
}

static void look_again(struct request *req, int64_t job_id,
                       const struct first_answer *first)
{
    struct db_value *v = submit_values(req, SQL_job_get, 1);

    v[0] = db_int(job_id);
    submit_again(req, SQL_job_get, v,
                 first->status == 201 ? reply_waited_new : reply_waited_old, first);
}

/* The answer is certain from here on; waiting can only make its document newer. */
void reply_created(struct request *req, int status, int64_t id, const char *etag,
                   const char *body)
{
    int64_t wait_seconds;

    req_set_header(req, "Location", req_printf(req, "/jobs/%" PRId64, id));
    if (req_wait_seconds(req, &wait_seconds) == ERR_OK && wait_seconds > 0) {
        wait_for_end(req, id, wait_seconds, look_again,
                     first_answer(req, status, etag, body));
        return;
    }
    set_etag(req, etag);
    req_reply(req, status, NULL, body, strlen(body));
}

/* One job that cannot be put in keeps the others of its batch out, too, and the answer
 * names the first: so a client can take it away and send the rest again. */
void reply_already_enqueued(struct request *req, const char *existing, int place)
{
    static const char words[] = "job %s with this queueing lock is waiting";

    req_fail_extra(req, req_printf(req, "\"existing_id\":%s", existing));
    enum err e = place < 0 ? req_fail(req, ERR_ALREADY_ENQUEUED, words, existing)
                           : req_fail_at(req, ERR_ALREADY_ENQUEUED,
                                         req_printf(req, "/%d/queueing_lock", place),
                                         words, existing);
    req_error(req, e);
}

bool is_without_parent(const char *result)
{
    return strcmp(result, "parent-not-found") == 0 ||
           strcmp(result, "dependency-not-found") == 0;
}

void reply_not_created(struct request *req, const char *result, const char *id, int place)
{
    const char *field =
        strcmp(result, "parent-not-found") == 0 ? "parent_id" : "depends_on";
    const char *where = place < 0 ? req_printf(req, "/%s", field)
                                  : req_printf(req, "/%d/%s", place, field);

    if (is_without_parent(result))
        req_error(
            req, req_fail_at(req, ERR_PARENT_NOT_FOUND, where, "there is no job %s", id));
    else
        reply_already_enqueued(req, id, place);
}
