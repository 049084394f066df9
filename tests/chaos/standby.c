#include "tests/chaos/standby.h"

#include "db/place.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IN_SYNC_MS = 20000 };

/* In a child process. */
_Noreturn static void exec_backup(const struct place *p, const char *socket)
{
    char path[PATH_MAX + 16];
    int log = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (dup2(log, 1) < 0 || dup2(log, 2) < 0 || place_drop_privileges(p) != ERR_OK)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(path, sizeof path, "%s/pg_basebackup", p->bin);
    execl(path, path, "-D", p->data, "-h", socket, "-U", "belay", "--no-sync",
          "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf",
          (char *)NULL);
    _exit(127);
}

static void copy_cluster(const struct standby *s, const struct world *w)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct place p;
    char socket[128], path[PATH_MAX + 32];
    int status = 1;

    if (mkdir(s->directory, 0755) != 0 && access(s->directory, W_OK) != 0)
        die(s->directory, "cannot be made");
    if (place_find(&p, s->directory, &why) != ERR_OK ||
        place_make_empty(&p, p.data, &why) != ERR_OK)
        die("standby", why.text);
    world_socket(w, socket, sizeof socket);
    *strrchr(socket, '/') = '\0';
    pid_t pid = fork();
    if (pid == 0)
        exec_backup(&p, socket);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        die("pg_basebackup", p.log);
    /* the socket is in the data directory here, so its lock was copied with it */
    snprintf(path, sizeof path, "%s/.s.PGSQL.5432.lock", p.data);
    unlink(path);
    place_release(&p);
}

static void set_synchronous(struct world *w, const char *names)
{
    char sql[128];

    snprintf(sql, sizeof sql, "ALTER SYSTEM SET synchronous_standby_names = '%s'", names);
    world_run(w, sql);
    world_run(w, "SELECT pg_reload_conf()");
}

/* The copy has the settings of what it is a copy of: on its own it is not to wait for a
 * standby, so that is set when it has been made. */
void standby_make(struct standby *s, struct world *w)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    int64_t end_ms = clock_ms() + IN_SYNC_MS;

    world_run(w, "ALTER SYSTEM SET wal_keep_size = '1GB'");
    /* of 5 s: a promotion waits for it now and then */
    world_run(w, "ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'");
    world_run(w, "SELECT pg_reload_conf()");
    copy_cluster(s, w);
    if (embedded_start(s->directory, &s->postgres, &why) != ERR_OK)
        die("standby", why.text);
    set_synchronous(w, "*");
    while (world_count(w, "SELECT count(*) FROM pg_stat_replication"
                          " WHERE sync_state = 'sync'") == 0) {
        if (clock_ms() > end_ms)
            die("standby", "it does not follow");
        sleep_ms(10);
    }
}

void standby_promote(struct standby *s, struct world *w)
{
    world_take_database(w, s->directory, s->postgres);
    s->postgres = NULL;
    if (world_count(w, "SELECT pg_promote(true, 10)::int") != 1)
        die("standby", "it is not promoted");
}

void standby_stop(struct standby *s, struct world *w)
{
    set_synchronous(w, "");
    embedded_stop(s->postgres);
    s->postgres = NULL;
}
