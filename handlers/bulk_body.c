/* Reads and checks the body of a bulk request. The filter goes to PostgreSQL as the text
 * that came, once all of it has been checked here: it is kept with the operation, and
 * read from there in every step. Rejected: a column of the operation for each member,
 * which would be a second form of the same thing. */
#include "handlers/bulk.h"
#include "server/core/cleanup.h"

#include <stddef.h>
#include <string.h>

struct filter {
    const char *queue, *task, *status, *tag, *lock;
    struct span metadata;
    int64_t created_after, created_before;
};

#define AT(member) offsetof(struct filter, member)

static const struct field filter_fields[] = {
    {"queue", FIELD_NAME, AT(queue), 1, 128},
    {"task", FIELD_NAME, AT(task), 1, 128},
    {"status", FIELD_STATUSES, AT(status), 0, 6},
    {"tag", FIELD_TEXT, AT(tag), 1, 64},
    {"lock", FIELD_TEXT, AT(lock), 1, 255},
    {"metadata", FIELD_OBJECT, AT(metadata), 0, 16384},
    {"created_after", FIELD_TIME, AT(created_after), 0, 0},
    {"created_before", FIELD_TIME, AT(created_before), 0, 0},
};

enum { FILTER_FIELDS = sizeof filter_fields / sizeof *filter_fields };

/* {"todo","doing"}: each of its words is one of ` todo doing `. */
static bool are_among(struct request *req, const char *literal, const char *allowed)
{
    static const char between[] = "{},\"";
    const char *p = literal + strspn(literal, between);

    while (*p != '\0') {
        size_t len = strcspn(p, between);
        if (strstr(allowed, req_printf(req, " %.*s ", (int)len, p)) == NULL)
            return false;
        p += len;
        p += strspn(p, between);
    }
    return true;
}

/* Sets *out_any where the filter asks for anything. */
static enum err read_filter(struct request *req, const struct bulk_kind *kind,
                            struct span text, bool *out_any)
{
    struct filter f = {.created_after = INT64_MIN, .created_before = INT64_MIN};
    enum err e = fields_read(req, "/filter", text, filter_fields, FILTER_FIELDS, &f);

    if (e != ERR_OK)
        return e;
    if (f.status != NULL && !are_among(req, f.status, kind->statuses))
        return req_fail_at(req, ERR_INVALID, "/filter/status", "may name only%s",
                           kind->statuses);
    *out_any = f.queue != NULL || f.task != NULL || f.status != NULL || f.tag != NULL ||
               f.lock != NULL || f.metadata.text != NULL ||
               f.created_after != INT64_MIN || f.created_before != INT64_MIN;
    return ERR_OK;
}

/* Without its nulls, which mean nothing: whoever reads the operation sees what it does.
 */
static enum err drop_nulls(struct request *req, struct span *filter)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    struct json_member m;

    buf_addc(&b, '{');
    for (struct json_cursor c = json_members(filter->text, filter->len);
         json_next(&c, &m);) {
        if (m.type != JSON_NULL)
            buf_addf(&b, "%s\"%.*s\":%.*s", b.len > 1 ? "," : "", (int)m.key_len, m.key,
                     (int)m.value_len, m.value);
    }
    buf_addc(&b, '}');
    if (b.failed)
        return ERR_NO_MEMORY;
    *filter = (struct span){.text = req_strdup(req, b.text, b.len), .len = b.len};
    return ERR_OK;
}

static enum err read_ids(struct request *req, struct bulk *b)
{
    int64_t *id = req_alloc(req, BULK_IDS_MAX * sizeof *id);
    struct json_member m;

    b->id = id;
    for (struct json_cursor c = json_members(b->ids.text, b->ids.len);
         json_next(&c, &m);) {
        if (b->n_ids == BULK_IDS_MAX)
            return req_fail_at(req, ERR_INVALID, "/ids",
                               "has more than %d; a filter takes any number",
                               BULK_IDS_MAX);
        if (!json_int(&m, 1, JOB_ID_MAX, &id[b->n_ids]))
            return req_fail_at(req, ERR_INVALID, req_printf(req, "/ids/%d", b->n_ids),
                               "must be the id of a job");
        b->n_ids++;
    }
    return b->n_ids > 0 ? ERR_OK : req_fail_at(req, ERR_INVALID, "/ids", "is empty");
}

/* A filter that asks for nothing means every job there is: that has to be said, because
 * it is also what a program sends that has forgotten to fill it in. */
static enum err check_filter(struct request *req, const struct bulk_kind *kind,
                             struct bulk *b)
{
    bool any = false;
    enum err e = ERR_OK;

    if (b->filter.text == NULL)
        b->filter = (struct span){.text = "{}", .len = 2};
    else
        e = read_filter(req, kind, b->filter, &any);
    if (e == ERR_OK && !any && !b->all)
        return req_fail_at(req, ERR_INVALID, "/filter",
                           "is empty: give ids or a filter, or \"all\": true for every "
                           "job there is");
    return e == ERR_OK ? drop_nulls(req, &b->filter) : e;
}

enum err bulk_read(struct request *req, const struct bulk_kind *kind, struct bulk *out)
{
    struct span body;
    enum err e = fields_check_body(req, JSON_OBJECT, &body);

    *out = (struct bulk){
        .grace_seconds = -1, .until = INT64_MIN, .retry = RETRY_OPTIONS_NONE};
    if (e == ERR_OK)
        e = fields_read(req, "", body, kind->fields, kind->n_fields, out);
    if (e == ERR_OK)
        e = retry_options_check(req, &out->retry);
    if (e != ERR_OK)
        return e;
    if (out->ids.text == NULL)
        return check_filter(req, kind, out);
    if (out->filter.text != NULL || out->all)
        return req_fail_at(req, ERR_INVALID, "/ids", "cannot stand beside filter or all");
    if (out->until != INT64_MIN)
        return req_fail_at(req, ERR_INVALID, "/until",
                           "is for a filter: ids name jobs that are there");
    return read_ids(req, out);
}
