/* world: a database, nodes on it and clients of them, for programs that break them.
 *
 *     struct world w;
 *     world_open(&w, "build/belay", "kill");
 *     world_start_node(&w, 0);
 *     world_wait_ready(&w, 0, READY_MS);
 *     ...
 *     world_close(&w);
 *
 * The database is a private PostgreSQL in the world's own directory under /tmp. Nodes are
 * processes of the real binary; each keeps its port for the life of the world. Only what
 * the world has started is ever signalled, and all of it dies with the program. What
 * cannot go on ends the program with exit code 2. Threads: main, but for the clients. */
#ifndef BELAY_TESTS_CHAOS_WORLD_H
#define BELAY_TESTS_CHAOS_WORLD_H

#include "db/db.h"
#include "db/embedded.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { NODES = 2, LEASE_SECONDS = 2, READY_MS = 30000, QUIET_MS = 60000 };

struct world {
    const char *belay;
    char directory[64], config[128], ledger[128];
    char database[80]; /* the directory of PostgreSQL, and of the nodes' logs */
    struct embedded *postgres;
    struct db *db; /* the judge's own connection */
    pid_t node[NODES];
    int through[NODES];  /* the port on loopback that the node has PostgreSQL at; 0: it
                          * has the socket itself */
    const char *url;     /* that nodes have PostgreSQL at; NULL: by `through` */
    int files;           /* descriptors that a node may have; 0: as many as it likes */
    const char *preload; /* into nodes; NULL: nothing */
    const char *more[8]; /* further arguments of nodes; ends in NULL */
    int base_port;
    const char *concurrency; /* of each node; low: both have something to do */
    int checks_failed;
    bool tables_are_locked; /* by a foreigner, who may deadlock with the nodes */
    bool quiet;             /* a failed check is counted and not printed */
};

void world_open(struct world *w, const char *belay);
/* PostgreSQL and the logs are on a disk of their own, of so many MiB; 0: not. False: the
 * machine does not allow it, and nothing was opened. */
bool world_open_on_disk(struct world *w, const char *belay, int disk_mb);
/* Ends what still runs and removes the directory; keeps it where a check has failed. */
void world_close(struct world *w);

void world_start_database(struct world *w);
/* SIGKILL to the postmaster, whose children end by themselves; or a fast shutdown. */
void world_kill_database(struct world *w);
void world_stop_database(struct world *w);
/* Another that runs, in that directory, is the world's from now on; its own has ended. */
void world_take_database(struct world *w, const char *directory,
                         struct embedded *postgres);

/* The socket of PostgreSQL. */
void world_socket(const struct world *w, char *out, size_t size);

int world_port(const struct world *w, int node);
void world_start_node(struct world *w, int node);
void world_end_node(struct world *w, int node, int sig);
/* Answers after how many ms /readyz says 200; ends the program after `most_ms`. */
int64_t world_wait_ready(struct world *w, int node, int64_t most_ms);
/* Processes of commands that are there although no node is, and stay for a moment: they
 * die with their node, of whatever it died, as fast as the kernel does that. */
int world_count_orphans(const struct world *w);
enum { DATABASE = -1 };
/* The log of a node, or of the DATABASE: how many lines contain `word` ("" for all). */
int world_log_lines(struct world *w, int node, const char *word);

/* -- the database's record ----------------------------------------------------------- */

void world_run(struct world *w, const char *sql);
int64_t world_count(struct world *w, const char *sql);
/* Until no job is todo or doing; ends the program when their number stays for QUIET_MS.
 */
void world_wait_quiet(struct world *w);
/* The task's ledger as the temporary table lines (n, what, id, attempt); the stale writes
 * that the logs tell of as stale (id, attempt). */
void world_load_lines(struct world *w);
/* Prints the verdict; anything but 0 is wrong. */
void world_check(struct world *w, const char *what, int64_t wrong);
void world_check_sql(struct world *w, const char *what, const char *count_of_wrong);

_Noreturn void die(const char *what, const char *why);

#endif
