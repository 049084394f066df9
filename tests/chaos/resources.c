/* resources: what the machine may run out of, and clocks that step.
 *
 *     resources MODE BELAY ROUNDS SEED
 *
 *     disk      PostgreSQL and the node's log are on a small disk, which is full ROUNDS
 *               times (needs the right to mount; is passed over without)
 *     wal       the same of a disk that PostgreSQL's write-ahead log has for itself
 *     files     the node may have 64 descriptors, and is sent more connections than that,
 *               ROUNDS times
 *     clock     the node's clock steps by an hour, there and back, ROUNDS times (needs
 *               libfaketime; is passed over without)
 *     locked    somebody holds the tables for ROUNDS seconds
 *
 * The load goes on all the time, and the oracle judges: no 2xx without a row. Exit code 1
 * and a line for each check that fails. */
#include "server/core/clock.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/http.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DISK_MB = 192,
    WAL_MB = 80,
    LOCK_TRIES = 10,
    FULL_MS = 3000, /* how long the disk stays full */
    FILES = 64,
    HOGS = 100, /* connections of somebody who sends nothing */
    STEP_MS = 1500,
    BACK_MS = 10000
};

static const char faketime[] = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

struct run {
    struct world w;
    struct clients clients;
    int rounds, interruptions;
    int64_t worst_back_ms;
    unsigned seed;
};

static void start(struct run *r)
{
    world_start_node(&r->w, 0);
    world_wait_ready(&r->w, 0, READY_MS);
    clients_start(&r->clients, world_port(&r->w, 0), r->seed);
}

/* Until a job goes in again. */
static void wait_until_back(struct run *r)
{
    struct http_client http;
    int64_t begin_ms = clock_ms();

    http_client_init(&http, world_port(&r->w, 0));
    while (http_send(&http, "GET", "/jobs?limit=1", NULL) != 200 &&
           clock_ms() - begin_ms < 3 * BACK_MS)
        sleep_ms(20);
    int64_t ms = clock_ms() - begin_ms;
    http_client_release(&http);
    r->worst_back_ms = ms > r->worst_back_ms ? ms : r->worst_back_ms;
}

/* -- disk ---------------------------------------------------------------------------- */

static void fill(const char *path)
{
    static char zeros[1 << 16];
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        die(path, "cannot be made");
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    while (write(fd, zeros, 1) > 0)
        ;
    if (errno != ENOSPC)
        die(path, "the disk is not full");
    close(fd);
}

static void free_disk(struct run *r, const char *path)
{
    unlink(path);
    world_stop_database(&r->w);
    world_start_database(&r->w);
    r->interruptions++;
    wait_until_back(r);
}

/* The data, the log of PostgreSQL's changes and the service's log are all on it.
 * PostgreSQL does not always live through that: who frees the disk also starts it again.
 */
static void fill_disk(struct run *r)
{
    char path[128];

    snprintf(path, sizeof path, "%s/filler", r->w.database);
    sleep_ms(STEP_MS);
    fill(path);
    sleep_ms(FULL_MS);
    free_disk(r, path);
}

/* -- wal ----------------------------------------------------------------------------- */

static void copy_tree(const char *from, const char *to)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/cp", "cp", "-a", from, to, (char *)NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die(from, "cannot be copied");
}

/* A small disk for it alone. */
static void move_wal(struct run *r)
{
    char wal[128], saved[128], again[132], size[32];

    snprintf(wal, sizeof wal, "%s/pgdata/pg_wal", r->w.database);
    snprintf(saved, sizeof saved, "%s/saved", r->w.directory);
    snprintf(again, sizeof again, "%s/.", saved);
    snprintf(size, sizeof size, "size=%dm", WAL_MB);
    world_stop_database(&r->w);
    copy_tree(wal, saved);
    if (mount("wal", wal, "tmpfs", 0, size) != 0)
        die(wal, "cannot be mounted");
    copy_tree(again, wal);
    world_start_database(&r->w);
}

/* PostgreSQL goes on until it needs a new segment, and then ends. */
static void fill_wal(struct run *r)
{
    char path[128];

    snprintf(path, sizeof path, "%s/pgdata/pg_wal/filler", r->w.database);
    sleep_ms(STEP_MS);
    fill(path);
    bool up = true;
    for (int64_t end_ms = clock_ms() + FULL_MS; clock_ms() < end_ms; sleep_ms(50))
        up = db_run(r->w.db, "SELECT pg_switch_wal()", NULL) == ERR_OK && up;
    world_check(&r->w, "PostgreSQL could not write its log: else nothing was tested", up);
    free_disk(r, path);
}

/* -- files --------------------------------------------------------------------------- */

static void hog_connections(struct run *r)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)world_port(&r->w, 0)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fds[HOGS];

    sleep_ms(STEP_MS);
    for (int i = 0; i < HOGS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], (struct sockaddr *)&address, sizeof address);
    }
    sleep_ms(STEP_MS);
    for (int i = 0; i < HOGS; i++)
        close(fds[i]);
    r->interruptions++;
    wait_until_back(r);
}

/* -- clock --------------------------------------------------------------------------- */

static void set_clock(const struct run *r, const char *offset)
{
    char path[160], fresh[160];

    snprintf(path, sizeof path, "%s/clock", r->w.directory);
    snprintf(fresh, sizeof fresh, "%s/clock.new", r->w.directory);
    FILE *f = fopen(fresh, "w");
    if (f == NULL || fprintf(f, "%s\n", offset) < 0 || fclose(f) != 0 ||
        rename(fresh, path) != 0)
        die(path, "cannot be written");
}

static void step_clock(struct run *r)
{
    static const char *const offsets[] = {"+1h", "-1h", "+0"};

    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        set_clock(r, offsets[i]);
        sleep_ms(STEP_MS);
    }
    wait_until_back(r);
}

static void prepare_clock(struct run *r)
{
    char path[160];

    set_clock(r, "+0");
    snprintf(path, sizeof path, "%s/clock", r->w.directory);
    setenv("FAKETIME_TIMESTAMP_FILE", path, 1);
    setenv("FAKETIME_NO_CACHE", "1", 1);
    setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
    r->w.preload = faketime;
}

/* -- locked -------------------------------------------------------------------------- */

/* Statements of the service hold some of them and want others, so one of both may have
 * to go back: PostgreSQL decides who. */
static void lock_tables(struct run *r)
{
    sleep_ms(STEP_MS);
    world_run(&r->w, "SET statement_timeout = 0;"
                     " SET idle_in_transaction_session_timeout = 0");
    bool locked = false;
    r->w.tables_are_locked = true;
    for (int i = 0; i < LOCK_TRIES && !locked; i++) {
        locked =
            db_run(r->w.db, "BEGIN; LOCK TABLE belay.jobs, belay.ready, belay.leases",
                   NULL) == ERR_OK;
        if (!locked)
            world_run(&r->w, "ROLLBACK");
    }
    world_check(&r->w, "the tables were locked: else nothing was tested", !locked);
    sleep_ms((int64_t)r->rounds * 1000);
    world_run(&r->w, "ROLLBACK");
    r->interruptions++;
    r->rounds = 1;
    wait_until_back(r);
}

/* -- all ----------------------------------------------------------------------------- */

static const struct mode {
    const char *name;
    void (*happen)(struct run *r);
    int disk_mb, files;
} modes[] = {{"disk", fill_disk, DISK_MB, 0},
             {"wal", fill_wal, DISK_MB, 0},
             {"files", hog_connections, 0, FILES},
             {"clock", step_clock, 0, 0},
             {"locked", lock_tables, 0, 0}};

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    die(name, "there is no such mode");
}

static void judge(struct run *r, const char *name)
{
    clients_stop(&r->clients);
    world_wait_quiet(&r->w);
    clients_audit(&r->clients, &r->w, r->interruptions);
    world_check(&r->w, "it is back within 10 s", r->worst_back_ms > BACK_MS);
    printf("figures: %s: back after %" PRId64 " ms at most\n", name, r->worst_back_ms);
}

int main(int argc, char **argv)
{
    static struct run r;

    if (argc < 5) {
        fprintf(stderr, "usage: resources MODE BELAY ROUNDS SEED\n");
        return 2;
    }
    const struct mode *mode = find_mode(argv[1]);
    r.rounds = (int)strtol(argv[3], NULL, 10);
    r.seed = (unsigned)strtoul(argv[4], NULL, 10);
    bool clock = mode->happen == step_clock;
    if ((clock && access(faketime, R_OK) != 0) ||
        !world_open_on_disk(&r.w, argv[2], mode->disk_mb)) {
        printf("figures: passed over, this machine does not allow it\n");
        return 0;
    }
    r.w.files = mode->files;
    if (clock)
        prepare_clock(&r);
    if (mode->happen == fill_wal)
        move_wal(&r);
    start(&r);
    for (int i = 0; i < r.rounds; i++)
        mode->happen(&r);
    judge(&r, mode->name);
    world_close(&r.w);
    printf("seed %s, %d checks failed\n", argv[4], r.w.checks_failed);
    return r.w.checks_failed > 0;
}
