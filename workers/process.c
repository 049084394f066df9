/* The side of Belay: the zygote's socket, the supervisors that wait for work, and one
 * struct process a program.
 *
 * All is asynchronous but cheap: a start is one message to an idle supervisor; the thread
 * that runs the job then sleeps in poll() on the program's output and the supervisor's
 * socket. Idle supervisors are a stack, so that the one used last, whose memory is warm,
 * is used next. */
#include "workers/process.h"

#include "server/core/cleanup.h"
#include "workers/message.h"
#include "workers/process_tree.h"
#include "workers/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IDLE_MAX = 64, STOP_WAIT_MS = 2000 };

struct supervisor {
    int socket;
    pid_t pid; /* 0: it has not said hello yet */
};

/* The one zygote of this process and its idle supervisors. All fields under the lock. */
static struct {
    pthread_mutex_t lock;
    int socket; /* -1: none */
    pid_t pid;
    struct supervisor idle[IDLE_MAX];
    int n_idle;
} zygote = {.lock = PTHREAD_MUTEX_INITIALIZER, .socket = -1};

struct process {
    struct supervisor supervisor;
    int sweep;    /* after the supervisor's death, until the zygote closes it; or -1 */
    int out, err; /* our ends; -1 once closed */
    bool terminated, ended;
    struct process_end end;
};

/* -- zygote ------------------------------------------------------------------------- */

static enum err zygote_start_locked(void)
{
    int ends[2];

    if (zygote.socket >= 0)
        return ERR_OK;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return ERR_IO;
    pid_t pid = fork();
    if (pid == 0)
        zygote_main(ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return ERR_IO;
    }
    zygote.socket = ends[0];
    zygote.pid = pid;
    return ERR_OK;
}

static void zygote_forget_locked(void)
{
    close_fd(&zygote.socket);
    zygote.socket = -1;
    if (zygote.pid > 0)
        waitpid(zygote.pid, NULL, WNOHANG);
    zygote.pid = 0;
}

void process_set_entry(void (*entry)(void))
{
    supervisor_entry = entry;
}

enum err process_zygote_start(void)
{
    pthread_mutex_lock(&zygote.lock);
    enum err e = zygote_start_locked();
    pthread_mutex_unlock(&zygote.lock);
    return e;
}

/* Until the zygote has gone, which is when the last supervisor has; those of programs
 * that still run stay. */
static void wait_for_zygote(pid_t pid)
{
    CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd gone = {.fd = fd, .events = POLLIN};

    if (fd >= 0)
        poll(&gone, 1, STOP_WAIT_MS);
    waitpid(pid, NULL, WNOHANG);
}

void process_zygote_stop(void)
{
    pthread_mutex_lock(&zygote.lock);
    pid_t pid = zygote.pid;
    while (zygote.n_idle > 0)
        close(zygote.idle[--zygote.n_idle].socket);
    close_fd(&zygote.socket);
    zygote.socket = -1;
    zygote.pid = 0;
    pthread_mutex_unlock(&zygote.lock);
    if (pid > 0)
        wait_for_zygote(pid);
}

/* Sends one end of a new socket pair to the zygote and returns the other, or -1. A zygote
 * that has died is replaced. */
static int zygote_ask_locked(enum zygote_request_kind kind, pid_t pid)
{
    struct zygote_request request = {.kind = kind, .pid = pid};
    int ends[2], failed = -1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    for (int try = 0; failed != 0 && try < 2; try++) {
        if (zygote_start_locked() != ERR_OK)
            break;
        failed = message_send(zygote.socket, &request, sizeof request, &ends[1], 1,
                              PROCESS_DEADLINE_MS);
        if (failed != 0)
            zygote_forget_locked();
    }
    close(ends[1]);
    if (failed == 0)
        return ends[0];
    close(ends[0]);
    return -1;
}

/* An idle supervisor, or a new one; false when there is neither. */
static bool supervisor_take(struct supervisor *out)
{
    struct supervisor s = {.socket = -1};

    pthread_mutex_lock(&zygote.lock);
    if (zygote.n_idle > 0)
        s = zygote.idle[--zygote.n_idle];
    else
        s.socket = zygote_ask_locked(ZYGOTE_FORK, 0);
    pthread_mutex_unlock(&zygote.lock);
    if (s.socket >= 0)
        *out = s;
    return s.socket >= 0;
}

/* After the end of its program; without room it closes the socket, and the supervisor
 * leaves. */
static void supervisor_give_back(struct supervisor s)
{
    pthread_mutex_lock(&zygote.lock);
    bool room = zygote.socket >= 0 && zygote.n_idle < IDLE_MAX;
    if (room)
        zygote.idle[zygote.n_idle++] = s;
    pthread_mutex_unlock(&zygote.lock);
    if (!room)
        close(s.socket);
}

/* -- start -------------------------------------------------------------------------- */

static uint32_t add_strings(struct buf *b, const char *const *strings)
{
    uint32_t n = 0;

    for (; strings != NULL && strings[n] != NULL; n++)
        buf_add(b, strings[n], strlen(strings[n]) + 1);
    return n;
}

static enum err make_order(const struct process_spec *spec, struct buf *b,
                           struct buf *why)
{
    struct supervisor_order order = {.kind = SUPERVISOR_START,
                                     .is_entry = spec->is_entry};

    buf_add(b, &order, sizeof order);
    order.n_argv = add_strings(b, spec->argv);
    order.n_env = add_strings(b, spec->env);
    if (spec->directory != NULL) {
        order.has_directory = 1;
        buf_add(b, spec->directory, strlen(spec->directory) + 1);
    }
    if (b->failed)
        return ERR_NO_MEMORY;
    memcpy(b->text, &order, sizeof order);
    if (b->len <= sizeof order + PROCESS_COMMAND_MAX)
        return ERR_OK;
    buf_addf(why,
             "the arguments and the environment have %zu bytes, at most %d can be passed",
             b->len - sizeof order, PROCESS_COMMAND_MAX);
    return ERR_INVALID;
}

struct pipes {
    int in, out[2], err[2];
};

static void pipes_release(struct pipes *p)
{
    int all[] = {p->in, p->out[0], p->out[1], p->err[0], p->err[1]};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        close_fd(&all[i]);
}

static bool pipes_open(struct pipes *p, int stdin_fd)
{
    p->in = stdin_fd < 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                         : fcntl(stdin_fd, F_DUPFD_CLOEXEC, 0);
    /* Only our ends are non-blocking: the flag is the pipe end's, and programs do not
     * expect it. */
    return p->in >= 0 && pipe2(p->out, O_CLOEXEC) == 0 && pipe2(p->err, O_CLOEXEC) == 0 &&
           fcntl(p->out[0], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(p->err[0], F_SETFL, O_NONBLOCK) == 0;
}

/* Hands the order to a supervisor. One that died while it was idle is passed over. */
static enum err send_order(const struct buf *order, const struct pipes *pipes,
                           struct supervisor *out, struct buf *why)
{
    const int fds[3] = {pipes->in, pipes->out[1], pipes->err[1]};
    int error = 0;

    for (int try = 0; try <= IDLE_MAX; try++) {
        struct supervisor s;
        if (!supervisor_take(&s))
            break;
        if (message_send(s.socket, order->text, order->len, fds, 3,
                         PROCESS_DEADLINE_MS) == 0) {
            *out = s;
            return ERR_OK;
        }
        error = errno;
        close(s.socket);
        if (error != EPIPE && error != ECONNRESET)
            break;
    }
    buf_addf(why, "no supervisor for a child process: %s",
             strerror(error != 0 ? error : EAGAIN));
    return ERR_IO;
}

enum err process_start(const struct process_spec *spec, struct process **out_process,
                       struct buf *why)
{
    CLEANUP(pipes_release) struct pipes pipes = {-1, {-1, -1}, {-1, -1}};
    CLEANUP(buf_release) struct buf order = BUF_INIT;
    enum err e = make_order(spec, &order, why);

    if (e != ERR_OK)
        return e;
    if (!process_tree_works()) {
        buf_adds(why,
                 "this system has no /proc/PID/task/TID/children: what a program leaves "
                 "behind could not be found, so none is started");
        return ERR_NOT_IMPLEMENTED;
    }
    if (!pipes_open(&pipes, spec->stdin_fd)) {
        buf_addf(why, "no pipe for a child process: %s", strerror(errno));
        return ERR_IO;
    }
    struct process *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NO_MEMORY;
    e = send_order(&order, &pipes, &p->supervisor, why);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    p->sweep = -1;
    p->out = pipes.out[0];
    p->err = pipes.err[0];
    pipes.out[0] = pipes.err[0] = -1;
    *out_process = p;
    return ERR_OK;
}

/* -- while it runs ------------------------------------------------------------------ */

int process_out_fd(const struct process *p)
{
    return p->out;
}

int process_err_fd(const struct process *p)
{
    return p->err;
}

int process_fd(const struct process *p)
{
    return p->sweep >= 0 ? p->sweep : p->supervisor.socket;
}

bool process_lost(const struct process *p)
{
    return p->end.fate == PROCESS_LOST;
}

void process_close_out(struct process *p)
{
    close_fd(&p->out);
    p->out = -1;
}

void process_close_err(struct process *p)
{
    close_fd(&p->err);
    p->err = -1;
}

/* A supervisor that cannot be told has died, and process_ended() will say so. */
static void send_small_order(struct process *p, enum supervisor_order_kind kind)
{
    struct supervisor_order order = {.kind = kind};

    if (!p->ended && !process_lost(p))
        (void)message_send(p->supervisor.socket, &order, sizeof order, NULL, 0,
                           PROCESS_DEADLINE_MS);
}

void process_terminate(struct process *p)
{
    if (!p->terminated)
        send_small_order(p, SUPERVISOR_TERMINATE);
    p->terminated = true;
}

void process_kill(struct process *p)
{
    send_small_order(p, SUPERVISOR_KILL);
}

/* -- the end ------------------------------------------------------------------------ */

/* The supervisor was killed. The zygote kills what it watched and closes the socket when
 * nothing is left of it. */
static void lose(struct process *p)
{
    pthread_mutex_lock(&zygote.lock);
    p->sweep = zygote_ask_locked(ZYGOTE_SWEEP, p->supervisor.pid);
    pthread_mutex_unlock(&zygote.lock);
    p->end.fate = PROCESS_LOST;
    p->ended = p->sweep < 0;
}

static bool is_closed(int socket)
{
    char nothing;

    return recv(socket, &nothing, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

static void read_end(const struct supervisor_report *r, struct process_end *end)
{
    end->killed = r->killed > 0;
    end->swept = r->swept;
    if (r->error != 0) {
        end->fate = PROCESS_NOT_STARTED;
        end->code = r->error;
        end->in_directory = r->in_directory != 0;
    } else if (WIFSIGNALED(r->status)) {
        end->fate = PROCESS_SIGNALLED;
        end->code = WTERMSIG(r->status);
    } else {
        end->fate = PROCESS_EXITED;
        end->code = WEXITSTATUS(r->status);
    }
}

bool process_ended(struct process *p, struct process_end *out_end)
{
    struct supervisor_report report;

    while (!p->ended && !process_lost(p)) {
        ssize_t len = recv(p->supervisor.socket, &report, sizeof report, MSG_DONTWAIT);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0 && errno == EAGAIN)
            return false;
        if (len != (ssize_t)sizeof report) {
            lose(p);
        } else if (report.kind == SUPERVISOR_HELLO) {
            p->supervisor.pid = report.supervisor;
        } else {
            read_end(&report, &p->end);
            p->ended = true;
        }
    }
    p->ended = p->ended || is_closed(p->sweep);
    if (p->ended)
        *out_end = p->end;
    return p->ended;
}

void process_close(struct process *p)
{
    if (p == NULL)
        return;
    process_close_out(p);
    process_close_err(p);
    close_fd(&p->sweep);
    if (p->ended && !process_lost(p))
        supervisor_give_back(p->supervisor);
    else
        close_fd(&p->supervisor.socket);
    free(p);
}
