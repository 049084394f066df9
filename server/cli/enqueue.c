/* belay enqueue: the body is written as text, so that the args arrive as they were typed
 * (0.10 stays 0.10), which a JSON library would not grant. */
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <string.h>

enum { ARGS_MAX_BYTES = 64 * 1024 * 1024 };

static const struct verb_option options[] = {
    {"args", "JSON", "the args, an object; or the second word; - reads them from stdin",
     OPTION_TEXT, NULL},
    {"queue", "NAME", "default: default", OPTION_TEXT, "queue"},
    {"priority", "N", "higher runs first; default 0", OPTION_INT, "priority"},
    {"max-attempts", "N", "how often it may be started", OPTION_INT, "max_attempts"},
    {"delay", "SECONDS", "do not start before that time has passed", OPTION_NUMBER,
     "delay_seconds"},
    {"at", "TIME", "do not start before, as 2026-11-23T20:00:00Z", OPTION_TEXT,
     "scheduled_at"},
    {"lock", "NAME", "jobs with the same lock run one after the other", OPTION_TEXT,
     "lock"},
    {"queueing-lock", "NAME", "refuse it when one with this lock waits already",
     OPTION_TEXT, "queueing_lock"},
    {"tag", "TEXT", "a tag; may be given more than once", OPTION_LIST, "tags"},
    {"metadata", "JSON", "an object that is kept with the job", OPTION_OBJECT,
     "metadata"},
    WAIT_OPTION("wait for its end; exit code 1 unless it succeeds in that time"),
    {.name = NULL}};

static void read_stdin(struct buf *out)
{
    char chunk[8192];
    size_t len;

    while ((len = fread(chunk, 1, sizeof chunk, stdin)) > 0 && out->len < ARGS_MAX_BYTES)
        buf_add(out, chunk, len);
}

/* The args as they were written, checked to be an object; empty: none were given. */
static int read_args(const struct call *call, struct buf *out)
{
    const char *text = call_text(call, "args");
    json_error_t error;

    if (text != NULL && call->n_words > 1)
        return usage_error(call, "the args are given twice");
    if (text == NULL)
        text = call->n_words > 1 ? call->words[1] : "";
    if (strcmp(text, "-") == 0)
        read_stdin(out);
    else
        buf_adds(out, text);
    if (out->len == 0 && text[0] == '\0')
        return 0;
    json_t *parsed = json_loadb(out->text, out->len, JSON_DECODE_INT_AS_REAL, &error);
    bool is_object = json_is_object(parsed);
    json_decref(parsed);
    if (is_object)
        return 0;
    return usage_error(call, "the args are not a JSON object%s%s; as '{\"seconds\":60}'",
                       error.text[0] != '\0' ? ": " : "", error.text);
}

/* What has become of a job that was waited for. */
static int tell_end(const struct call *call, const json_t *job)
{
    const char *status = json_text(job, "status");

    if (strcmp(status, "succeeded") == 0)
        return 0;
    if (strcmp(status, "todo") == 0 || strcmp(status, "doing") == 0)
        fprintf(stderr, "belay enqueue: not finished after %s s; it is %s\n",
                call_text(call, "wait"), status);
    else
        fprintf(stderr, "belay enqueue: the job is %s%s%s\n", status,
                json_is_object(json_object_get(job, "error")) ? ": " : "",
                json_text(json_object_get(job, "error"), "message"));
    return 1;
}

static int run(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf args = BUF_INIT, body = BUF_INIT, id = BUF_INIT;
    int64_t wait = call_int(call, "wait", 0);
    int code = read_args(call, &args);

    if (code != 0)
        return code;
    buf_adds(&body, "{\"task\":");
    buf_add_json_string(&body, call->words[0], strlen(call->words[0]));
    if (args.len > 0)
        buf_addf(&body, ",\"args\":%s", args.text);
    call_body(call, &body);
    buf_addc(&body, '}');
    code = client_ask(
        call,
        &(struct question){
            .method = "POST", .path = "/jobs", .body = body.text, .wait_seconds = wait},
        &a);
    if (code != 0)
        return code;
    if (!call->json && wait > 0)
        print_job(a.json);
    if (!call->json && wait <= 0) {
        print_words(&id, json_object_get(a.json, "id"));
        puts(id.text);
    }
    return wait > 0 ? tell_end(call, a.json) : 0;
}

const struct verb verb_enqueue = {
    .name = "enqueue",
    .synopsis = "TASK [ARGS] [--option VALUE ...]",
    .summary = "put a job in; prints its id",
    .options = options,
    .examples = "  belay enqueue sleep '{\"seconds\":60}'\n"
                "  belay enqueue sleep --args '{\"seconds\":1}' --wait 10\n"
                "  belay enqueue report --queue nightly --at 2026-11-23T20:00:00Z\n"
                "  belay enqueue import - --tag csv --tag big < args.json\n",
    .least_words = 1,
    .most_words = 2,
    .is_client = true,
    .run = run,
};
