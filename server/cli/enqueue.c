/* belay enqueue: the body is written as text, so that the args arrive as they were typed
 * (0.10 stays 0.10), which a JSON library would not grant. */
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <string.h>

enum { ARGS_MAX_BYTES = 64 * 1024 * 1024 };

static const struct verb_option options[] = {
    {"args", "JSON", "the args, an object; or the second word; - reads them from stdin",
     OPTION_TEXT, NULL},
    {"queue", "NAME", "default: default", OPTION_TEXT, "queue"},
    {"priority", "N", "higher runs first; default 0", OPTION_INT, "priority"},
    {"max-attempts", "N", "how often it may be started", OPTION_INT, "max_attempts"},
    {"retry", "JSON", "when to try again, as {\"kind\":\"fixed\",\"wait_seconds\":5}",
     OPTION_OBJECT, "retry"},
    {"delay", "SECONDS", "do not start before that time has passed", OPTION_NUMBER,
     "delay_seconds"},
    {"at", "TIME", "do not start before, as 2026-11-23T20:00:00Z", OPTION_TEXT,
     "scheduled_at"},
    {"timeout", "SECONDS", "how long an attempt may take", OPTION_NUMBER,
     "timeout_seconds"},
    {"deadline", "TIME", "when it must have ended, waiting included", OPTION_TEXT,
     "deadline"},
    {"deadline-in", "SECONDS", "the same, from now", OPTION_NUMBER, "deadline_seconds"},
    {"lock", "NAME", "jobs with the same lock run one after the other", OPTION_TEXT,
     "lock"},
    {"queueing-lock", "NAME", "refuse it when one with this lock waits already",
     OPTION_TEXT, "queueing_lock"},
    {"on-conflict", "MODE", "or then: ignore, replace, abort_replace; default reject",
     OPTION_TEXT, "on_conflict"},
    {"idempotency-key", "KEY", "a name of the request: given again, it is not done twice",
     OPTION_TEXT, NULL},
    {"limit-key", "NAME", "jobs with the same key share its limits", OPTION_TEXT,
     "limit_key"},
    {"tag", "TEXT", "a tag; may be given more than once", OPTION_LIST, "tags"},
    {"metadata", "JSON", "an object that is kept with the job", OPTION_OBJECT,
     "metadata"},
    {"parent", "ID", "the job that it is a child of", OPTION_INT, "parent_id"},
    {"on-parent-cancel", "WHAT", "cascade: it ends with its parent; detach: it does not",
     OPTION_TEXT, "on_parent_cancel"},
    {"depends-on", "ID", "start when that job has succeeded; may be given more than once",
     OPTION_IDS, "depends_on"},
    WAIT_OPTION("wait for its end; exit code 1 unless it succeeds in that time"),
    {.name = NULL}};

/* The limit only stops what is endless; how large args may be is the server's to say. */
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
    CLEANUP(buf_release) struct buf message = BUF_INIT;
    const char *status = json_text(job, "status");
    const json_t *error = json_object_get(job, "error");

    if (strcmp(status, "succeeded") == 0)
        return 0;
    if (strcmp(status, "todo") == 0 || strcmp(status, "doing") == 0) {
        fprintf(stderr, "belay enqueue: not finished after %s s; it is %s\n",
                call_text(call, "wait"), status);
        return 1;
    }
    if (json_is_object(error)) {
        buf_adds(&message, ": ");
        print_words(&message, json_object_get(error, "message")); /* a task's own words */
    }
    fprintf(stderr, "belay enqueue: the job is %s%s\n", status, message.text);
    return 1;
}

/* The job is in when this begins, so its id is told first: whoever interrupts the wait
 * can still ask for it. POST itself does not wait, for the same reason. */
static int wait_for_end(const struct call *call, const json_t *job)
{
    CLEANUP(answer_release) struct answer end = ANSWER_INIT;
    int64_t id = (int64_t)json_number_value(json_object_get(job, "id"));

    fprintf(stderr, "job %" PRId64 " is in; waiting for its end\n", id);
    int code = client_ask_end(call, id, call_int(call, "wait", 0), &end);
    if (code != 0)
        return code;
    if (!call->json)
        print_job(end.json);
    return tell_end(call, end.json);
}

/* The args were checked to be one JSON object, so they can stand in the text as they are.
 */
static void write_body(const struct call *call, const struct buf *args, struct buf *body)
{
    buf_adds(body, "{\"task\":");
    buf_add_json_string(body, call->words[0], strlen(call->words[0]));
    if (args->len > 0)
        buf_addf(body, ",\"args\":%s", args->text);
    call_body(call, body);
    buf_addc(body, '}');
}

static int run(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf args = BUF_INIT, body = BUF_INIT, why = BUF_INIT;
    struct question q = {
        .method = "POST", .path = "/jobs", .key = call_text(call, "idempotency-key")};

    if (q.key != NULL && !client_is_key(q.key))
        return usage_error(call, "a key has 1 to 255 visible ASCII characters");
    int code = read_args(call, &args);
    if (code != 0)
        return code;
    write_body(call, &args, &body);
    q.body = body.text;
    if (!client_exchange(call, &q, &a, &why))
        return client_say_no_answer(call, &why);
    bool is_in = a.status >= 200 && a.status < 300;
    if (is_in && call_int(call, "wait", 0) > 0)
        return wait_for_end(call, a.json);
    code = client_report(call, &a);
    if (code == 0 && !call->json)
        printf("%.0f\n", json_number_value(json_object_get(a.json, "id")));
    return code;
}

const struct verb verb_enqueue = {
    .name = "enqueue",
    .synopsis = "TASK [ARGS] [--option VALUE ...]",
    .summary = "put a job in; prints its id",
    .options = options,
    .examples = "  belay enqueue sleep '{\"seconds\":60}'\n"
                "  belay enqueue sleep --args '{\"seconds\":1}' --wait 10\n"
                "  belay enqueue report --queue nightly --at 2026-11-23T20:00:00Z\n"
                "  belay enqueue charge --idempotency-key order-4711\n"
                "  belay enqueue import - --tag csv --tag big < args.json\n",
    .least_words = 1,
    .most_words = 2,
    .is_client = true,
    .run = run,
};
