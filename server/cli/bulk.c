/* Many jobs by one request: what belay cancel, delete and retry do without an ID, and
 * belay operations. Filters go to the server as they were typed, which knows what is
 * right. */
#include "server/cli/bulk.h"

#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <string.h>

/* -- cancel, delete, retry without an ID --------------------------------------------- */

static void add_member(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, "%s\"%s\":", b->len > 0 ? "," : "", name);
    buf_add_json_string(b, value, strlen(value));
}

/* The members of the filter; empty where none was given. */
static void add_filter(const struct call *call, struct buf *out)
{
    static const char *const names[][2] = {{"queue", "queue"},
                                           {"task", "task"},
                                           {"tag", "tag"},
                                           {"lock", "lock"},
                                           {"created-after", "created_after"},
                                           {"created-before", "created_before"}};
    const char *status = call_text(call, "status");

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (call_text(call, names[i][0]) != NULL)
            add_member(out, names[i][1], call_text(call, names[i][0]));
    }
    if (status == NULL)
        return;
    buf_addf(out, "%s\"status\":[", out->len > 0 ? "," : "");
    for (const char *p = status; *p != '\0'; p += strcspn(p, ",")) {
        p += *p == ',';
        if (p != status)
            buf_addc(out, ',');
        buf_add_json_string(out, p, strcspn(p, ","));
    }
    buf_addc(out, ']');
}

static void tell(const struct call *call, const struct answer *a)
{
    const json_t *matched = json_object_get(a->json, "matched");

    if (call->json)
        return;
    if (matched != NULL)
        printf("%s%" JSON_INTEGER_FORMAT " jobs match; nothing has changed\n",
               json_is_true(json_object_get(a->json, "exact")) ? "" : "at least ",
               json_integer_value(matched));
    else
        printf("operation %" JSON_INTEGER_FORMAT ": goes on by itself\n",
               json_integer_value(json_object_get(a->json, "id")));
}

static int ask(const struct call *call, const char *path)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release)
    struct buf members = BUF_INIT, filter = BUF_INIT, body = BUF_INIT;

    call_body(call, &members);
    add_filter(call, &filter);
    buf_addf(&body, "{\"dry_run\":%s,\"all\":%s",
             call_has(call, "dry-run") ? "true" : "false",
             call_has(call, "all") ? "true" : "false");
    if (filter.len > 0)
        buf_addf(&body, ",\"filter\":{%s}", filter.text);
    buf_addf(&body, "%s}", members.len > 0 ? members.text : "");
    int code = client_ask(
        call, &(struct question){.method = "POST", .path = path, .body = body.text}, &a);
    if (code == 0)
        tell(call, &a);
    return code;
}

static bool is_among(const char *const *names, const char *name)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

int bulk_or_one(const struct call *call, const char *path, const char *const *own,
                int (*one)(const struct call *call))
{
    static const struct verb_option filter[] = {FILTER_OPTIONS, {.name = NULL}};
    const struct verb_option *o = filter;

    while (o->name != NULL &&
           (!call_has(call, o->name) || (call->n_words > 0 && is_among(own, o->name))))
        o++;
    if (o->name != NULL && call->n_words > 0)
        return usage_error(call, "an ID and --%s do not go together", o->name);
    if (o->name == NULL && call->n_words == 0)
        return usage_error(call, "a filter, or --all, or an ID is missing");
    return o->name != NULL ? ask(call, path) : one(call);
}

/* -- operations ---------------------------------------------------------------------- */

static const struct column columns[] = {
    {"ID", "id"},       {"KIND", "kind"},     {"STATUS", "status"}, {"UNTIL", "until"},
    {"ACTOR", "actor"}, {"FILTER", "filter"}, {"COUNTS", "counts"}, {.title = NULL}};

static const struct verb_option operations_options[] = {
    {"stop", NULL, "stop it where it is; with a rule: revoke it", OPTION_YES, NULL},
    {"status", "STATUS", "only those: running, done or cancelled", OPTION_TEXT, "status"},
    {"standing", NULL, "only standing rules", OPTION_YES, "standing"},
    {"limit", "N", "page size, 1 to 200; default 50", OPTION_INT, "limit"},
    {"cursor", "CURSOR", "the page that begins there", OPTION_TEXT, "cursor"},
    {.name = NULL}};

static int run_one(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT;
    bool stop = call_has(call, "stop");
    int64_t id;

    if (!call_job_id(call, &id))
        return 2;
    buf_addf(&path, "/operations/%" PRId64 "%s", id, stop ? "/cancel" : "");
    int code = client_ask(
        call, &(struct question){.method = stop ? "POST" : "GET", .path = path.text}, &a);
    if (code == 0 && !call->json) {
        json_t *rows = json_pack("[O]", a.json);
        print_table(rows, columns);
        json_decref(rows);
    }
    return code;
}

static int run_operations(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT;

    if (call->n_words > 0)
        return run_one(call);
    if (call_has(call, "stop"))
        return usage_error(call, "--stop needs the id of an operation");
    buf_adds(&path, "/operations");
    call_query(call, &path);
    int code =
        client_ask(call, &(struct question){.method = "GET", .path = path.text}, &a);
    if (code == 0 && !call->json)
        print_table(json_object_get(a.json, "operations"), columns);
    return code;
}

const struct verb verb_operations = {
    .name = "operations",
    .synopsis = "[ID [--stop]] [--option VALUE ...]",
    .summary = "show what became of requests for many jobs, and standing rules",
    .options = operations_options,
    .examples = "  belay operations --status running\n"
                "  belay operations 7\n"
                "  belay operations 7 --stop\n",
    .most_words = 1,
    .is_client = true,
    .run = run_operations,
};
