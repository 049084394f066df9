/* The verbs that ask about the service itself. The tables name their columns by the keys
 * of the API, so a new key is one more pair here. */
#include "server/cli/print.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"

enum { HEALTH_LIMIT_MS = 2000, STATUS_OK = 200, WORDS_SHOWN = 200 };

/* Prints the table that the server answers at `path` below the member `key`. */
static int run_table(const struct call *call, const char *path, const char *key,
                     const struct column *columns)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    int code = client_ask(call, &(struct question){.method = "GET", .path = path}, &a);

    if (code == 0 && !call->json)
        print_table(json_object_get(a.json, key), columns);
    return code;
}

static int run_counts(const struct call *call)
{
    static const struct column columns[] = {
        {"TASK", "name"},           {"HERE", "here"},           {"TO DO", "todo"},
        {"DOING", "doing"},         {"SUCCEEDED", "succeeded"}, {"FAILED", "failed"},
        {"CANCELLED", "cancelled"}, {"ABORTED", "aborted"},     {.title = NULL}};
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    struct question q = {.method = "GET", .path = "/tasks/counts"};
    int code = client_ask(call, &q, &a);
    size_t i;
    json_t *task;

    if (code != 0 || call->json)
        return code;
    json_array_foreach(json_object_get(a.json, "tasks"), i, task)
        json_object_update(task, json_object_get(task, "jobs"));
    print_table(json_object_get(a.json, "tasks"), columns);
    return 0;
}

static int run_tasks(const struct call *call)
{
    static const struct column columns[] = {{"TASK", "name"},
                                            {"KIND", "kind"},
                                            {"ATTEMPTS", "max_attempts"},
                                            {"TIMEOUT", "timeout_seconds"},
                                            {"GRACE", "grace_seconds"},
                                            {"DESCRIPTION", "description"},
                                            {.title = NULL}};

    if (call_has(call, "counts"))
        return run_counts(call);
    return run_table(call, "/tasks", "tasks", columns);
}

static int run_locks(const struct call *call)
{
    static const struct column columns[] = {{"LOCK", "lock"},     {"HOLDER", "id"},
                                            {"STATUS", "status"}, {"QUEUE", "queue"},
                                            {"TASK", "task"},     {"WAITING", "waiting"},
                                            {"NEXT", "next_id"},  {.title = NULL}};
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf path = BUF_INIT;
    size_t i;
    json_t *lock;

    buf_adds(&path, "/locks");
    call_query(call, &path);
    int code =
        client_ask(call, &(struct question){.method = "GET", .path = path.text}, &a);
    if (code != 0)
        return code;
    json_array_foreach(json_object_get(a.json, "locks"), i, lock)
        json_object_update_missing(lock, json_object_get(lock, "holder"));
    if (!call->json)
        print_table(json_object_get(a.json, "locks"), columns);
    if (json_text(a.json, "next_cursor")[0] != '\0')
        fprintf(stderr, "There is more: --cursor %s\n", json_text(a.json, "next_cursor"));
    return 0;
}

static int run_queues(const struct call *call)
{
    static const struct column columns[] = {
        {"QUEUE", "name"},          {"PAUSED", "paused"},       {"TO DO", "todo"},
        {"SCHEDULED", "scheduled"}, {"BLOCKED", "blocked"},     {"PARKED", "parked"},
        {"DOING", "doing"},         {"SUCCEEDED", "succeeded"}, {"FAILED", "failed"},
        {"CANCELLED", "cancelled"}, {"ABORTED", "aborted"},     {.title = NULL}};

    return run_table(call, "/queues", "queues", columns);
}

static int run_workers(const struct call *call)
{
    static const struct column columns[] = {
        {"ID", "id"},           {"WORKER", "name"},
        {"ALIVE", "alive"},     {"RUNNING", "running"},
        {"OF", "concurrency"},  {"QUEUES", "queues"},
        {"VERSION", "version"}, {"HEARTBEAT", "heartbeat_at"},
        {.title = NULL}};

    return run_table(call, "/workers", "workers", columns);
}

/* Where the service of this machine, or of this container, listens: PORT is its setting,
 * too. */
/* --url and BELAY_URL go first: they name a server, PORT only one that is here. */
static void own_url(const struct call *call, char url[64])
{
    const char *port = getenv("PORT"), *named = getenv("BELAY_URL");

    if (!call_has(call, "url") && (named == NULL || named[0] == '\0') && port != NULL &&
        port[0] != '\0')
        snprintf(url, 64, "http://127.0.0.1:%s", port);
}

/* For scripts and containers: quick, silent when all is well. */
static int run_healthcheck(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct question q = {.method = "GET", .path = "/readyz", .limit_ms = HEALTH_LIMIT_MS};
    struct call own = *call;
    char url[64] = "";

    own_url(call, url);
    if (url[0] != '\0')
        own.url = url;
    if (client_exchange(&own, &q, &a, &why) && a.status == STATUS_OK)
        return 0;
    if (why.len == 0)
        buf_addf(&why, "%s answers with status %ld: %.*s", own.url, a.status,
                 (int)(a.document.len < WORDS_SHOWN ? a.document.len : WORDS_SHOWN),
                 a.document.text);
    fprintf(stderr, "belay healthcheck: %s\n", why.text);
    return 1;
}

static int run_version(const struct call *call)
{
    CLEANUP(answer_release) struct answer a = ANSWER_INIT;
    CLEANUP(buf_release) struct buf schema = BUF_INIT;

    if (!call_has(call, "server")) {
        puts(call->json ? "{\"name\":\"belay\",\"version\":\"" BELAY_VERSION "\"}"
                        : "belay " BELAY_VERSION);
        return 0;
    }
    int code =
        client_ask(call, &(struct question){.method = "GET", .path = "/version"}, &a);
    if (code != 0 || call->json)
        return code;
    print_words(&schema, json_object_get(a.json, "schema"));
    printf("%s %s, schema %s\n", json_text(a.json, "name"), json_text(a.json, "version"),
           schema.text);
    return 0;
}

static const struct verb_option version_options[] = {
    {"server", NULL, "of the server instead of this program", OPTION_YES, NULL},
    {.name = NULL}};

static const struct verb_option tasks_options[] = {
    {"counts", NULL, "those that have jobs, counted by status", OPTION_YES, NULL},
    {.name = NULL}};
static const struct verb_option locks_options[] = {
    {"lock", "NAME", "only this one", OPTION_TEXT, "lock"},
    {"limit", "N", "page size, 1 to 200; default 50", OPTION_INT, "limit"},
    {"cursor", "CURSOR", "the page that begins there", OPTION_TEXT, "cursor"},
    {.name = NULL}};

const struct verb verb_tasks = {
    .name = "tasks",
    .synopsis = "[--counts]",
    .summary = "list the tasks that the server can run",
    .options = tasks_options,
    .examples = "  belay tasks\n"
                "  belay tasks --counts\n",
    .is_client = true,
    .run = run_tasks,
};

const struct verb verb_queues = {
    .name = "queues",
    .synopsis = "",
    .summary = "list the queues and how many jobs are where",
    .examples = "  belay queues\n",
    .is_client = true,
    .run = run_queues,
};

const struct verb verb_locks = {
    .name = "locks",
    .synopsis = "[--lock NAME] [--limit N] [--cursor CURSOR]",
    .summary = "list the locks: who has each, and how many wait for it",
    .options = locks_options,
    .examples = "  belay locks\n"
                "  belay locks --json | jq '.locks[] | select(.waiting > 100)'\n",
    .is_client = true,
    .run = run_locks,
};

const struct verb verb_workers = {
    .name = "workers",
    .synopsis = "",
    .summary = "list the workers and when they were last heard of",
    .examples = "  belay workers\n",
    .is_client = true,
    .run = run_workers,
};

const struct verb verb_healthcheck = {
    .name = "healthcheck",
    .synopsis = "",
    .summary = "exit with 0 when the server can take jobs, else with 1, within 2 s",
    .examples = "  belay healthcheck || systemctl restart belay\n",
    .is_client = true,
    .run = run_healthcheck,
};

const struct verb verb_version = {
    .name = "version",
    .synopsis = "[--server]",
    .summary = "print the version",
    .options = version_options,
    .examples = "  belay version\n"
                "  belay version --server --json | jq .schema\n",
    .is_client = true,
    .run = run_version,
};
