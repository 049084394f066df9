/* The user that PostgreSQL runs as may not be able to reach the data directory: a
 * checkout under /root. Then the cluster lives under /var/lib/belay and the data
 * directory holds a link to it; the link is the truth, so that removing the data
 * directory starts afresh. Rejected: opening up the parents (they are not ours), and
 * running in a mount namespace (forbidden in many containers). */
#include "db/place.h"

#include "server/core/log.h"

#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEBIAN_ROOT "/usr/lib/postgresql/"
#define ROOTS_HOME  "/var/lib/belay"

static enum err fail(struct buf *why, const char *what, const char *path)
{
    buf_addf(why, "private PostgreSQL: cannot %s %s: %s", what, path, strerror(errno));
    return ERR_CONFIG;
}

/* Joins two parts of a path; a path that is too long is an error, not a shorter path. */
static enum err join(char out[PATH_MAX], const char *dir, const char *name,
                     struct buf *why)
{
    int len = snprintf(out, PATH_MAX, "%s/%s", dir, name);

    if (len < PATH_MAX)
        return ERR_OK;
    errno = ENAMETOOLONG;
    return fail(why, "use", dir);
}

/* -- programs ------------------------------------------------------------------------ */

static bool has_postgres(const char *bin)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/postgres", bin) < (int)sizeof path &&
           access(path, X_OK) == 0;
}

/* The version that made the cluster: no other can run it. "" when there is no cluster. */
static void read_version(const struct place *p, char *out, int size)
{
    char path[PATH_MAX + 16];

    out[0] = '\0';
    snprintf(path, sizeof path, "%s/PG_VERSION", p->data);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fgets(out, size, f) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

static bool find_newest_of_debian(struct place *p)
{
    glob_t found;
    long newest = -1;

    if (glob(DEBIAN_ROOT "*/bin", 0, NULL, &found) != 0)
        return false;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        long version = strtol(found.gl_pathv[i] + strlen(DEBIAN_ROOT), NULL, 10);
        if (version <= newest || !has_postgres(found.gl_pathv[i]))
            continue;
        newest = version;
        snprintf(p->bin, sizeof p->bin, "%s", found.gl_pathv[i]);
    }
    globfree(&found);
    return newest >= 0;
}

/* pg_config is often a link in PATH to the place where the programs are. */
static bool find_in_path(struct place *p)
{
    char file[PATH_MAX], real[PATH_MAX];
    const char *names[] = {"postgres", "pg_config"};

    for (const char *dir = getenv("PATH"); dir != NULL; dir = strchr(dir, ':')) {
        dir += *dir == ':';
        for (int i = 0; i < 2; i++) {
            snprintf(file, sizeof file, "%.*s/%s", (int)strcspn(dir, ":"), dir, names[i]);
            if (realpath(file, real) == NULL)
                continue;
            *strrchr(real, '/') = '\0';
            if (!has_postgres(real))
                continue;
            snprintf(p->bin, sizeof p->bin, "%s", real);
            return true;
        }
    }
    return false;
}

static enum err find_programs(struct place *p, struct buf *why)
{
    char version[16];

    read_version(p, version, sizeof version);
    if (version[0] != '\0') {
        snprintf(p->bin, sizeof p->bin, DEBIAN_ROOT "%s/bin", version);
        if (has_postgres(p->bin))
            return ERR_OK;
    }
    if (find_newest_of_debian(p) || find_in_path(p))
        return ERR_OK;
    buf_adds(why, "there is no PostgreSQL on this machine and no DATABASE_URL; install "
                  "one (apt-get install postgresql) or set DATABASE_URL");
    return ERR_CONFIG;
}

/* -- the user ------------------------------------------------------------------------ */

static enum err find_user(struct place *p, struct buf *why)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return ERR_OK;
    p->drop = true;
    user = getpwnam("postgres");
    if (user != NULL) {
        p->uid = user->pw_uid;
        p->gid = user->pw_gid;
        return ERR_OK;
    }
    buf_adds(why, "PostgreSQL does not run as root, and there is no user `postgres` to "
                  "run it; set DATABASE_URL, or run belay as another user");
    return ERR_CONFIG;
}

/* A cluster stays with the user who made it. */
static enum err take_owner(struct place *p, struct buf *why)
{
    struct stat st;

    if (stat(p->data, &st) != 0)
        return ERR_OK;
    if (p->drop && st.st_uid != 0) {
        p->uid = st.st_uid;
        p->gid = st.st_gid;
    } else if (!p->drop && st.st_uid != geteuid()) {
        buf_addf(why,
                 "private PostgreSQL: %s belongs to another user (uid %d); run belay as "
                 "root, or choose another --data-dir",
                 p->data, (int)st.st_uid);
        return ERR_CONFIG;
    }
    return ERR_OK;
}

enum err place_drop_privileges(const struct place *p)
{
    if (!p->drop)
        return ERR_OK;
    if (setgroups(0, NULL) != 0 || setgid(p->gid) != 0 || setuid(p->uid) != 0)
        return ERR_IO;
    return ERR_OK;
}

/* Asked of the kernel, by a child that is that user. */
static bool user_can_enter(const struct place *p, const char *dir)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(place_drop_privileges(p) == ERR_OK && access(dir, X_OK) == 0 ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* -- directories --------------------------------------------------------------------- */

static enum err use_roots_home(struct place *p, const char *link, struct buf *why)
{
    char home[] = ROOTS_HOME "/XXXXXX";
    enum err e;

    if (mkdir(ROOTS_HOME, 0755) != 0 && errno != EEXIST)
        return fail(why, "make", ROOTS_HOME);
    if (mkdtemp(home) == NULL || chmod(home, 0755) != 0)
        return fail(why, "make", home);
    e = join(p->data, home, "pgdata", why);
    if (e != ERR_OK)
        return e;
    if (symlink(p->data, link) != 0)
        return fail(why, "link", link);
    log_info("embedded", "data=%s why=%s", log_quoted(p->data),
             log_quoted("the user postgres cannot enter the data directory"));
    return ERR_OK;
}

/* `data` is where `dir`/pgdata is or shall be, with all links followed. */
static enum err find_data(struct place *p, const char *dir, struct buf *why)
{
    char link[PATH_MAX];
    enum err e = join(link, dir, "pgdata", why);
    ssize_t len;

    if (e != ERR_OK)
        return e;
    len = readlink(link, p->data, sizeof p->data - 1);
    if (len >= 0) {
        p->data[len] = '\0';
        return ERR_OK;
    }
    if (p->drop && access(link, F_OK) != 0 && !user_can_enter(p, dir))
        return use_roots_home(p, link, why);
    return join(p->data, dir, "pgdata", why);
}

/* Beside the data, where nobody else can come; a path that is too long for a socket gets
 * a short directory of its own. */
static enum err find_socket(struct place *p, struct buf *why)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (strlen(p->data) <= SOCKET_DIR_MAX) {
        snprintf(p->socket, sizeof p->socket, "%s", p->data);
        return ERR_OK;
    }
    if (p->drop || runtime == NULL || strlen(runtime) > SOCKET_DIR_MAX / 2)
        runtime = "/tmp";
    snprintf(p->socket, sizeof p->socket, "%s/belay-pg-XXXXXX", runtime);
    if (mkdtemp(p->socket) == NULL)
        return fail(why, "make", p->socket);
    p->socket_is_temporary = true;
    if (p->drop && chown(p->socket, p->uid, p->gid) != 0)
        return fail(why, "give away", p->socket);
    return ERR_OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

enum err place_make_empty(const struct place *p, const char *path, struct buf *why)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return fail(why, "remove", path);
    if (mkdir(path, 0700) != 0)
        return fail(why, "make", path);
    if (p->drop && chown(path, p->uid, p->gid) != 0)
        return fail(why, "give away", path);
    return ERR_OK;
}

bool place_has_cluster(const struct place *p)
{
    char version[16];

    read_version(p, version, sizeof version);
    return version[0] != '\0';
}

enum err place_find(struct place *p, const char *dir, struct buf *why)
{
    char absolute[PATH_MAX];
    enum err e;

    *p = (struct place){.drop = false};
    if (realpath(dir, absolute) == NULL)
        return fail(why, "find", dir);
    e = find_user(p, why);
    if (e == ERR_OK)
        e = find_data(p, absolute, why);
    if (e == ERR_OK)
        e = take_owner(p, why);
    if (e == ERR_OK)
        e = find_programs(p, why);
    if (e == ERR_OK)
        e = join(p->log, absolute, "postgres.log", why);
    if (e == ERR_OK)
        e = find_socket(p, why);
    return e;
}

void place_release(struct place *p)
{
    if (p->socket_is_temporary)
        rmdir(p->socket);
    p->socket_is_temporary = false;
}
