/* process: runs a program as a child process, with the promise that nothing survives it.
 *
 *     struct process_spec spec = {.argv = argv, .env = env, .stdin_fd = -1};
 *     e = process_start(&spec, &p, &why);
 *     ... poll process_fd(p), process_out_fd(p) and process_err_fd(p) ...
 *     if (process_ended(p, &end))
 *         process_close(p);
 *
 * A process has ended when its program and every descendant has: children, grandchildren,
 * daemons that forked twice and made a session of their own. What a program leaves behind
 * is killed, and so is everything when this process dies, even by SIGKILL. Each program
 * is watched by a small process of its own, the supervisor (supervisor.h).
 *
 * Threads: process_zygote_start() and _stop() from main, before the first thread and
 * after the last; process_start() from any thread; a struct process belongs to the thread
 * that started it. What asks the zygote, process_start() and the process_ended() that
 * finds the supervisor dead, waits at most PROCESS_DEADLINE_MS, and only for one that
 * reads nothing any more; all else does not wait. */
#ifndef BELAY_WORKERS_PROCESS_H
#define BELAY_WORKERS_PROCESS_H

#include "server/core/buf.h"
#include "server/core/err.h"

#include <stdbool.h>

enum {
    PROCESS_DEADLINE_MS = 5000,
    PROCESS_COMMAND_MAX = 160 * 1024, /* bytes of argv, env and directory together */
};

/* What a process with is_entry does, in a fork of the zygote: it has the memory of this
 * process as it was then. Call it before process_zygote_start(). */
void process_set_entry(void (*entry)(void));

/* Makes the process from which all supervisors are forked. Call it early: what is open or
 * allocated now is inherited. A second call does nothing. When that process dies, the
 * next process_start() makes a new one. */
enum err process_zygote_start(void) MUST_CHECK;

/* Lets idle supervisors and the zygote go. Processes that still run are killed when this
 * process exits. */
void process_zygote_stop(void);

struct process_spec {
    const char *const
        *argv; /* ends in NULL; argv[0] without a slash is looked for in PATH */
    const char *const *env; /* NAME=value, ends in NULL; nothing else is inherited */
    const char *directory;  /* NULL: the one in which the zygote was started */
    int stdin_fd;           /* borrowed; -1: /dev/null */
    bool is_entry;          /* calls the entry; argv is a name, which nobody looks for */
};

struct process;

/* Starts a program. That it cannot be run (no such file) is found out later:
 * PROCESS_NOT_STARTED. ERR_IO: the node is short of descriptors or processes. */
enum err process_start(const struct process_spec *spec, struct process **out_process,
                       struct buf *why) MUST_CHECK;

int process_out_fd(
    const struct process *p); /* its stdout, non-blocking; -1 once closed */
int process_err_fd(const struct process *p); /* its stderr, the same */
/* Readable when process_ended() has something to say. Ask again after each of its calls:
 * it is another one when the supervisor was killed. */
int process_fd(const struct process *p);
/* process_ended() found the supervisor dead: its program is being killed, if it is not
 * gone yet. */
bool process_lost(const struct process *p);

/* Closes our end of stdout or stderr, after end of file. */
void process_close_out(struct process *p);
void process_close_err(struct process *p);

/* SIGTERM to the program and all its descendants; repeated calls send nothing. */
void process_terminate(struct process *p);
/* SIGKILL to all of them, until none is left. */
void process_kill(struct process *p);

enum process_fate {
    PROCESS_EXITED,      /* code: the exit code */
    PROCESS_SIGNALLED,   /* code: the signal */
    PROCESS_NOT_STARTED, /* code: errno; in_directory: it was the directory that could not
                            be entered */
    PROCESS_LOST,        /* its supervisor was killed, and so was the program */
};

struct process_end {
    enum process_fate fate;
    int code;
    bool in_directory;
    bool killed; /* SIGKILL was needed after process_terminate() or by process_kill() */
    int swept;   /* descendants that the program left behind, killed */
};

/* True, and `out`, when the program and all its descendants are gone. */
bool process_ended(struct process *p, struct process_end *out_end);

/* Releases it; one that has not ended is killed by its supervisor, without waiting for
 * it. NULL is fine. */
void process_close(struct process *p);

#endif
