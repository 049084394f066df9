/* A broker owns the cluster, because nobody else can: Criterion runs each test in a
 * process of its own, and the runner may be killed. A test asks over a unix socket and
 * keeps it open; when it ends, the kernel closes it, and the broker drops the test's
 * databases. The broker dies with the runner and takes the cluster and its directory
 * along. It is forked before main: later the runner has threads, one of which may hold
 * the lock of malloc() at that moment, and then the broker would wait for ever. Rejected:
 * an atexit() in the test, which a crash skips. */
#define CLUSTER_IS_MADE_HERE
#include "tests/support/cluster.h"

#include "db/embedded.h"
#include "db/migrate.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/log.h"
#include "tests/support/cluster_private.h"

#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <errno.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { CLIENTS_MAX = 64, URL_BYTES = 1024, DATABASES_MAX = 32 };

static const uint64_t MEMORY_LEAST_BYTES = UINT64_C(2) << 30;

extern const int cluster_is_wanted __attribute__((weak));

const char cluster_dir_variable[] = "BELAY_TEST_CLUSTER_DIR";

struct client {
    int fd;
    int n_databases;
    int databases[DATABASES_MAX];
};

struct broker {
    struct embedded *pg; /* NULL: the server of BELAY_TEST_DATABASE_URL, or not yet */
    PGconn *conn;        /* NULL until the first request */
    const char *dir;
    int listen_fd, signal_fd, made;
    struct client clients[CLIENTS_MAX];
    int n_clients;
};

static pid_t broker_pid; /* of the runner */

/* -- strings and files --------------------------------------------------------------- */

static void add_quoted(struct buf *b, const char *text)
{
    buf_addc(b, '\'');
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\'' || *c == '\\')
            buf_addc(b, '\\');
        buf_addc(b, *c);
    }
    buf_addc(b, '\'');
}

/* The same server, another database. */
static void add_url(struct buf *out, const char *server, const char *database)
{
    PQconninfoOption *options = PQconninfoParse(server, NULL);

    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val == NULL || strcmp(o->keyword, "dbname") == 0)
            continue;
        buf_addf(out, "%s=", o->keyword);
        add_quoted(out, o->val);
        buf_addc(out, ' ');
    }
    buf_adds(out, "dbname=");
    add_quoted(out, database);
    PQconninfoFree(options);
}

static void socket_address(struct sockaddr_un *a, const char *dir)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path, sizeof a->sun_path, "%.90s/broker", dir);
}

void cluster_ignore_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* -- the broker ---------------------------------------------------------------------- */

static bool run_sql(PGconn *conn, const char *sql, struct buf *why)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

    if (!ok)
        buf_addf(why, "%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
    return ok;
}

static const char *server_url(const struct broker *b)
{
    return b->pg != NULL ? embedded_url(b->pg) : getenv("BELAY_TEST_DATABASE_URL");
}

static void database_name(char *out, size_t size, int number)
{
    snprintf(out, size, "belay_test_%d_%d", (int)getpid(), number);
}

/* Nothing of it has to survive a crash, so nothing is forced to disk. */
static bool hurry(PGconn *conn, struct buf *why)
{
    return run_sql(conn, "ALTER SYSTEM SET fsync = off", why) &&
           run_sql(conn, "ALTER SYSTEM SET full_page_writes = off", why) &&
           run_sql(conn, "SELECT pg_reload_conf()", why);
}

static bool make_database(struct broker *b, int number, int template, struct buf *why)
{
    char name[64], from[64] = "template0", sql[256];

    database_name(name, sizeof name, number);
    if (template >= 0)
        database_name(from, sizeof from, template);
    /* PostgreSQL 14 knows no other way than to copy the files. */
    snprintf(sql, sizeof sql, "CREATE DATABASE %s TEMPLATE %s%s", name, from,
             PQserverVersion(b->conn) >= 150000 ? " STRATEGY file_copy" : "");
    return run_sql(b->conn, sql, why);
}

/* Number 0 is the template of all others. */
static bool start_cluster(struct broker *b, struct buf *why)
{
    CLEANUP(buf_release) struct buf url = BUF_INIT;
    char dir[128], template[64];

    snprintf(dir, sizeof dir, "%s/shared", b->dir);
    if (getenv("BELAY_TEST_DATABASE_URL") == NULL &&
        embedded_start(dir, &b->pg, why) != ERR_OK)
        return false;
    b->conn = PQconnectdb(server_url(b));
    PQsetNoticeProcessor(b->conn, cluster_ignore_notice, NULL);
    if (PQstatus(b->conn) != CONNECTION_OK) {
        buf_adds(why, PQerrorMessage(b->conn));
        return false;
    }
    if (b->pg != NULL && !hurry(b->conn, why))
        return false;
    database_name(template, sizeof template, 0);
    add_url(&url, server_url(b), template);
    return make_database(b, 0, -1, why) && migrate(url.text, NULL, why) == ERR_OK &&
           mutant_apply(url.text, why);
}

/* 'm': a migrated database; 'e': an empty one. The answer is a line. */
static void serve_request(struct broker *b, struct client *c, char what)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT, answer = BUF_INIT;
    int number = ++b->made;
    char name[64];
    bool ok = c->n_databases < DATABASES_MAX;

    if (ok && b->conn == NULL)
        ok = start_cluster(b, &why);
    if (ok && make_database(b, number, what == 'm' ? 0 : -1, &why)) {
        c->databases[c->n_databases++] = number;
        database_name(name, sizeof name, number);
        add_url(&answer, server_url(b), name);
    } else {
        buf_addf(&answer, "!%s", why.text);
    }
    buf_addc(&answer, '\n');
    if (send(c->fd, answer.text, answer.len, MSG_NOSIGNAL) < 0)
        log_debug("cluster", "answer_lost=%d", errno);
}

static void drop_database(struct broker *b, int number)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    char name[64], sql[128];

    database_name(name, sizeof name, number);
    snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name);
    if (!run_sql(b->conn, sql, &why))
        log_warn("cluster", "drop_failed=%s", log_quoted(why.text));
}

/* The test has ended. */
static void forget_client(struct broker *b, int i)
{
    struct client *c = &b->clients[i];

    close(c->fd);
    for (int k = 0; k < c->n_databases; k++)
        drop_database(b, c->databases[k]);
    *c = b->clients[--b->n_clients];
}

static void accept_client(struct broker *b)
{
    int fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 && b->n_clients < CLIENTS_MAX)
        b->clients[b->n_clients++] = (struct client){.fd = fd};
    else if (fd >= 0)
        close(fd);
}

/* Until it is told to stop. */
static void serve_tests(struct broker *b)
{
    struct pollfd p[CLIENTS_MAX + 2];
    char what;

    for (;;) {
        int n = b->n_clients;
        p[0] = (struct pollfd){.fd = b->signal_fd, .events = POLLIN};
        p[1] = (struct pollfd){.fd = b->listen_fd, .events = POLLIN};
        for (int i = 0; i < n; i++)
            p[i + 2] = (struct pollfd){.fd = b->clients[i].fd, .events = POLLIN};
        if (poll(p, (nfds_t)n + 2, -1) < 0)
            continue;
        if (p[0].revents != 0)
            return;
        for (int i = n - 1; i >= 0; i--) {
            if (p[i + 2].revents == 0)
                continue;
            if (read(b->clients[i].fd, &what, 1) == 1)
                serve_request(b, &b->clients[i], what);
            else
                forget_client(b, i);
        }
        if (p[1].revents != 0)
            accept_client(b);
    }
}

static void run_broker(const char *dir, int listen_fd, pid_t runner)
{
    struct broker b = {.dir = dir, .listen_fd = listen_fd};
    sigset_t stop;

    setsid();
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    b.signal_fd = signalfd(-1, &stop, SFD_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    log_configure(LOG_TEXT, LOG_WARN);
    if (getppid() == runner && b.signal_fd >= 0)
        serve_tests(&b);
    if (b.conn != NULL && b.pg == NULL) {
        while (b.n_clients > 0)
            forget_client(&b, 0);
        drop_database(&b, 0);
    }
    PQfinish(b.conn);
    embedded_stop(b.pg);
    cluster_remove_tree(dir);
}

/* In memory where there is plenty of it: most of the time of a test of the SQL is the
 * copy of the template, which takes a third of that on a disk. */
static bool make_dir(char *out, size_t size)
{
    struct statvfs fs;
    bool roomy = statvfs("/dev/shm", &fs) == 0 &&
                 (uint64_t)fs.f_bavail * fs.f_frsize >= MEMORY_LEAST_BYTES;

    snprintf(out, size, "%s/belay-test-XXXXXX", roomy ? "/dev/shm" : "/tmp");
    return mkdtemp(out) != NULL && chmod(out, 0755) == 0;
}

/* In the runner alone: its tests, which run this program again, have the variable. */
__attribute__((constructor)) static void start_broker(void)
{
    static char dir[64];
    struct sockaddr_un address;
    pid_t runner = getpid();

    if (&cluster_is_wanted == NULL || getenv(cluster_dir_variable) != NULL)
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !make_dir(dir, sizeof dir))
        return; /* the first test that asks says so */
    socket_address(&address, dir);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        return;
    setenv(cluster_dir_variable, dir, 1);
    fflush(NULL);
    broker_pid = fork();
    if (broker_pid == 0) {
        run_broker(dir, fd, runner);
        _exit(0);
    }
    close(fd);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    if (broker_pid > 0 && kill(broker_pid, SIGTERM) == 0)
        waitpid(broker_pid, NULL, 0);
}

/* -- a test's databases -------------------------------------------------------------- */

static int connect_broker(void)
{
    const char *dir = getenv(cluster_dir_variable);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;

    socket_address(&address, dir != NULL ? dir : "");
    if (dir == NULL || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        cr_assert_fail("no broker for databases: %s", strerror(errno));
    return fd;
}

static const char *ask(char what)
{
    static int fd = -1; /* open as long as the databases are needed */
    char answer[URL_BYTES * 2];
    size_t len = 0;

    if (fd < 0)
        fd = connect_broker();
    cr_assert_eq(write(fd, &what, 1), 1);
    do {
        ssize_t n = read(fd, answer + len, sizeof answer - 1 - len);
        cr_assert(n > 0, "the broker has gone");
        len += (size_t)n;
    } while (answer[len - 1] != '\n' && len < sizeof answer - 1);
    answer[len - 1] = '\0';
    cr_assert_neq(answer[0], '!', "no database: %s", answer + 1);
    mutant_say_whose(answer);
    return strdup(answer); /* lives as long as the process */
}

const char *cluster_database(void)
{
    return ask('m');
}

const char *cluster_empty_database(void)
{
    return ask('e');
}
