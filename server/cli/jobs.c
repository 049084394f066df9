/* The verbs that read jobs, and retry. Each is a question and what to print of its
 * answer; filters go to the server as they were typed, which knows what is right. */
#include "server/cli/bulk.h"
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <string.h>

static const struct verb_option get_options[] = {WAIT_OPTION("wait for its end"),
                                                 {.name = NULL}};
static const struct verb_option retry_options[] = {
    {"actor", "NAME", "who asks", OPTION_TEXT, "actor"},
    {"delay", "SECONDS", "do not start before that time has passed", OPTION_NUMBER,
     "delay_seconds"},
    {"at", "TIME", "do not start before, as 2026-11-23T20:00:00Z", OPTION_TEXT,
     "scheduled_at"},
    {"priority", "N", "from now on", OPTION_INT, "priority"},
    {"max-attempts", "N", "how often it may be started, counted anew", OPTION_INT,
     "max_attempts"},
    {"queueing-lock", "NAME", "from now on; \"\": none", OPTION_TEXT, "queueing_lock"},
    {"queue", "NAME", "with an ID: the queue from now on; else: jobs of this queue",
     OPTION_TEXT, NULL},
    {"lock", "TEXT", "the same; with an ID, \"\": none", OPTION_TEXT, NULL},
    FILTER_MORE,
    {.name = NULL}};
static const struct verb_option events_options[] = {
    {"after", "N", "only those after event N", OPTION_INT, "after"},
    {"cursor", "CURSOR", "only those not told yet (next_cursor of --json)", OPTION_TEXT,
     "cursor"},
    {"limit", "N", "at most so many; default 50", OPTION_INT, "limit"},
    {.name = NULL}};
static const struct verb_option list_options[] = {
    {"status", "STATUS",
     "todo, doing, succeeded, failed, cancelled, aborted; or some, as "
     "todo,doing",
     OPTION_TEXT, "status"},
    {"queue", "NAME", "only of this queue", OPTION_TEXT, "queue"},
    {"task", "NAME", "only of this task", OPTION_TEXT, "task"},
    {"tag", "TEXT", "only with this tag", OPTION_TEXT, "tag"},
    {"parent", "ID", "only children of this job", OPTION_INT, "parent_id"},
    {"id", "IDS", "only these, as 3,1,2", OPTION_TEXT, "id"},
    {"lock", "NAME", "only with this lock", OPTION_TEXT, "lock"},
    {"queueing-lock", "NAME", "only with this queueing lock", OPTION_TEXT,
     "queueing_lock"},
    {"worker", "NAME", "only what this worker runs or has ended", OPTION_TEXT, "worker"},
    {"metadata", "JSON", "only whose metadata contains this object", OPTION_TEXT,
     "metadata"},
    {"created-after", "TIME", "created then or later, as 2026-11-23T20:00:00Z",
     OPTION_TEXT, "created_after"},
    {"created-before", "TIME", "created before then", OPTION_TEXT, "created_before"},
    {"scheduled-after", "TIME", "only scheduled for then or later", OPTION_TEXT,
     "scheduled_after"},
    {"scheduled-before", "TIME", "only scheduled for before then", OPTION_TEXT,
     "scheduled_before"},
    {"sort", "ORDER", "-created_at (default) or created_at", OPTION_TEXT, "sort"},
    {"limit", "N", "page size, 1 to 200; default 50", OPTION_INT, "limit"},
    {"cursor", "CURSOR", "the page that begins there", OPTION_TEXT, "cursor"},
    {"all", NULL, "all pages", OPTION_YES, NULL},
    {.name = NULL}};

static const struct verb_option children_options[] = {
    {"status", "STATUS", "as of list", OPTION_TEXT, "status"},
    {"limit", "N", "page size, 1 to 200; default 50", OPTION_INT, "limit"},
    {"cursor", "CURSOR", "the page that begins there", OPTION_TEXT, "cursor"},
    {"all", NULL, "all pages", OPTION_YES, NULL},
    {.name = NULL}};

static const struct verb_option restore_options[] = {
    {"actor", "NAME", "who asks; kept in the event", OPTION_TEXT, "actor"},
    {.name = NULL}};

static int run_get(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    int64_t id;

    if (!call_job_id(call, &id))
        return 2;
    int code = client_ask_end(call, id, call_int(call, "wait", 0), &a);
    if (code == 0 && !call->json)
        print_job(a.json);
    return code;
}

/* Of the filter, but with an ID what the job shall have. */
static const char *const retry_own[] = {"queue", "lock", NULL};

static int retry_one(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release)
    struct buf members = BUF_INIT, body = BUF_INIT;

    call_body(call, &members);
    for (const char *const *name = retry_own; *name != NULL; name++) {
        const char *value = call_text(call, *name);
        if (value == NULL)
            continue;
        buf_addf(&members, ",\"%s\":", *name);
        buf_add_json_string(&members, value, strlen(value));
    }
    buf_addf(&body, "{%s}", members.len > 0 ? members.text + 1 : "");
    int code = client_ask_job(
        call, "/retry", &(struct question){.method = "POST", .body = body.text}, &a);
    if (code == 0 && !call->json)
        printf("job %s: waits to start again\n", call->words[0]);
    return code;
}

static int run_retry(const struct call *call)
{
    return bulk_or_one(call, "/retries", retry_own, retry_one);
}

static int run_restore(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf rest = BUF_INIT;

    buf_adds(&rest, "/restore");
    call_query(call, &rest);
    int code = client_ask_job(call, rest.text, &(struct question){.method = "POST"}, &a);
    if (code == 0 && !call->json)
        printf("job %s: not cancelled any more; it %s\n", call->words[0],
               strcmp(json_text(json_object_get(a.json, "job"), "status"), "todo") == 0
                   ? "waits to start"
                   : "goes on");
    return code;
}

/* One sentence is the answer; what programs want of it is in the document. */
static int run_explain(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf words = BUF_INIT;
    int code = client_ask_job(call, "/explain", &(struct question){.method = "GET"}, &a);

    if (code != 0 || call->json)
        return code;
    print_words(&words, json_object_get(a.json, "sentence"));
    puts(words.text);
    return 0;
}

static int run_events(const struct call *call)
{
    static const struct column columns[] = {{"ID", "id"},       {"AT", "at"},
                                            {"EVENT", "type"},  {"ATTEMPT", "attempt"},
                                            {"ACTOR", "actor"}, {"DETAIL", "detail"},
                                            {.title = NULL}};
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf rest = BUF_INIT;

    buf_adds(&rest, "/events");
    call_query(call, &rest);
    int code = client_ask_job(call, rest.text, &(struct question){.method = "GET"}, &a);
    if (code == 0 && !call->json)
        print_table(json_object_get(a.json, "events"), columns);
    return code;
}

/* -- list ---------------------------------------------------------------------------- */

/* One page; `cursor` becomes that of the next, or empty. */
/* A server that stops in the middle of --all ends it with an error, after the pages that
 * came: exit code 0 means the whole list. */
static int list_page(const struct call *call, const char *of, struct buf *cursor)
{
    static const struct column columns[] = {{"ID", "id"},
                                            {"STATUS", "status"},
                                            {"QUEUE", "queue"},
                                            {"TASK", "task"},
                                            {"PRIORITY", "priority"},
                                            {"ATTEMPT", "attempt"},
                                            {"CREATED", "created_at"},
                                            {"TAGS", "tags"},
                                            {.title = NULL}};
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT;

    buf_adds(&path, of);
    call_query(call, &path);
    if (cursor->len > 0) {
        buf_addf(&path, "%ccursor=", strchr(path.text, '?') != NULL ? '&' : '?');
        client_escape(&path, cursor->text);
    }
    int code =
        client_ask(call, &(struct question){.method = "GET", .path = path.text}, &a);
    buf_clear(cursor);
    if (code != 0)
        return code;
    if (!call->json)
        print_table(json_object_get(a.json, "jobs"), columns);
    buf_adds(cursor, json_text(a.json, "next_cursor"));
    return 0;
}

/* Without --all one page, so that `belay list` is quick with a million jobs; that there
 * is more goes to stderr, where it does not become part of the data. */
static int list(const struct call *call, const char *of)
{
    CLEANUP(buf_release) struct buf cursor = BUF_INIT;
    int code;

    if (call_has(call, "all") && call_has(call, "cursor"))
        return usage_error(call, "--all and --cursor do not go together");
    do
        code = list_page(call, of, &cursor);
    while (code == 0 && call_has(call, "all") && cursor.len > 0);
    if (code == 0 && cursor.len > 0)
        fprintf(stderr, "There is more: --cursor %s, or --all\n", cursor.text);
    return code;
}

static int run_list(const struct call *call)
{
    return list(call, "/jobs");
}

static int run_children(const struct call *call)
{
    CLEANUP(buf_release) struct buf of = BUF_INIT;
    int64_t id;

    if (!call_job_id(call, &id))
        return 2;
    buf_addf(&of, "/jobs/%" PRId64 "/children", id);
    return list(call, of.text);
}

const struct verb verb_get = {
    .name = "get",
    .synopsis = "ID [--wait SECONDS]",
    .summary = "show a job",
    .options = get_options,
    .examples = "  belay get 33\n"
                "  belay get 33 --wait 30 --json | jq .result\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_get,
};

const struct verb verb_list = {
    .name = "list",
    .synopsis = "[--option VALUE ...]",
    .summary = "list jobs, the newest first",
    .options = list_options,
    .examples = "  belay list --status doing\n"
                "  belay list --queue mails --status failed,aborted --all\n"
                "  belay list --metadata '{\"customer\":7}' --sort created_at\n"
                "  belay list --limit 200 --json | jq '.jobs[].id'\n",
    .is_client = true,
    .run = run_list,
};

const struct verb verb_children = {
    .name = "children",
    .synopsis = "ID [--option VALUE ...]",
    .summary = "list the children of a job, the newest first",
    .options = children_options,
    .examples = "  belay children 33\n"
                "  belay children 33 --status todo,doing --all\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_children,
};

const struct verb verb_retry = {
    .name = "retry",
    .synopsis = "[ID] [--actor NAME] [--option VALUE ...]",
    .summary = "start a job again that has ended, or many",
    .options = retry_options,
    .examples = "  belay retry 33\n"
                "  belay retry 33 --delay 600 --queue slow\n"
                "  belay retry --queue mails --status failed\n",
    .most_words = 1,
    .is_client = true,
    .run = run_retry,
};

const struct verb verb_restore = {
    .name = "restore",
    .synopsis = "ID [--actor NAME]",
    .summary = "take back a job that was cancelled before it started",
    .options = restore_options,
    .examples = "  belay restore 33\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_restore,
};

const struct verb verb_explain = {
    .name = "explain",
    .synopsis = "ID",
    .summary = "say why a job has not started or stopped, or how it ended",
    .examples = "  belay explain 33\n"
                "  belay explain 33 --json | jq .next\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_explain,
};

const struct verb verb_events = {
    .name = "events",
    .synopsis = "ID [--after N] [--cursor CURSOR] [--limit N]",
    .summary = "show what happened to a job, also when it has been removed",
    .options = events_options,
    .examples = "  belay events 33\n"
                "  belay events 33 --json | jq '.events[].type'\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_events,
};
