/* supervisor: the processes between Belay and the programs that it runs.
 *
 *     belay ---- zygote ---- supervisor ---- program ---- its children ...
 *       \___________________/ (one socket a supervisor)
 *
 * The zygote is forked before Belay has threads or memory to speak of, so that a fork of
 * it is cheap and safe. On request it forks a supervisor, which runs one program at a
 * time, again and again. Both are child subreapers: a process whose parent dies becomes
 * the child of the nearest of them, so no descendant can run away, whatever it forks. The
 * supervisor takes no second program before the tree of the first is empty, and when its
 * socket closes because Belay died, it kills the tree and exits. Should the supervisor be
 * killed, the zygote inherits the tree and kills it.
 *
 * All of it is internal to process.c. Nothing here allocates memory, takes a lock or
 * writes to stdio, so that it may run after a fork of a process with threads, too. */
#ifndef BELAY_WORKERS_SUPERVISOR_H
#define BELAY_WORKERS_SUPERVISOR_H

#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

/* Belay to zygote; each carries one end of a socket. */
enum zygote_request_kind {
    ZYGOTE_FORK,  /* make a supervisor that serves this socket */
    ZYGOTE_SWEEP, /* the supervisor `pid` died: kill what it left, then close this socket
                   */
};
struct zygote_request {
    enum zygote_request_kind kind;
    pid_t pid;
};

/* Belay to supervisor. START carries three file descriptors (stdin, stdout, stderr), and
 * after this head `n_argv` strings, `n_env` strings, and with has_directory one more,
 * each with its NUL. With is_entry the child does not become a program, but calls
 * supervisor_entry; argv is only a name then. */
enum supervisor_order_kind { SUPERVISOR_START, SUPERVISOR_TERMINATE, SUPERVISOR_KILL };
struct supervisor_order {
    enum supervisor_order_kind kind;
    uint32_t n_argv, n_env, has_directory, is_entry;
};

/* Supervisor to Belay: HELLO once, ENDED after each START. */
enum supervisor_report_kind { SUPERVISOR_HELLO, SUPERVISOR_ENDED };
struct supervisor_report {
    enum supervisor_report_kind kind;
    pid_t supervisor;
    int error;        /* errno of a start that failed, or 0 */
    int in_directory; /* the error is of chdir() */
    int status;       /* of waitpid() */
    int killed, swept;
};

/* What a child with is_entry does; set before the zygote is forked. */
extern void (*supervisor_entry)(void);

/* The zygote's life, on this socket. */
noreturn void zygote_main(int socket);

#endif
