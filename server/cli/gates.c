/* The verbs that say what may start: pause, resume, limit, and for one job hold and
 * release. What they speak of is named as in the API's paths: queue, task, key. */
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <string.h>

static const struct verb_option pause_options[] = {
    {"until", "TIME", "ends by itself then, as 2026-11-24T08:00:00Z", OPTION_TEXT,
     "until"},
    {"reason", "TEXT", "why", OPTION_TEXT, "reason"},
    {"actor", "NAME", "who", OPTION_TEXT, "actor"},
    {.name = NULL}};
static const struct verb_option release_options[] = {
    {"actor", "NAME", "who", OPTION_TEXT, "actor"}, {.name = NULL}};
static const struct verb_option limit_options[] = {
    {"max-running", "N", "so many at a time, over all nodes", OPTION_INT, "max_running"},
    {"rate", "N", "so many starts a second", OPTION_NUMBER, "rate_per_second"},
    {"burst", "N", "so many starts at once after a rest; with --rate", OPTION_INT,
     "burst"},
    {.name = NULL}};

/* /queues/NAME, /tasks/NAME or /limit-keys/NAME, from the words of the call. */
static bool add_path(const struct call *call, bool keys, struct buf *path)
{
    const char *kind = call->words[0];

    if (strcmp(kind, "queue") != 0 && strcmp(kind, "task") != 0 &&
        (!keys || strcmp(kind, "key") != 0)) {
        usage_error(call, "%s is none of queue, task%s", kind, keys ? ", key" : "");
        return false;
    }
    buf_addf(path, "/%s%ss/", strcmp(kind, "key") == 0 ? "limit-" : "", kind);
    client_escape(path, call->words[1]);
    return true;
}

/* The options as a body. */
static void add_body(const struct call *call, struct buf *body)
{
    CLEANUP(buf_release) struct buf members = BUF_INIT;

    call_body(call, &members);
    buf_addf(body, "{%s}", members.len > 0 ? members.text + 1 : "");
}

static int change_gate(const struct call *call, const char *method, const char *rest,
                       const char *done)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT, body = BUF_INIT;

    if (!add_path(call, strcmp(rest, "/limits") == 0, &path))
        return 2;
    if (strcmp(call->words[0], "key") != 0)
        buf_adds(&path, rest);
    add_body(call, &body);
    const struct question q = {.method = method,
                               .path = path.text,
                               .body = call->verb->options != NULL ? body.text : NULL};
    int code = client_ask(call, &q, &a);
    if (code == 0 && !call->json)
        printf("%s %s: %s\n", call->words[0], call->words[1], done);
    return code;
}

static int run_pause(const struct call *call)
{
    return change_gate(call, "POST", "/pause", "paused; what runs goes on");
}

static int run_resume(const struct call *call)
{
    return change_gate(call, "POST", "/resume", "may start again");
}

static int run_limit(const struct call *call)
{
    return change_gate(call, "PUT", "/limits",
                       call->n_given > 0 ? "limited" : "without limits");
}

static int tell_job(const struct call *call, const struct answer *a)
{
    const char *result = json_text(a->json, "result");

    if (!call->json)
        printf("job %s: %s\n", call->words[0],
               strcmp(result, "not_held") == 0 ? "was not held" : result);
    return 0;
}

static int run_hold(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf body = BUF_INIT;

    add_body(call, &body);
    int code = client_ask_job(
        call, "/hold", &(struct question){.method = "POST", .body = body.text}, &a);
    return code == 0 ? tell_job(call, &a) : code;
}

static int run_release(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf rest = BUF_INIT;

    buf_adds(&rest, "/release");
    call_query(call, &rest);
    int code = client_ask_job(call, rest.text, &(struct question){.method = "POST"}, &a);
    return code == 0 ? tell_job(call, &a) : code;
}

const struct verb verb_pause = {
    .name = "pause",
    .synopsis = "queue|task NAME [--option VALUE ...]",
    .summary = "start no more jobs of a queue or a task",
    .options = pause_options,
    .examples = "  belay pause queue mails --reason 'server down' --actor ada\n"
                "  belay pause task resize --until 2126-11-24T08:00:00Z\n",
    .least_words = 2,
    .most_words = 2,
    .is_client = true,
    .run = run_pause,
};

const struct verb verb_resume = {
    .name = "resume",
    .synopsis = "queue|task NAME",
    .summary = "start jobs of a queue or a task again",
    .examples = "  belay resume queue mails\n",
    .least_words = 2,
    .most_words = 2,
    .is_client = true,
    .run = run_resume,
};

const struct verb verb_limit = {
    .name = "limit",
    .synopsis = "queue|task|key NAME [--option VALUE ...]",
    .summary = "limit how many jobs run and start; without options: no limit",
    .options = limit_options,
    .examples = "  belay limit queue mails --max-running 3\n"
                "  belay limit key customer:7 --rate 5 --burst 10\n"
                "  belay limit task resize\n",
    .least_words = 2,
    .most_words = 2,
    .is_client = true,
    .run = run_limit,
};

const struct verb verb_hold = {
    .name = "hold",
    .synopsis = "ID [--option VALUE ...]",
    .summary = "keep a job that has not started from starting",
    .options = pause_options,
    .examples = "  belay hold 33 --reason 'wait for the fix'\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_hold,
};

const struct verb verb_release = {
    .name = "release",
    .synopsis = "ID [--actor NAME]",
    .summary = "let a job start that is held",
    .options = release_options,
    .examples = "  belay release 33\n",
    .least_words = 1,
    .most_words = 1,
    .is_client = true,
    .run = run_release,
};
