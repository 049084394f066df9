/* postgres is a direct child with PDEATHSIG, not a daemon of pg_ctl: when this process
 * dies, even by SIGKILL, the kernel sends SIGINT and PostgreSQL shuts down fast, so that
 * the next start needs no recovery. Rejected: pg_ctl, whose postmaster outlives us and
 * holds the data directory.
 *
 * PostgreSQL refuses to run as root, so root hands the cluster to the user `postgres`.
 * That user may not be able to reach the data directory (a checkout under /root); then
 * the cluster lives under /var/lib/belay and the data directory holds a link to it. The
 * socket is in a directory of its own under /tmp: its path may have at most 107 bytes,
 * and mode 0700 is what keeps other users of the machine out. */
#include "db/embedded.h"

#include "db/db.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "server/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { START_MS = 30000, STOP_MS = 10000, LOOK_MS = 5 };

struct embedded {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    bool drop; /* root: run as `postgres` */
    char bin[PATH_MAX], data[PATH_MAX], log[PATH_MAX], socket[64], url[160];
};

static enum err fail(struct buf *why, const char *what, const char *path)
{
    buf_addf(why, "private PostgreSQL: %s %s: %s", what, path, strerror(errno));
    return ERR_CONFIG;
}

/* -- where things are ---------------------------------------------------------------- */

/* The newest of Debian's versions, else what is in PATH. */
static enum err find_binaries(struct embedded *pg, struct buf *why)
{
    glob_t found;
    const char *path = getenv("PATH");
    int newest = -1;

    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            int version =
                (int)strtol(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);
            if (version > newest) {
                newest = version;
                snprintf(pg->bin, sizeof pg->bin, "%.*s",
                         (int)(strlen(found.gl_pathv[i]) - strlen("/postgres")),
                         found.gl_pathv[i]);
            }
        }
        globfree(&found);
    }
    for (const char *p = path; newest < 0 && p != NULL; p = strchr(p, ':')) {
        char candidate[PATH_MAX];
        p += *p == ':';
        int len = (int)strcspn(p, ":");
        snprintf(candidate, sizeof candidate, "%.*s/postgres", len, p);
        if (access(candidate, X_OK) == 0) {
            snprintf(pg->bin, sizeof pg->bin, "%.*s", len, p);
            newest = 0;
        }
    }
    if (newest >= 0)
        return ERR_OK;
    buf_adds(why, "there is no PostgreSQL on this machine and no DATABASE_URL; "
                  "install one (apt-get install postgresql) or set DATABASE_URL");
    return ERR_CONFIG;
}

static enum err find_user(struct embedded *pg, struct buf *why)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return ERR_OK;
    user = getpwnam("postgres");
    if (user == NULL) {
        buf_adds(
            why,
            "PostgreSQL does not run as root, and there is no user `postgres` to run it");
        return ERR_CONFIG;
    }
    pg->drop = true;
    pg->uid = user->pw_uid;
    pg->gid = user->pw_gid;
    return ERR_OK;
}

static enum err become_postgres(const struct embedded *pg)
{
    if (!pg->drop)
        return ERR_OK;
    if (setgroups(0, NULL) != 0 || setgid(pg->gid) != 0 || setuid(pg->uid) != 0)
        return ERR_IO;
    return ERR_OK;
}

/* Whether the user that will run PostgreSQL can enter `dir`: asked of the kernel, by a
 * child that is that user. */
static bool can_enter(const struct embedded *pg, const char *dir)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(become_postgres(pg) == ERR_OK && access(dir, X_OK) == 0 ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static enum err make_directory(const char *path, struct buf *why)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return ERR_OK;
    return fail(why, "cannot make", path);
}

/* A place of our own for a cluster that cannot live in `dir`: named by the path, so that
 * it is found again. */
static enum err use_var_lib(struct embedded *pg, const char *dir, struct buf *why)
{
    char link[PATH_MAX + 16];
    unsigned long long hash = 14695981039346656037ULL; /* FNV-1a, 64 bit */

    for (const char *c = dir; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    enum err e = make_directory("/var/lib/belay", why);
    if (e != ERR_OK)
        return e;
    snprintf(pg->data, sizeof pg->data, "/var/lib/belay/%016llx", hash);
    snprintf(link, sizeof link, "%s/pgdata", dir);
    if (symlink(pg->data, link) != 0 && errno != EEXIST)
        return fail(why, "cannot link", link);
    log_info("embedded", "data=%s why=%s", log_quoted(pg->data),
             log_quoted("the user postgres cannot enter the data directory"));
    return ERR_OK;
}

static enum err choose_places(struct embedded *pg, const char *dir, struct buf *why)
{
    char absolute[PATH_MAX];
    enum err e = make_directory(dir, why);

    if (e != ERR_OK)
        return e;
    if (realpath(dir, absolute) == NULL)
        return fail(why, "cannot find", dir);
    snprintf(pg->log, sizeof pg->log, "%.*s/postgres.log", PATH_MAX - 16, absolute);
    snprintf(pg->data, sizeof pg->data, "%.*s/pgdata", PATH_MAX - 16, absolute);
    if (!can_enter(pg, absolute))
        e = use_var_lib(pg, absolute, why);
    if (e != ERR_OK)
        return e;
    if (mkdir(pg->data, 0700) != 0 && errno != EEXIST)
        return fail(why, "cannot make", pg->data);
    if (pg->drop && chown(pg->data, pg->uid, pg->gid) != 0)
        return fail(why, "cannot give to postgres", pg->data);
    snprintf(pg->socket, sizeof pg->socket, "/tmp/belay-pg-XXXXXX");
    if (mkdtemp(pg->socket) == NULL)
        return fail(why, "cannot make", pg->socket);
    if (pg->drop && chown(pg->socket, pg->uid, pg->gid) != 0)
        return fail(why, "cannot give to postgres", pg->socket);
    return ERR_OK;
}

/* -- processes ----------------------------------------------------------------------- */

/* Forks and runs a program of PostgreSQL as its user; its output goes to the log. It dies
 * with us. */
static pid_t run_program(const struct embedded *pg, const char *name,
                         const char *const *args)
{
    char path[PATH_MAX + 32];
    pid_t parent = getpid(), pid;
    sigset_t none;

    snprintf(path, sizeof path, "%s/%s", pg->bin, name);
    pid = fork();
    if (pid != 0)
        return pid;
    int log = open(pg->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int null = open("/dev/null", O_RDONLY);
    if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    closefrom(3);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (become_postgres(pg) != ERR_OK)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGINT); /* after the change of user, which clears it */
    setsid();
    if (getppid() != parent || chdir("/") != 0)
        _exit(126);
    execv(path, (char *const *)(uintptr_t)args);
    _exit(127);
}

static enum err init_cluster(const struct embedded *pg, struct buf *why)
{
    const char *const args[] = {"initdb", "-D",    pg->data, "-A",
                                "trust",  "-E",    "UTF8",   "--locale=C.UTF-8",
                                "-U",     "belay", NULL};
    char version[PATH_MAX + 16];
    int status = 1;

    snprintf(version, sizeof version, "%s/PG_VERSION", pg->data);
    if (access(version, F_OK) == 0)
        return ERR_OK;
    pid_t pid = run_program(pg, "initdb", args);
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
        return ERR_OK;
    buf_addf(why, "private PostgreSQL: initdb failed; see %s", pg->log);
    return ERR_CONFIG;
}

/* The process id in postmaster.pid, or 0. */
static pid_t running_postmaster(const struct embedded *pg)
{
    char path[PATH_MAX + 32];
    long pid = 0;

    snprintf(path, sizeof path, "%s/postmaster.pid", pg->data);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%ld", &pid) != 1)
        pid = 0;
    fclose(f);
    return (pid_t)pid;
}

static bool is_postgres(pid_t pid)
{
    char path[64], name[32] = "";

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    if (fgets(name, sizeof name, f) == NULL)
        name[0] = '\0';
    fclose(f);
    return strncmp(name, "postgres", 8) == 0;
}

/* One that is shutting down (its belay has just died) is waited for; one that stays
 * belongs to somebody. */
static enum err wait_for_predecessor(const struct embedded *pg, struct buf *why)
{
    int64_t end_ms = clock_ms() + STOP_MS / 2;
    pid_t pid;

    while ((pid = running_postmaster(pg)) > 0 && is_postgres(pid)) {
        if (clock_ms() > end_ms) {
            buf_addf(why,
                     "private PostgreSQL: another process (%d) runs on %s; stop the "
                     "other `belay "
                     "serve`, or choose another --data-dir",
                     (int)pid, pg->data);
            return ERR_CONFIG;
        }
        sleep_ms(LOOK_MS * 4);
    }
    return ERR_OK;
}

static enum err wait_until_up(struct embedded *pg, struct buf *why)
{
    int64_t end_ms = clock_ms() + START_MS;

    while (PQping(pg->url) != PQPING_OK) {
        if (waitpid(pg->pid, NULL, WNOHANG) == pg->pid || clock_ms() > end_ms) {
            buf_addf(why, "private PostgreSQL did not start; see %s", pg->log);
            return ERR_CONFIG;
        }
        sleep_ms(LOOK_MS);
    }
    return ERR_OK;
}

static enum err start_postgres(struct embedded *pg, struct buf *why)
{
    const char *const args[] = {"postgres",
                                "-D",
                                pg->data,
                                "-k",
                                pg->socket,
                                "-c",
                                "listen_addresses=",
                                "-c",
                                "shared_buffers=128MB",
                                "-c",
                                "max_wal_size=2GB",
                                NULL};

    snprintf(pg->url, sizeof pg->url, "host=%s user=belay dbname=postgres", pg->socket);
    pg->pid = run_program(pg, "postgres", args);
    if (pg->pid < 0)
        return fail(why, "cannot start", pg->bin);
    return wait_until_up(pg, why);
}

enum err embedded_start(const char *dir, struct embedded **out_pg, struct buf *why)
{
    struct embedded *pg = calloc(1, sizeof *pg);
    enum err e;

    if (pg == NULL)
        return ERR_NO_MEMORY;
    e = find_binaries(pg, why);
    if (e == ERR_OK)
        e = find_user(pg, why);
    if (e == ERR_OK)
        e = choose_places(pg, dir, why);
    if (e == ERR_OK)
        e = init_cluster(pg, why);
    if (e == ERR_OK)
        e = wait_for_predecessor(pg, why);
    if (e == ERR_OK)
        e = start_postgres(pg, why);
    if (e == ERR_OK)
        *out_pg = pg;
    else
        embedded_stop(pg);
    return e;
}

const char *embedded_url(const struct embedded *pg)
{
    return pg->url;
}

void embedded_stop(struct embedded *pg)
{
    int64_t end_ms = clock_ms() + STOP_MS;

    if (pg == NULL)
        return;
    if (pg->pid > 0 && kill(pg->pid, SIGINT) == 0) {
        while (waitpid(pg->pid, NULL, WNOHANG) == 0 && clock_ms() < end_ms)
            sleep_ms(LOOK_MS);
    }
    if (pg->socket[0] != '\0')
        rmdir(pg->socket);
    free(pg);
}
