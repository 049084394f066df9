/* belay cancel and belay delete. What they say is what the server said, in words: that a
 * job was asked to stop is never told as if it had stopped. */
#include "server/cli/bulk.h"
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

#include <inttypes.h>
#include <string.h>

enum { STATUS_ACCEPTED = 202, STATUS_GONE = 204 };

static const char wait_help[] = "wait until it has stopped, at most the minute that the "
                                "server grants; exit code 1 when it has not";

#define ABORT_OPTIONS                                                                    \
    {"abort", NULL, "also when it runs: ask it to stop", OPTION_YES, "abort"},           \
        {"reason", "TEXT", "why; kept with the receipt", OPTION_TEXT, "reason"},         \
        {"actor", "NAME", "who asks; kept with the receipt", OPTION_TEXT, "actor"},      \
        {"grace", "SECONDS", "how long a command has until it is killed", OPTION_INT,    \
         "grace_seconds"},                                                               \
        WAIT_OPTION(wait_help)

static const struct verb_option cancel_options[] = {
    ABORT_OPTIONS,
    {"delete", NULL, "and remove it", OPTION_YES, "delete"},
    {"requeue", NULL, "with --abort: it starts again when it has stopped", OPTION_YES,
     NULL},
    {"undo", "SECONDS", "only after so long, unless belay restore takes it back before",
     OPTION_INT, "undo_seconds"},
    {"attempt", "N", "only if this attempt is the current one", OPTION_INT, "attempt"},
    {"only-if", "STATUS", "only if that is its status; may be given more than once",
     OPTION_LIST, "only_if"},
    {"key", "KEY", "what a request with this idempotency key has put in, or will",
     OPTION_TEXT, NULL},
    {"ttl", "SECONDS", "with --key: how long the cancel waits for that request",
     OPTION_INT, "ttl_seconds"},
    FILTER_OPTIONS,
    {"until", "TIME", "and whatever comes before then, as it arrives", OPTION_TEXT,
     "until"},
    {.name = NULL}};

static const struct verb_option delete_options[] = {
    ABORT_OPTIONS, FILTER_OPTIONS, {.name = NULL}};

/* The result in words; the words of the API are in cancelJob. */
static const char *words_of(const char *result)
{
    static const char *const words[][2] = {
        {"cancelled", "cancelled; it will never start"},
        {"aborting", "asked to stop, not stopped yet"},
        {"cancel_pending", "will be cancelled, or asked to stop if it runs; until then "
                           "belay restore takes it back"},
        {"aborted", "aborted; it has stopped"},
        {"restored", "restored; it is not cancelled any more"},
        {"killed", "killed, because it did not stop in its grace"},
        {"completed", "it had succeeded before it could be stopped"},
        {"failed", "it failed after it was asked to stop; it is not "
                   "tried again"},
        {"requeued", "stopped; it waits to start again"},
        {"already_todo", "does not run; it waits to start"},
        {"worker_lost", "its worker was lost; it is aborted"},
        {"already_cancelled", "had been cancelled already"},
        {"already_aborted", "had been aborted already"},
        {"deleted", "deleted"},
        {"job-running", "runs; without --abort it is not asked to stop"},
        {"job-finished", "had finished already"},
        {"job-not-found", "there is no such job any more"},
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i][0], result) == 0)
            return words[i][1];
    }
    return result;
}

/* One line: the job, what happened, which receipt to look at, and the task's last words.
 */
static void tell_job(const char *id, const char *result, const json_t *receipt)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    const char *message = json_text(receipt, "message");

    buf_addf(&text, "job %s: %s", id, words_of(result));
    if (json_is_object(receipt)) {
        buf_adds(&text, " (receipt ");
        print_words(&text, json_object_get(receipt, "id"));
        buf_addc(&text, ')');
    }
    if (message[0] != '\0') {
        buf_adds(&text, ": ");
        print_words(&text, json_object_get(receipt, "message"));
    }
    puts(text.text);
}

static void tell(const struct call *call, const struct answer *a)
{
    tell_job(call->words[0],
             a->status == STATUS_GONE ? "deleted" : json_text(a->json, "result"),
             json_object_get(a->json, "cancellation"));
}

/* 202 is success when nobody wanted to wait, and not when somebody did: what comes after
 * "belay cancel 33 --abort --wait 10 &&" relies on the job having stopped. */
static int finish(const struct call *call, const struct answer *a)
{
    if (!call->json)
        tell(call, a);
    if (a->status != STATUS_ACCEPTED || call_int(call, "wait", 0) <= 0)
        return 0;
    fprintf(stderr, "belay %s: not stopped after %" PRId64 " s\n", call->verb->name,
            a->waited_seconds);
    return 1;
}

/* In the body, because a reason of 1,024 characters may not fit into a URI. */
static int cancel_one(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release)
    struct buf members = BUF_INIT, body = BUF_INIT;

    call_body(call, &members);
    if (call_has(call, "requeue"))
        buf_adds(&members, ",\"retry\":\"requeue\"");
    buf_addf(&body, "{%s}", members.len > 0 ? members.text + 1 : "");
    int code =
        client_ask_job(call, "/cancel",
                       &(struct question){.method = "POST",
                                          .body = body.text,
                                          .wait_seconds = call_int(call, "wait", 0)},
                       &a);
    return code == 0 ? finish(call, &a) : code;
}

/* In the query, because a body of DELETE has no meaning in HTTP. */
static int delete_one(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf query = BUF_INIT;

    call_query(call, &query);
    int code = client_ask_job(
        call, query.text,
        &(struct question){.method = "DELETE", .wait_seconds = call_int(call, "wait", 0)},
        &a);
    return code == 0 ? finish(call, &a) : code;
}

/* -- by key -------------------------------------------------------------------------- */

/* What is said of one job, and of each job of a batch. */
static void tell_result(const json_t *answer, const json_t *id)
{
    char text[32];

    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
    tell_job(text, json_text(answer, "result"), json_object_get(answer, "cancellation"));
}

/* Answers the exit code: of a batch some may have been refused. */
static int tell_by_key(const struct call *call, const struct answer *a)
{
    const json_t *results = json_object_get(a->json, "results"), *one;
    int code = 0;
    size_t i;

    json_array_foreach(results, i, one)
    {
        code = json_is_string(json_object_get(one, "code")) ? 1 : code;
        if (!call->json)
            tell_result(one, json_object_get(one, "id"));
    }
    if (call->json || results != NULL)
        return code;
    if (strcmp(json_text(a->json, "result"), "waiting") == 0)
        printf("key %s: what comes with it will not start\n", call_text(call, "key"));
    else
        tell_result(a->json, json_object_get(json_object_get(a->json, "job"), "id"));
    return 0;
}

/* NULL, or what was given and has no meaning for what may not even be there yet. */
static const char *no_option_of_a_key(const struct call *call)
{
    static const char *const known[] = {"key",   "ttl",   "abort", "reason",
                                        "actor", "grace", "url",   "json"};

    for (int i = 0; i < call->n_given; i++) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known &&
               strcmp(known[k], call->given[i].option->name) != 0)
            k++;
        if (k == sizeof known / sizeof *known)
            return call->given[i].option->name;
    }
    return NULL;
}

static int cancel_by_key(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release)
    struct buf members = BUF_INIT, body = BUF_INIT, path = BUF_INIT;
    const char *key = call_text(call, "key"), *wrong = no_option_of_a_key(call);

    if (call->n_words > 0 || wrong != NULL)
        return usage_error(call, "--key and %s%s do not go together",
                           call->n_words > 0 ? "an ID" : "--",
                           call->n_words > 0 ? "" : wrong);
    if (!client_is_key(key))
        return usage_error(call, "a key has 1 to 255 visible ASCII characters");
    buf_adds(&path, "/cancellations/by-key/");
    client_escape(&path, key);
    call_body(call, &members);
    buf_addf(&body, "{%s}", members.len > 0 ? members.text + 1 : "");
    int code = client_ask(
        call, &(struct question){.method = "PUT", .path = path.text, .body = body.text},
        &a);
    return code == 0 ? tell_by_key(call, &a) : code;
}

/* Options of the filter with another meaning where there is an ID. */
static const char *const none[] = {NULL};

static int run_cancel(const struct call *call)
{
    if (call_has(call, "key"))
        return cancel_by_key(call);
    if (call_has(call, "ttl"))
        return usage_error(call, "--ttl needs a --key");
    return bulk_or_one(call, "/cancellations", none, cancel_one);
}

static int run_delete(const struct call *call)
{
    return bulk_or_one(call, "/deletions", none, delete_one);
}

const struct verb verb_cancel = {
    .name = "cancel",
    .synopsis = "[ID | --key KEY] [--abort] [--option VALUE ...]",
    .summary = "cancel a job, or many; with --abort also those that run",
    .options = cancel_options,
    .examples = "  belay cancel 33\n"
                "  belay cancel 33 --abort --wait 10\n"
                "  belay cancel 33 --abort --reason 'wrong input "
                "file' --actor ada\n"
                "  belay cancel 33 --abort --grace 5 --delete\n"
                "  belay cancel 33 --abort --requeue\n"
                "  belay cancel --key order-4711\n"
                "  belay cancel 33 --undo 30\n"
                "  belay cancel --queue mails --tag spring --dry-run\n",
    .most_words = 1,
    .is_client = true,
    .run = run_cancel,
};

const struct verb verb_delete = {
    .name = "delete",
    .synopsis = "[ID] [--abort] [--option VALUE ...]",
    .summary = "remove a job; with --abort also one that runs, when "
               "it has stopped",
    .options = delete_options,
    .examples = "  belay delete 33\n"
                "  belay delete 33 --abort --wait 10\n"
                "  belay delete --status succeeded --created-before "
                "2026-11-01T00:00:00Z\n",
    .most_words = 1,
    .is_client = true,
    .run = run_delete,
};
