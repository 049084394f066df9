/* The composition root, and the only file that sees every folder.
 *
 * `belay serve` and belay_run() start the parts in order and stops them in reverse:
 * supervisor of child processes, private PostgreSQL, schema, lanes, node (workers), HTTP.
 * HTTP comes last and goes last, so that a job can be watched and aborted for as long as
 * it runs. The thread of main then does nothing but wait for signals; it is also the
 * parent of the child processes, which die with the thread that made them, so it must be
 * the one that outlives all others.
 *
 * The database may be away at start: everything but the schema opens without it, and the
 * schema is tried again once a second. Rejected: to exit and leave the retry to a
 * supervisor; a node that answers 503 with a reason is easier to operate than one that is
 * not there. */
#include "server/serve.h"

#include "db/embedded.h"
#include "db/lane.h"
#include "db/migrate.h"
#include "handlers/app.h"
#include "handlers/gauges.h"
#include "handlers/wait.h"
#include "server/cli/cli.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/config.h"
#include "server/core/log.h"
#include "server/http/http.h"
#include "workers/exec.h"
#include "workers/isolate.h"
#include "workers/node.h"
#include "workers/plugin.h"
#include "workers/process.h"
#include "workers/quotas.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <time.h>

enum { MIGRATE_RETRY_MS = 1000, DRAIN_LOOK_MS = 50, EMPTY_LOOK_MS = 50 };

/* All that runs, in the order of its start. */
struct service {
    struct config config;
    struct embedded *postgres;
    struct commands *commands;
    struct task_table *tasks;
    struct app app;
    struct http *http;
    const char *url, *listen_url;
};

static int exit_code_of(enum err e)
{
    switch ((int)e) {
    case ERR_OK:
        return EXIT_SUCCESS;
    case ERR_USAGE:
        return 2;
    case ERR_CONFIG:
    case ERR_SCHEMA_TOO_NEW:
        return EX_CONFIG;
    case ERR_UNAVAILABLE:
        return EX_UNAVAILABLE;
    default:
        return EXIT_FAILURE;
    }
}

int serve_fail(enum err e, const struct buf *why)
{
    fprintf(stderr, "belay: %s\n", why->len > 0 ? why->text : err_title(e));
    return exit_code_of(e);
}

/* -- callbacks that join the parts --------------------------------------------------- */

static void wake_http(void *arg)
{
    struct service *s = arg;
    struct http *http = __atomic_load_n(&s->http, __ATOMIC_ACQUIRE);

    if (http != NULL)
        http_wake(http);
}

static void on_http_wake(void *arg)
{
    struct service *s = arg;

    lanes_complete(s->app.lanes);
    waiters_run(s->app.waiters);
}

static void on_jobs_ended(void *arg, const int64_t *ids, size_t n)
{
    struct service *s = arg;

    if (waiters_ended(s->app.waiters, ids, n))
        wake_http(s);
}

/* -- start --------------------------------------------------------------------------- */

static void configure_log(const struct config *c)
{
    enum log_format format = strcmp(c->log_format, "json") == 0     ? LOG_JSON
                             : strcmp(c->log_format, "logfmt") == 0 ? LOG_LOGFMT
                                                                    : LOG_TEXT;
    enum log_level level = strcmp(c->log_level, "debug") == 0   ? LOG_DEBUG
                           : strcmp(c->log_level, "warn") == 0  ? LOG_WARN
                           : strcmp(c->log_level, "error") == 0 ? LOG_ERROR
                                                                : LOG_INFO;

    log_configure(format, level);
}

/* To those that are in the table already: the plugins, then the declared commands. Then
 * what the settings say of tasks by name. */
static enum err collect_tasks(struct service *s, struct buf *why)
{
    enum err e = plugins_load(s->config.plugins, s->tasks, why);

    if (e == ERR_OK)
        e = commands_load(s->config.file, &s->commands, why);
    if (e != ERR_OK)
        return e;
    const struct task *const *declared = commands_tasks(s->commands);
    for (; *declared != NULL && e == ERR_OK; declared++)
        e = task_table_add(s->tasks, *declared, s->config.file, why);
    if (e == ERR_OK)
        e = task_table_isolate(s->tasks, s->config.isolate, why);
    if (e == ERR_OK)
        e = quotas_check(&s->config, task_table_list(s->tasks), why);
    return e;
}

static enum err find_database(struct service *s, struct buf *why)
{
    if (s->config.database_url[0] != '\0') {
        s->url = s->config.database_url;
        log_info("serve", "database=%s",
                 log_quoted("the one of database_url (DATABASE_URL)"));
    } else {
        enum err e = embedded_start(s->config.data_dir, &s->postgres, why);
        if (e != ERR_OK)
            return e;
        s->url = embedded_url(s->postgres);
        log_info("serve", "database=%s data_dir=%s",
                 log_quoted("a private PostgreSQL, because DATABASE_URL is not set"),
                 log_quoted(s->config.data_dir));
    }
    s->listen_url =
        s->config.listen_database_url[0] != '\0' ? s->config.listen_database_url : s->url;
    return ERR_OK;
}

/* True when the schema is there. Anything but "the database is away" is fatal. */
static enum err try_migrate(struct service *s, struct buf *why)
{
    int applied = 0;
    enum err e = migrate(s->url, &applied, why);

    if (e == ERR_OK) {
        if (applied > 0)
            log_info("migrate", "applied=%d version=%d", applied, migrate_version());
        atomic_store(&s->app.migrated, true);
        return ERR_OK;
    }
    if (e != ERR_UNAVAILABLE)
        return e;
    log_warn("migrate", "waiting_for_database=%s", log_quoted(why->text));
    buf_clear(why);
    return ERR_OK;
}

static enum err open_parts(struct service *s, struct buf *why)
{
    struct node_options node = {
        .config = &s->config,
        .url = s->url,
        .listen_url = s->listen_url,
        .tasks = task_table_list(s->tasks),
        .on_ended = on_jobs_ended,
        .arg = s,
    };
    struct http_options http = {
        .config = &s->config,
        .context = &s->app,
        .on_wake = on_http_wake,
        .wake_arg = s,
    };
    struct http *opened;
    enum err e = lanes_open(s->url, wake_http, s, &s->app.lanes);

    if (e == ERR_OK)
        e = waiters_new(&s->app, &s->app.waiters);
    if (e == ERR_OK)
        e = gauges_new(&s->app, &s->app.gauges);
    if (e == ERR_OK)
        e = node_open(&node, &s->app.node, why);
    if (e == ERR_OK)
        e = http_open(&http, &opened, why);
    if (e == ERR_OK) {
        __atomic_store_n(&s->http, opened, __ATOMIC_RELEASE);
        http_wake(opened); /* what was answered before there was anyone to wake */
    }
    return e;
}

static enum err start(struct service *s, struct buf *why)
{
    isolate_prepare(task_table_list(s->tasks)); /* the zygote has them in its memory */
    enum err e = process_zygote_start();

    s->app.config = &s->config;
    if (e == ERR_OK)
        e = find_database(s, why);
    if (e == ERR_OK)
        e = try_migrate(s, why);
    if (e == ERR_OK)
        e = open_parts(s, why);
    if (e == ERR_OK)
        log_info("serve", "version=%s url=http://%s:%d concurrency=%" PRId64,
                 BELAY_VERSION, s->config.listen, http_port(s->http),
                 s->config.concurrency);
    return e;
}

/* -- run and stop -------------------------------------------------------------------- */

struct signals {
    sigset_t waited, mask_before;
    struct sigaction pipe_before;
};

static void block_signals(struct signals *s)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigemptyset(&s->waited);
    sigaddset(&s->waited, SIGTERM);
    sigaddset(&s->waited, SIGINT);
    pthread_sigmask(SIG_BLOCK, &s->waited, &s->mask_before);
    sigaction(SIGPIPE, &ignore, &s->pipe_before);
}

/* A signal, or 0 when ms went by. */
static int wait_signal(const sigset_t *waited, int64_t ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    int sig;

    do
        sig = sigtimedwait(waited, NULL, &limit);
    while (sig < 0 && errno == EINTR);
    return sig > 0 ? sig : 0;
}

static void restore_signals(const struct signals *s)
{
    while (wait_signal(&s->waited, 0) != 0)
        ;
    sigaction(SIGPIPE, &s->pipe_before, NULL);
    pthread_sigmask(SIG_SETMASK, &s->mask_before, NULL);
}

/* Until the first SIGTERM or SIGINT, or, with until_empty, until there is nothing to do
 * two looks in a row; meanwhile brings the schema up if the database was away. */
static enum err run(struct service *s, const sigset_t *waited, struct buf *why)
{
    int64_t look_ms = s->config.until_empty ? EMPTY_LOOK_MS : INT32_MAX;
    int n_idle = 0;

    for (;;) {
        bool migrated = atomic_load(&s->app.migrated);
        if (wait_signal(waited, migrated ? look_ms : MIGRATE_RETRY_MS) != 0)
            return ERR_OK;
        n_idle = s->config.until_empty && node_is_idle(s->app.node) ? n_idle + 1 : 0;
        if (n_idle == 2)
            return ERR_OK;
        if (migrated)
            continue;
        enum err e = try_migrate(s, why);
        if (e != ERR_OK)
            return e;
    }
}

/* Waits for the running jobs: until there are none, drain_seconds are over, or a second
 * signal comes. */
static void drain(struct service *s, const sigset_t *waited)
{
    int64_t end_ms = clock_ms() + s->config.drain_seconds * MS_PER_SECOND;
    struct node_status status;

    atomic_store(&s->app.draining, true);
    node_drain(s->app.node);
    node_status(s->app.node, &status);
    log_info("drain", "running=%d drain_seconds=%" PRId64, status.running,
             s->config.drain_seconds);
    while (status.running + status.waiting > 0 && clock_ms() < end_ms) {
        if (wait_signal(waited, DRAIN_LOOK_MS) != 0)
            break;
        node_status(s->app.node, &status);
    }
}

static void stop(struct service *s)
{
    int left = 0;

    if (s->app.node != NULL)
        left = node_close(s->app.node);
    if (s->http != NULL) {
        http_drain(s->http);
        waiters_release(s->app.waiters);
        http_close(s->http);
    }
    if (s->app.lanes != NULL) {
        lanes_stop(s->app.lanes);
        lanes_complete(s->app.lanes);
        lanes_free(s->app.lanes);
    }
    http_free(s->http);
    waiters_free(s->app.waiters);
    gauges_free(s->app.gauges);
    node_free(s->app.node); /* the last answers have asked it */
    process_zygote_stop();
    embedded_stop(s->postgres);
    log_info("serve", "stopped=true jobs_left_running=%d", left);
}

/* From a good configuration to the end. What signals did before holds again afterwards,
 * but a stop that was asked for twice is not handed on. */
static enum err serve_until_signal(struct service *s, struct buf *why)
{
    struct signals signals;

    configure_log(&s->config);
    block_signals(&signals);
    enum err e = start(s, why);
    if (e == ERR_OK) {
        e = run(s, &signals.waited, why);
        drain(s, &signals.waited);
    }
    stop(s);
    restore_signals(&signals);
    return e;
}

/* What no row of config.def can say by itself. */
static enum err check_worker(const struct config *c, struct buf *why)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                               "0123456789_.:/-*?!,";

    if (c->queues[strspn(c->queues, good)] != '\0') {
        buf_addf(why,
                 "queues: %s has something else than letters, digits, _ . : / - and the "
                 "patterns' * ? !",
                 c->queues);
        return ERR_CONFIG;
    }
    if (c->until_empty && c->concurrency == 0) {
        buf_adds(why, "until_empty: with a concurrency of 0 this node runs nothing");
        return ERR_CONFIG;
    }
    return ERR_OK;
}

static enum err load_config(struct config *c, int argc, char **argv, struct buf *why)
{
    enum err e = config_load(c, argc, argv, why);

    return e == ERR_OK ? check_worker(c, why) : e;
}

int serve(int argc, char **argv, struct task_table *tasks)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct service s = {.tasks = tasks};

    if (cli_wants_help(argc, argv))
        return cli_help("serve");
    enum cli_mode mode = cli_take_mode(&argc, argv);
    enum err e = load_config(&s.config, argc, argv, &why);
    if (e == ERR_OK && mode == CLI_PRINT_CONFIG)
        config_print(&s.config, stdout);
    else if (e == ERR_OK)
        e = collect_tasks(&s, &why);
    if (e == ERR_OK && mode == CLI_CHECK_CONFIG)
        puts("the configuration is right");
    else if (e == ERR_OK && mode == CLI_RUN)
        e = serve_until_signal(&s, &why);
    commands_free(s.commands);
    int code = e == ERR_OK ? EXIT_SUCCESS : serve_fail(e, &why);
    config_release(&s.config);
    return code;
}

int serve_migrate(int argc, char **argv)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct service s = {.http = NULL};
    int applied = 0;

    if (cli_wants_help(argc, argv))
        return cli_help("migrate");
    enum err e = config_load(&s.config, argc, argv, &why);
    if (e == ERR_OK)
        e = find_database(&s, &why);
    if (e == ERR_OK)
        e = migrate(s.url, &applied, &why);
    if (e == ERR_OK)
        printf("schema version %d, %d migrations applied\n", migrate_version(), applied);
    int code = e == ERR_OK ? EXIT_SUCCESS : serve_fail(e, &why);
    embedded_stop(s.postgres);
    config_release(&s.config);
    return code;
}
