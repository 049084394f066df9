/* belay schedules and belay schedule: the list, and what can be done with one. The second
 * word says what, because each of these is one request to one path; the words of `put`
 * stand in the order in which one says them: name, when, what. */
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <string.h>

static const struct verb_option list_options[] = {
    {"limit", "N", "page size, 1 to 200; default 50", OPTION_INT, "limit"},
    {"cursor", "CURSOR", "the page that begins there", OPTION_TEXT, "cursor"},
    {.name = NULL}};

static const struct verb_option options[] = {
    {"timezone", "ZONE", "as Europe/Berlin; default UTC", OPTION_TEXT, "timezone"},
    {"args", "JSON", "the args of each job, an object", OPTION_OBJECT, "args"},
    {"queue", "NAME", "default: default", OPTION_TEXT, "queue"},
    {"priority", "N", "higher runs first; default 0", OPTION_INT, "priority"},
    {"max-attempts", "N", "how often a job may be started", OPTION_INT, "max_attempts"},
    {"timeout", "SECONDS", "how long an attempt may take", OPTION_NUMBER,
     "timeout_seconds"},
    {"lock", "NAME", "jobs with the same lock run one after the other", OPTION_TEXT,
     "lock"},
    {"queueing-lock", "NAME", "no job while one with this lock waits", OPTION_TEXT,
     "queueing_lock"},
    {"tag", "TEXT", "a tag of each job; may be given more than once", OPTION_LIST,
     "tags"},
    {"metadata", "JSON", "an object that is kept with each job", OPTION_OBJECT,
     "metadata"},
    {"max-delay", "SECONDS", "catch up what was missed for so long; default 600",
     OPTION_NUMBER, "max_delay_seconds"},
    {"paused", NULL, "it makes no jobs until it is resumed", OPTION_YES, "paused"},
    {.name = NULL}};

/* -- schedules ----------------------------------------------------------------------- */

static int run_list(const struct call *call)
{
    static const struct column columns[] = {
        {"SCHEDULE", "name"},     {"CRON", "cron"},       {"ZONE", "timezone"},
        {"TASK", "task"},         {"PAUSED", "paused"},   {"NEXT", "next_at"},
        {"LAST", "last_tick_at"}, {"JOB", "last_job_id"}, {.title = NULL}};
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT;

    buf_adds(&path, "/schedules");
    call_query(call, &path);
    int code =
        client_ask(call, &(struct question){.method = "GET", .path = path.text}, &a);
    if (code != 0)
        return code;
    if (!call->json)
        print_table(json_object_get(a.json, "schedules"), columns);
    if (json_text(a.json, "next_cursor")[0] != '\0')
        fprintf(stderr, "There is more: --cursor %s\n", json_text(a.json, "next_cursor"));
    return 0;
}

/* -- schedule ------------------------------------------------------------------------ */

enum { PUT_WORDS = 4 };

static const struct action {
    const char *name, *method, *rest, *done; /* done NULL: prints the document */
    int words;
} actions[] = {
    {"put", "PUT", "", NULL, PUT_WORDS},
    {"get", "GET", "", NULL, 2},
    {"delete", "DELETE", "", "is gone; its jobs stay", 2},
    {"pause", "POST", "/pause", "is paused", 2},
    {"resume", "POST", "/resume", "goes on", 2},
    {"run", "POST", "/run", NULL, 2},
};

static const struct action *find_action(const char *name)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(actions[i].name, name) == 0)
            return &actions[i];
    }
    return NULL;
}

static void write_body(const struct call *call, struct buf *body)
{
    buf_adds(body, "{\"cron\":");
    buf_add_json_string(body, call->words[2], strlen(call->words[2]));
    buf_adds(body, ",\"task\":");
    buf_add_json_string(body, call->words[3], strlen(call->words[3]));
    call_body(call, body);
    buf_addc(body, '}');
}

/* The options are those of put: with another action they would be lost in silence. */
static int check(const struct call *call, const struct action *action)
{
    if (call->n_words != action->words)
        return usage_error(call, "it is: belay schedule %s NAME%s", action->name,
                           action->words == PUT_WORDS ? " CRON TASK" : "");
    for (int i = 0; i < call->n_given; i++) {
        if (call->given[i].option->param != NULL && action->words != PUT_WORDS)
            return usage_error(call, "--%s goes with put", call->given[i].option->name);
    }
    return 0;
}

static void tell(const struct call *call, const struct action *action,
                 const struct answer *a)
{
    if (action->done != NULL)
        printf("schedule %s: %s\n", call->words[1], action->done);
    else if (strcmp(action->name, "run") == 0)
        printf("%.0f\n", json_number_value(json_object_get(a->json, "id")));
    else
        print_job(a->json);
}

static int run_schedule(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT, body = BUF_INIT;
    const struct action *action = find_action(call->words[0]);

    if (action == NULL)
        return usage_error(call, "%s is not known; put, get, delete, pause, resume, run",
                           call->words[0]);
    int code = check(call, action);
    if (code != 0)
        return code;
    buf_adds(&path, "/schedules/");
    client_escape(&path, call->words[1]);
    buf_adds(&path, action->rest);
    if (action->words == PUT_WORDS)
        write_body(call, &body);
    struct question q = {.method = action->method,
                         .path = path.text,
                         .body = action->words == PUT_WORDS ? body.text : NULL};
    code = client_ask(call, &q, &a);
    if (code == 0 && !call->json)
        tell(call, action, &a);
    return code;
}

const struct verb verb_schedules = {
    .name = "schedules",
    .synopsis = "[--limit N] [--cursor CURSOR]",
    .summary = "list the schedules, by name",
    .options = list_options,
    .examples = "  belay schedules\n"
                "  belay schedules --json | jq '.schedules[] | select(.paused).name'\n",
    .is_client = true,
    .run = run_list,
};

const struct verb verb_schedule = {
    .name = "schedule",
    .synopsis = "put NAME CRON TASK [--option VALUE ...] | get|delete|pause|resume|run "
                "NAME",
    .summary = "make a schedule or change it; look at it, delete, pause, resume, run now",
    .options = options,
    .examples =
        "  belay schedule put nightly '0 3 * * MON-FRI' report --timezone Europe/Berlin\n"
        "  belay schedule put beat '*/10 * * * * *' ping --queueing-lock beat\n"
        "  belay schedule pause nightly\n"
        "  belay schedule run nightly\n",
    .least_words = 2,
    .most_words = PUT_WORDS,
    .is_client = true,
    .run = run_schedule,
};
