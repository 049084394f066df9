/* postgres is a direct child with PDEATHSIG, not a daemon of pg_ctl: when this process
 * dies, even by SIGKILL, the kernel sends SIGINT and PostgreSQL shuts down fast, so that
 * the next start needs no recovery. Rejected: pg_ctl, whose postmaster outlives us and
 * holds the data directory.
 *
 * A lock on <dir>/lock says that the directory is in use. It is a POSIX record lock,
 * which children do not inherit, so it ends with this process; a postmaster that still
 * runs while we hold the lock has lost its belay and is on its way out. */
#include "db/embedded.h"

#include "db/db.h"
#include "db/place.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { START_MS = 30000, STOP_MS = 10000, LOOK_MS = 5, RETRY_MS = 5000 };

struct embedded {
    pid_t pid; /* 0: not running */
    int lock_fd;
    struct place place;
    struct buf url;
};

/* -- one belay a directory ----------------------------------------------------------- */

static enum err lock_directory(struct embedded *pg, const char *dir, struct buf *why)
{
    char path[PATH_MAX + 8];
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        buf_addf(why, "private PostgreSQL: cannot make %s: %s", dir, strerror(errno));
        return ERR_CONFIG;
    }
    snprintf(path, sizeof path, "%s/lock", dir);
    pg->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (pg->lock_fd >= 0 && fcntl(pg->lock_fd, F_SETLK, &whole) == 0)
        return ERR_OK;
    if (pg->lock_fd < 0 || (errno != EACCES && errno != EAGAIN)) {
        buf_addf(why, "private PostgreSQL: cannot lock %s: %s", path, strerror(errno));
        return ERR_CONFIG;
    }
    if (fcntl(pg->lock_fd, F_GETLK, &whole) != 0)
        whole.l_pid = 0;
    buf_addf(
        why,
        "private PostgreSQL: %s is in use by another `belay serve` (process %d); stop "
        "it, or choose another --data-dir",
        dir, (int)whole.l_pid);
    return ERR_CONFIG;
}

/* -- processes ----------------------------------------------------------------------- */

static void exec_program(const struct embedded *pg, const char *const *args, pid_t parent)
{
    int log = open(pg->place.log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

    if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    closefrom(3);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (place_drop_privileges(&pg->place) != ERR_OK) {
        dprintf(2, "belay: cannot become uid %d: %s\n", (int)pg->place.uid,
                strerror(errno));
        _exit(126);
    }
    prctl(PR_SET_PDEATHSIG, SIGINT); /* after the change of user, which clears it */
    setsid();
    if (getppid() != parent || chdir("/") != 0)
        _exit(126);
    execv(args[0], (char *const *)(uintptr_t)args);
    dprintf(2, "belay: cannot run %s: %s\n", args[0], strerror(errno));
    _exit(127);
}

/* Runs a program of PostgreSQL, args[0], as its user; its output goes to the log. It dies
 * with us. */
static pid_t run_program(const struct embedded *pg, const char **args)
{
    char path[PATH_MAX + 32];
    pid_t parent = getpid(), pid;

    snprintf(path, sizeof path, "%s/%s", pg->place.bin, args[0]);
    pid = fork();
    if (pid == 0) {
        args[0] = path; /* they look beside it for each other; a bare name, in PATH */
        exec_program(pg, args, parent);
    }
    return pid;
}

/* Made beside its place and then renamed: one that was interrupted is never taken for one
 * that is whole. */
static enum err init_cluster(const struct embedded *pg, struct buf *why)
{
    char fresh[PATH_MAX + 8];
    const char *args[] = {"initdb",           "-D", fresh,   "-A", "trust", "-E", "UTF8",
                          "--locale=C.UTF-8", "-U", "belay", NULL};
    int status = 1;
    enum err e;

    if (place_has_cluster(&pg->place))
        return ERR_OK;
    snprintf(fresh, sizeof fresh, "%s.new", pg->place.data);
    e = place_make_empty(&pg->place, fresh, why);
    if (e != ERR_OK)
        return e;
    pid_t pid = run_program(pg, args);
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 &&
        rename(fresh, pg->place.data) == 0)
        return ERR_OK;
    buf_addf(why, "private PostgreSQL: initdb failed; see %s", pg->place.log);
    return ERR_CONFIG;
}

/* The process in postmaster.pid, or 0. */
static pid_t read_postmaster(const char *path)
{
    FILE *f = fopen(path, "re");
    char line[32] = "";

    if (f == NULL)
        return 0;
    if (fgets(line, sizeof line, f) == NULL)
        line[0] = '\0';
    fclose(f);
    return (pid_t)strtol(line, NULL, 10);
}

/* Neither a process that took over the number, nor one that has died and was not waited
 * for, as happens in containers. */
static bool runs_postgres(pid_t pid)
{
    char path[64], line[256] = "";

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    if (fgets(line, sizeof line, f) == NULL)
        line[0] = '\0';
    fclose(f);
    const char *state = strrchr(line, ')');
    return strstr(line, "(postgres)") != NULL && state != NULL &&
           strncmp(state, ") Z", 3) != 0;
}

/* One that is shutting down, because its belay has just died, is waited for. */
static enum err wait_for_predecessor(const struct embedded *pg, struct buf *why)
{
    char path[PATH_MAX + 32];
    int64_t end_ms = clock_ms() + STOP_MS;
    pid_t pid;

    snprintf(path, sizeof path, "%s/postmaster.pid", pg->place.data);
    while ((pid = read_postmaster(path)) > 0) {
        if (!runs_postgres(pid)) {
            unlink(path);
            return ERR_OK;
        }
        if (clock_ms() > end_ms) {
            buf_addf(why,
                     "private PostgreSQL: process %d runs on %s; stop it, or choose "
                     "another --data-dir",
                     (int)pid, pg->place.data);
            return ERR_CONFIG;
        }
        sleep_ms(LOOK_MS * 4);
    }
    return ERR_OK;
}

static bool is_up(const struct embedded *pg)
{
    const char *const keys[] = {"dbname", "connect_timeout", NULL};
    const char *const values[] = {pg->url.text, "2", NULL};

    return PQpingParams(keys, values, 1) == PQPING_OK;
}

/* ERR_IO: it has ended instead. */
static enum err wait_until_up(struct embedded *pg)
{
    int64_t end_ms = clock_ms() + START_MS;

    while (!is_up(pg)) {
        if (waitpid(pg->pid, NULL, WNOHANG) == pg->pid) {
            pg->pid = 0;
            return ERR_IO;
        }
        if (clock_ms() > end_ms)
            return ERR_UNAVAILABLE;
        sleep_ms(LOOK_MS);
    }
    return ERR_OK;
}

/* After a crash of the postmaster its children hold the shared memory for another moment,
 * and a new one refuses to start: so it is tried for a while. */
static enum err start_postgres(struct embedded *pg, struct buf *why)
{
    const char *args[] = {"postgres",
                          "-D",
                          pg->place.data,
                          "-k",
                          pg->place.socket,
                          "-clisten_addresses=",
                          "-cunix_socket_permissions=0700",
                          "-cshared_buffers=128MB",
                          "-cmax_wal_size=2GB",
                          "-cmin_wal_size=256MB",
                          "-cwal_buffers=16MB",
                          NULL};
    int64_t end_ms = clock_ms() + RETRY_MS;
    enum err e;

    do {
        pg->pid = run_program(pg, args);
        e = pg->pid > 0 ? wait_until_up(pg) : ERR_UNAVAILABLE;
        if (e == ERR_IO)
            sleep_ms(LOOK_MS * 50);
    } while (e == ERR_IO && clock_ms() < end_ms);
    if (e == ERR_OK)
        return ERR_OK;
    buf_addf(why, "private PostgreSQL did not start; see %s", pg->place.log);
    return ERR_CONFIG;
}

/* A path may hold quotes and backslashes. */
static enum err make_url(struct embedded *pg)
{
    buf_adds(&pg->url, "host='");
    for (const char *c = pg->place.socket; *c != '\0'; c++) {
        if (*c == '\'' || *c == '\\')
            buf_addc(&pg->url, '\\');
        buf_addc(&pg->url, *c);
    }
    buf_adds(&pg->url, "' user=belay dbname=postgres");
    return pg->url.failed ? ERR_NO_MEMORY : ERR_OK;
}

enum err embedded_start(const char *dir, struct embedded **out_pg, struct buf *why)
{
    struct embedded *pg = calloc(1, sizeof *pg);
    enum err e;

    if (pg == NULL)
        return ERR_NO_MEMORY;
    pg->lock_fd = -1;
    buf_init(&pg->url);
    e = lock_directory(pg, dir, why);
    if (e == ERR_OK)
        e = place_find(&pg->place, dir, why);
    if (e == ERR_OK)
        e = make_url(pg);
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
    return pg->url.text;
}

static bool has_ended_within(pid_t pid, int64_t ms)
{
    int64_t end_ms = clock_ms() + ms;

    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (clock_ms() > end_ms)
            return false;
        sleep_ms(LOOK_MS);
    }
    return true;
}

void embedded_stop(struct embedded *pg)
{
    if (pg == NULL)
        return;
    if (pg->pid > 0 && kill(pg->pid, SIGINT) == 0 &&
        !has_ended_within(pg->pid, STOP_MS) && kill(pg->pid, SIGQUIT) == 0)
        (void)has_ended_within(pg->pid, STOP_MS / 5);
    place_release(&pg->place);
    close_fd(&pg->lock_fd);
    buf_release(&pg->url);
    free(pg);
}
