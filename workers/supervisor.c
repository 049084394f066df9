/* One loop for each kind of process; both sleep in ppoll(), which is the only place where
 * SIGCHLD gets through.
 *
 * A supervisor is kept for the next program, so that a job costs one vfork and no fork:
 * as fast as posix_spawn in a loop. Rejected: a supervisor a job (two forks); cgroups and
 * PID namespaces alone (need rights or a delegation that few have; a supervisor works for
 * everybody); PR_SET_PDEATHSIG alone (children of the child do not inherit it). It is set
 * all the same: when somebody kills belay, zygote and supervisors at once, the program at
 * least dies. */
#include "workers/supervisor.h"

#include "workers/message.h"
#include "workers/process.h"
#include "workers/process_tree.h"
#include "workers/title.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void (*supervisor_entry)(void);

enum {
    SOCKET_FD = 3, /* where each of these processes keeps its socket */
    MAX_STRINGS = 4096,
    SWEEP_FIRST_MS = 2, /* between two looks at a tree that was killed; doubles up to */
    SWEEP_LAST_MS = 128,
    ZYGOTE_SWEEP_ROUNDS = 400,
};

/* -- set-up ------------------------------------------------------------------------- */

static void on_child(int sig)
{
    (void)sig; /* only ends ppoll() */
}

/* Blocks all signals and gives all their default, so that no program inherits an ignored
 * SIGPIPE, and a SIGTERM to the whole service does not take away those who keep its
 * children in order. */
static void set_signals(void)
{
    struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigaction(SIGCHLD, &child, NULL);
}

static void close_from(int first)
{
    if (close_range((unsigned)first, ~0U, 0) == 0)
        return;
    for (int fd = first; fd < 4096; fd++)
        close(fd);
}

/* Keeps `socket` as SOCKET_FD and closes all else above stderr. */
static void keep_only(int socket)
{
    if (socket != SOCKET_FD)
        dup3(socket, SOCKET_FD, O_CLOEXEC);
    close_from(SOCKET_FD + 1);
}

static void point_standard_files_at_null(void)
{
    int fd = open("/dev/null", O_RDWR);

    for (int standard = 0; fd >= 0 && standard <= STDERR_FILENO; standard++)
        dup2(fd, standard);
}

/* Sleeps until the socket has something, a child changes, or `ms` (-1: for ever) are
 * over. True: read the socket. */
static bool wait_for_news(int ms)
{
    struct pollfd socket = {.fd = SOCKET_FD, .events = POLLIN};
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    sigset_t all_but_child;

    sigfillset(&all_but_child);
    sigdelset(&all_but_child, SIGCHLD);
    return ppoll(&socket, 1, ms < 0 ? NULL : &limit, &all_but_child) > 0;
}

/* -- the program -------------------------------------------------------------------- */

struct program {
    char *strings[MAX_STRINGS]; /* argv, NULL, env, NULL */
    char **argv, **env;
    const char *directory;
    int *fds;
    bool is_entry;
    pid_t parent;
    volatile int error,
        in_directory; /* written by the child, whose memory is ours until it execs */
};

/* Finds the strings behind the head. Their sender is ourselves, so what does not fit is
 * only refused. */
static bool program_read(struct program *p, const struct supervisor_order *order,
                         char *text, const char *end)
{
    uint32_t n = order->n_argv + order->n_env + order->has_directory, at = 0;

    if (order->n_argv == 0 || n + 2 > MAX_STRINGS || (text < end && end[-1] != '\0'))
        return false;
    p->argv = p->strings;
    p->env = p->strings + order->n_argv + 1;
    p->directory = NULL;
    p->is_entry = order->is_entry != 0;
    for (uint32_t i = 0; i < n; i++, text += strlen(text) + 1) {
        if (text >= end)
            return false;
        if (i == order->n_argv)
            p->strings[at++] = NULL;
        if (i == order->n_argv + order->n_env)
            p->directory = text;
        else
            p->strings[at++] = text;
    }
    if (order->n_env == 0)
        p->strings[order->n_argv] = NULL;
    p->strings[order->n_argv + order->n_env + 1] = NULL;
    return true;
}

/* What a child begins with, of whichever kind. */
static void leave_supervisor(const struct program *p)
{
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != p->parent)
        _exit(127);
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        dup2(p->fds[fd], fd);
}

/* In the child of fork(), which has memory of its own, but nothing else of ours. */
static noreturn void become_entry(const struct program *p)
{
    sigset_t none;

    sigemptyset(&none);
    leave_supervisor(p);
    close_from(STDERR_FILENO + 1);
    title_set("job-task");
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    supervisor_entry();
    _exit(0);
}

/* In the child of vfork(): the supervisor waits, and all memory is shared with it. */
static noreturn void become_program(struct program *p)
{
    sigset_t none;

    sigemptyset(&none);
    leave_supervisor(p);
    p->in_directory = p->directory != NULL && chdir(p->directory) != 0;
    if (!p->in_directory) {
        sigprocmask(SIG_SETMASK, &none, NULL);
        execvpe(p->argv[0], p->argv, p->env);
    }
    p->error = errno;
    _exit(127);
}

/* The pid, or -1 with p->error. */
static pid_t entry_start(struct program *p)
{
    pid_t pid = supervisor_entry != NULL ? fork() : -1;

    if (pid == 0)
        become_entry(p);
    if (pid < 0) {
        p->error = supervisor_entry != NULL ? errno : ENOSYS;
        return -1;
    }
    close(p->fds[0]); /* so that Belay sees when the child closes its end */
    p->fds[0] = -1;
    return pid;
}

/* The same for a program. */
static __attribute__((noinline)) pid_t program_start(struct program *p)
{
    p->error = p->in_directory = 0;
    p->parent = getpid();
    if (p->is_entry)
        return entry_start(p);

    /* fork() would copy page tables, and posix_spawn() sets no PDEATHSIG. */
    pid_t pid = vfork(); /* NOLINT(*Vfork,*vfork): the child only makes system calls */
    if (pid == 0)
        become_program(p); /* NOLINT(clang-analyzer-unix.Vfork): and never returns */
    if (pid < 0)
        p->error = errno;
    if (pid > 0 && p->error != 0)
        waitpid(pid, NULL, 0);
    return p->error != 0 ? -1 : pid;
}

/* -- the supervisor ----------------------------------------------------------------- */

struct watch {
    pid_t program; /* 0: has ended */
    bool terminated, kill;
    bool orphaned; /* Belay is gone */
    struct supervisor_report report;
};

/* Takes the ends of children. False when there are no more: the tree is empty. */
static bool reap(struct watch *w)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != w->program)
            continue;
        w->program = 0;
        w->report.status = status;
    }
    return pid == 0 || errno != ECHILD;
}

static void read_order(struct watch *w)
{
    struct supervisor_order order;
    int n_fds;
    ssize_t len = message_receive(SOCKET_FD, &order, sizeof order, NULL, 0, &n_fds);

    if (len < 0 && errno == EINTR)
        return;
    if (len != (ssize_t)sizeof order) {
        w->orphaned = w->kill = true;
    } else if (order.kind == SUPERVISOR_KILL) {
        w->kill = true;
    } else if (order.kind == SUPERVISOR_TERMINATE && !w->terminated && !w->kill) {
        w->terminated = true;
        process_tree_terminate(w->program);
    }
}

/* Until the tree is empty. What a program leaves behind is killed at once, but after
 * SIGTERM it has the rest of the grace to clean up: children of a shell outlive the shell
 * that had the same SIGTERM. */
static void watch_tree(struct watch *w)
{
    int pause_ms = SWEEP_FIRST_MS;

    while (reap(w)) {
        bool sweep = w->kill || (w->program == 0 && !w->terminated);
        if (sweep) {
            int n = process_tree_kill();
            if (w->program != 0 || w->terminated)
                w->report.killed += n;
            else
                w->report.swept += n;
            w->kill = true; /* a late SIGTERM does not end the sweep */
            pause_ms = pause_ms < SWEEP_LAST_MS ? pause_ms * 2 : pause_ms;
        }
        if (w->orphaned) /* the closed socket would wake us for ever */
            poll(NULL, 0, pause_ms);
        else if (wait_for_news(sweep ? pause_ms : -1))
            read_order(w);
    }
}

/* One program, from its order to the report of its end. False when Belay is gone. */
static bool serve_program(struct program *p, struct supervisor_order *order, ssize_t len)
{
    struct watch w = {.report = {.kind = SUPERVISOR_ENDED, .supervisor = getpid()}};
    char *text = (char *)(order + 1), *end = (char *)order + len;

    if (program_read(p, order, text, end)) {
        w.program = program_start(p);
        w.report.error = p->error;
        w.report.in_directory = p->in_directory;
    } else {
        w.report.error = E2BIG;
    }
    if (w.report.error == 0)
        watch_tree(&w);
    bool told = !w.orphaned && message_send(SOCKET_FD, &w.report, sizeof w.report, NULL,
                                            0, PROCESS_DEADLINE_MS) == 0;
    /* Only now: the end of the program's output would wake Belay twice before the report
     * does. */
    for (int i = 0; i < 3; i++)
        close(p->fds[i]);
    return told;
}

static noreturn void supervisor_main(int socket)
{
    static union {
        struct supervisor_order order;
        char bytes[sizeof(struct supervisor_order) + PROCESS_COMMAND_MAX];
    } message;
    static struct program program;
    struct supervisor_report hello = {.kind = SUPERVISOR_HELLO, .supervisor = getpid()};
    int fds[3], n_fds;

    keep_only(socket);
    title_set("job-supervisor");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (message_send(SOCKET_FD, &hello, sizeof hello, NULL, 0, 0) != 0)
        _exit(0);
    program.fds = fds;
    for (;;) {
        ssize_t len =
            message_receive(SOCKET_FD, &message, sizeof message, fds, 3, &n_fds);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < (ssize_t)sizeof message.order)
            _exit(0);
        /* TERMINATE and KILL that came after the end of their program: it is gone, as
         * they wanted. */
        if (message.order.kind == SUPERVISOR_START && n_fds == 3 &&
            !serve_program(&program, &message.order, len))
            _exit(0);
    }
}

/* -- the zygote --------------------------------------------------------------------- */

/* A supervisor that was killed leaves its tree to us. One that exits leaves nothing, so
 * whatever is here is an orphan. */
static void reap_all(void)
{
    bool any = false;

    while (waitpid(-1, NULL, WNOHANG) > 0)
        any = true;
    if (any)
        process_tree_kill();
}

/* After the death of a supervisor, until what it left is gone; but not for ever, others
 * wait for us. */
static void sweep_after(pid_t supervisor)
{
    for (int round = 0; round < ZYGOTE_SWEEP_ROUNDS; round++) {
        reap_all();
        if ((supervisor == 0 || kill(supervisor, 0) != 0) && process_tree_kill() == 0)
            return;
        poll(NULL, 0, SWEEP_FIRST_MS);
    }
}

/* False when Belay is gone. */
static bool serve_zygote_request(void)
{
    struct zygote_request request;
    int socket = -1, n_fds;
    ssize_t len =
        message_receive(SOCKET_FD, &request, sizeof request, &socket, 1, &n_fds);

    if (len < 0 && errno == EINTR)
        return true;
    if (len != (ssize_t)sizeof request)
        return false;
    if (request.kind == ZYGOTE_FORK && n_fds == 1 && fork() == 0)
        supervisor_main(socket);
    if (request.kind == ZYGOTE_SWEEP)
        sweep_after(request.pid);
    if (n_fds == 1)
        close(socket);
    return true;
}

noreturn void zygote_main(int socket)
{
    set_signals();
    setsid();
    keep_only(socket);
    point_standard_files_at_null();
    title_set("job-zygote");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (;;) {
        reap_all();
        if (wait_for_news(-1) && !serve_zygote_request())
            break;
    }
    /* The supervisors have seen the end, too, and kill what they watch; stay as long as
     * one might need us. */
    close(SOCKET_FD);
    for (;;) {
        reap_all();
        process_tree_kill();
        if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            _exit(0);
        poll(NULL, 0, SWEEP_LAST_MS);
    }
}
