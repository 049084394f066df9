#include "tests/chaos/world.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/chaos/http.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { END_MS = 30000 };

void die(const char *what, const char *why)
{
    fprintf(stderr, "chaos: %s: %s\n", what, why);
    exit(2);
}

/* -- the database -------------------------------------------------------------------- */

static void connect_judge(struct world *w)
{
    struct db_options options = {.url = embedded_url(w->postgres),
                                 .application_name = "judge",
                                 .statement_timeout_ms = QUIET_MS,
                                 .no_prepare = true};
    char why[256];

    if (db_open(&options, &w->db, why, sizeof why) != ERR_OK)
        die("connect", why);
}

void world_start_database(struct world *w)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;

    if (embedded_start(w->database, &w->postgres, &why) != ERR_OK)
        die("PostgreSQL", why.text);
    connect_judge(w);
}

void world_take_database(struct world *w, const char *directory,
                         struct embedded *postgres)
{
    snprintf(w->database, sizeof w->database, "%s", directory);
    w->postgres = postgres;
    connect_judge(w);
}

void world_stop_database(struct world *w)
{
    db_close(w->db);
    w->db = NULL;
    embedded_stop(w->postgres);
    w->postgres = NULL;
}

void world_kill_database(struct world *w)
{
    char path[128];
    long pid = 0;

    snprintf(path, sizeof path, "%s/pgdata/postmaster.pid", w->database);
    FILE *f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%ld", &pid) != 1 || pid <= 1)
        die(path, "no postmaster to kill");
    fclose(f);
    kill((pid_t)pid, SIGKILL);
    world_stop_database(w);
}

/* -- nodes --------------------------------------------------------------------------- */

static bool port_is_free(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool is_free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return is_free;
}

/* Below the ports that the kernel gives to clients, and different for programs that run
 * side by side. */
static int find_ports(void)
{
    int base = 12000 + getpid() * NODES % 20000;

    for (int i = 0; i < NODES; i++) {
        if (port_is_free(base + i))
            continue;
        base = 12000 + (base - 12000 + NODES) % 20000;
        i = -1;
    }
    return base;
}

int world_port(const struct world *w, int node)
{
    return w->base_port + node;
}

static void log_path(const struct world *w, int node, char *out, size_t size)
{
    if (node == DATABASE)
        snprintf(out, size, "%s/postgres.log", w->database);
    else
        snprintf(out, size, "%s/node-%d.log", w->database, node);
}

void world_socket(const struct world *w, char *out, size_t size)
{
    snprintf(out, size, "%s/pgdata/.s.PGSQL.5432", w->database);
}

static void set_environment(const struct world *w, int node)
{
    char url[128];

    snprintf(url, sizeof url,
             "host=127.0.0.1 port=%d user=belay dbname=postgres sslmode=disable",
             w->through[node]);
    if (w->url != NULL)
        setenv("DATABASE_URL", w->url, 1);
    else
        setenv("DATABASE_URL", w->through[node] > 0 ? url : embedded_url(w->postgres), 1);
    setenv("BELAY_CONFIG", w->config, 1);
    setenv("CHAOS_LEDGER", w->ledger, 1);
    if (w->preload != NULL)
        setenv("LD_PRELOAD", w->preload, 1);
}

/* A flag that comes again counts the last time. */
static void exec_node(const struct world *w, int node)
{
    char port[16], lease[16], tasks[PATH_MAX];
    const char *args[40] = {w->belay,
                            "serve",
                            "--port",
                            port,
                            "--lease-seconds",
                            lease,
                            "--tasks",
                            tasks,
                            "--log-level",
                            "warn",
                            "--concurrency",
                            w->concurrency,
                            "--poll-seconds",
                            "1",
                            "--backoff-base-seconds",
                            "0",
                            "--drain-seconds",
                            "2",
                            "--max-attempts",
                            "100"};
    int n = 20;

    snprintf(port, sizeof port, "%d", world_port(w, node));
    snprintf(lease, sizeof lease, "%d", LEASE_SECONDS);
    snprintf(tasks, sizeof tasks, "%.*s/chaos/tasks.so",
             (int)(strrchr(w->belay, '/') - w->belay), w->belay);
    for (int i = 0; w->more[i] != NULL; i++)
        args[n++] = w->more[i];
    execv(w->belay, (char *const *)(uintptr_t)args);
}

void world_start_node(struct world *w, int node)
{
    char log[128];
    pid_t pid = fork();

    w->node[node] = pid;
    if (pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_path(w, node, log, sizeof log);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    dup2(fd, 1);
    dup2(fd, 2);
    set_environment(w, node);
    if (w->files > 0) {
        struct rlimit limit = {(rlim_t)w->files, (rlim_t)w->files};
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    exec_node(w, node);
    _exit(127);
}

void world_end_node(struct world *w, int node, int sig)
{
    int status = 0;

    if (w->node[node] <= 0)
        return;
    kill(w->node[node], sig);
    for (int64_t end_ms = clock_ms() + END_MS;
         waitpid(w->node[node], &status, WNOHANG) == 0;) {
        if (clock_ms() > end_ms)
            die("a node does not end", "the logs are in its world");
        sleep_ms(5);
    }
    w->node[node] = 0;
    if (sig != SIGKILL)
        world_check(w, "a node that is told to end does so with exit code 0", status);
}

int64_t world_wait_ready(struct world *w, int node, int64_t most_ms)
{
    struct http_client c;
    int64_t begin_ms = clock_ms();

    http_client_init(&c, world_port(w, node));
    while (http_send(&c, "GET", "/readyz", NULL) != 200) {
        if (clock_ms() - begin_ms > most_ms)
            die("the node is not ready in time", c.text != NULL ? c.text : "no answer");
        sleep_ms(10);
    }
    http_client_release(&c);
    return clock_ms() - begin_ms;
}

int world_log_lines(struct world *w, int node, const char *word)
{
    char path[128], line[2048];
    int n = 0;

    log_path(w, node, path, sizeof path);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, word) != NULL;
    fclose(f);
    return n;
}

/* -- open and close ------------------------------------------------------------------ */

static void write_config(struct world *w)
{
    snprintf(w->config, sizeof w->config, "%s/belay.yaml", w->directory);
    snprintf(w->ledger, sizeof w->ledger, "%s/ledger", w->directory);
    FILE *f = fopen(w->config, "w");
    if (f == NULL)
        die(w->config, "cannot be written");
    fprintf(
        f,
        "commands:\n  - name: write-ledger\n    command:\n      - /bin/sh\n      - -c\n"
        "      - 'echo start $BELAY_JOB_ID $BELAY_ATTEMPT >>%s; sleep 0.$(($$ %% 9));"
        " echo end $BELAY_JOB_ID $BELAY_ATTEMPT >>%s'\n"
        "  - name: write-deaf-ledger\n    grace_seconds: 1\n    command:\n"
        "      - /bin/sh\n      - -c\n"
        "      - 'trap \"\" TERM; echo start $BELAY_JOB_ID $BELAY_ATTEMPT >>%s;"
        " sleep 0.3; echo end $BELAY_JOB_ID $BELAY_ATTEMPT >>%s'\n",
        w->ledger, w->ledger, w->ledger, w->ledger);
    fclose(f);
    /* isolated children and commands of another user write to it too */
    f = fopen(w->ledger, "w");
    if (f == NULL || chmod(w->ledger, 0666) != 0)
        die(w->ledger, "cannot be written");
    fclose(f);
}

/* In a view of the file systems that is this program's and its children's alone. */
static bool mount_disk(struct world *w, int disk_mb)
{
    char size[64];

    snprintf(w->database, sizeof w->database, "%s/disk", w->directory);
    snprintf(size, sizeof size, "size=%dm,mode=0755", disk_mb);
    return mkdir(w->database, 0755) == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("disk", w->database, "tmpfs", 0, size) == 0;
}

bool world_open_on_disk(struct world *w, const char *belay, int disk_mb)
{
    *w = (struct world){.belay = belay, .concurrency = "8", .base_port = find_ports()};
    snprintf(w->directory, sizeof w->directory, "/tmp/belay-chaos.XXXXXX");
    if (mkdtemp(w->directory) == NULL)
        die("mkdtemp", w->directory);
    if (chmod(w->directory, 0755) != 0)
        die("chmod", w->directory);
    snprintf(w->database, sizeof w->database, "%s", w->directory);
    if (disk_mb > 0 && !mount_disk(w, disk_mb)) {
        rmdir(w->database);
        rmdir(w->directory);
        return false;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    write_config(w);
    world_start_database(w);
    return true;
}

void world_open(struct world *w, const char *belay)
{
    (void)world_open_on_disk(w, belay, 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void world_close(struct world *w)
{
    for (int i = 0; i < NODES; i++)
        world_end_node(w, i, SIGTERM);
    world_check(w, "processes of commands that outlive the nodes",
                world_count_orphans(w));
    if (!w->tables_are_locked)
        world_check(w, "deadlocks", world_log_lines(w, DATABASE, "deadlock detected"));
    world_stop_database(w);
    if (w->checks_failed > 0)
        printf("the logs are kept in %s\n", w->directory);
    else {
        if (strcmp(w->directory, w->database) != 0)
            umount2(w->database, MNT_DETACH);
        nftw(w->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

/* -- the database's record ----------------------------------------------------------- */

void world_run(struct world *w, const char *sql)
{
    if (db_run(w->db, sql, NULL) != ERR_OK)
        die(sql, db_errmsg(w->db));
}

int64_t world_count(struct world *w, const char *sql)
{
    struct db_rows rows;

    if (db_run(w->db, sql, &rows) != ERR_OK)
        die(sql, db_errmsg(w->db));
    int64_t n = row_int(&rows, 0, 0);
    db_rows_free(&rows);
    return n;
}

void world_wait_quiet(struct world *w)
{
    int64_t end_ms = clock_ms() + QUIET_MS, least = INT64_MAX, left;

    while ((left = world_count(w, "SELECT (SELECT count(*) FROM belay.ready)"
                                  " + (SELECT count(*) FROM belay.scheduled)"
                                  " + (SELECT count(*) FROM belay.blocked)"
                                  " + (SELECT count(*) FROM belay.leases)")) > 0) {
        if (left < least) {
            least = left;
            end_ms = clock_ms() + QUIET_MS;
        }
        if (clock_ms() > end_ms)
            die("quiet", "jobs are left todo or doing, and their number stays");
        sleep_ms(50);
    }
}

/* "start 33 1" and "end 33 1", a line a write. */
static void load_ledger(struct world *w)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;
    char line[256];
    FILE *f = fopen(w->ledger, "r");

    world_run(w, "CREATE TEMP TABLE lines (n serial, what text, id bigint, attempt int)");
    if (f == NULL)
        die(w->ledger, "no task has written to it");
    buf_adds(&sql, "INSERT INTO lines (what, id, attempt) VALUES ('begin', 0, 0)");
    while (fgets(line, sizeof line, f) != NULL) {
        char *rest = NULL;
        const char *what = strtok_r(line, " \n", &rest);
        const char *id = strtok_r(NULL, " \n", &rest);
        const char *attempt = strtok_r(NULL, " \n", &rest);
        if (attempt == NULL)
            die("the tasks' ledger has a broken line", line);
        buf_addf(&sql, ",('%s',%s,%s)", what, id, attempt);
    }
    fclose(f);
    world_run(w, sql.text);
}

static long long number_after(const char *line, const char *name)
{
    const char *at = strstr(line, name);

    return at != NULL ? strtoll(at + strlen(name), NULL, 10) : 0;
}

static void load_stale(struct world *w)
{
    CLEANUP(buf_release) struct buf sql = BUF_INIT;
    char path[128], line[2048];

    world_run(w, "CREATE TEMP TABLE stale (id bigint, attempt int)");
    buf_adds(&sql, "INSERT INTO stale VALUES (0, 0)");
    for (int i = 0; i < NODES; i++) {
        log_path(w, i, path, sizeof path);
        FILE *f = fopen(path, "r");
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            if (strstr(line, "stale=true") != NULL)
                buf_addf(&sql, ",(%lld,%lld)", number_after(line, "job="),
                         number_after(line, "attempt="));
        }
        if (f != NULL)
            fclose(f);
    }
    world_run(w, sql.text);
}

void world_load_lines(struct world *w)
{
    load_ledger(w);
    load_stale(w);
}

void world_check(struct world *w, const char *what, int64_t wrong)
{
    if (wrong != 0 && !w->quiet)
        printf("FAILED  %s: %" PRId64 " wrong\n", what, wrong);
    w->checks_failed += wrong != 0;
}

void world_check_sql(struct world *w, const char *what, const char *count_of_wrong)
{
    world_check(w, what, world_count(w, count_of_wrong));
}
