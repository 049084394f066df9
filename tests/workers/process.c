#include "workers/process.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { DEADLINE_MS = 20000 };

static void start_zygote(void)
{
    cr_assert_eq(process_zygote_start(), ERR_OK);
}

TestSuite(process, .init = start_zygote, .fini = process_zygote_stop, .timeout = 60);

static const char *const plain_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin",
                                        "LANG=C.UTF-8", NULL};

static struct process *start(const char *const *argv)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct process_spec spec = {.argv = argv, .env = plain_env, .stdin_fd = -1};
    struct process *p = NULL;
    enum err e = process_start(&spec, &p, &why);

    cr_assert_eq(e, ERR_OK, "%s", why.text);
    return p;
}

static struct process *start_script(const char *script)
{
    /* $1 is the script itself, for those that run themselves again */
    const char *argv[] = {"/bin/sh", "-c", script, "sh", script, NULL};

    return start(argv);
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms) > 0;
}

static void await_end(struct process *p, struct process_end *end)
{
    int64_t give_up_ms = clock_ms() + DEADLINE_MS;

    while (!process_ended(p, end)) {
        cr_assert(clock_ms() < give_up_ms, "the process does not end");
        readable(process_fd(p), 100);
    }
}

/* All that there is to read now or, before the end of file, within the deadline. */
static void read_all(int fd, struct buf *out)
{
    char chunk[4096];
    ssize_t len;

    while (readable(fd, DEADLINE_MS) && (len = read(fd, chunk, sizeof chunk)) > 0)
        buf_add(out, chunk, (size_t)len);
}

static void read_line(int fd, char *line, size_t room)
{
    size_t len = 0;

    while (len + 1 < room && readable(fd, DEADLINE_MS) && read(fd, line + len, 1) == 1) {
        if (line[len] == '\n')
            break;
        len++;
    }
    line[len] = '\0';
}

static pid_t read_pid(int fd)
{
    char line[32];

    read_line(fd, line, sizeof line);
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    cr_assert_gt(pid, 0, "no pid but \"%s\"", line);
    return pid;
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Runs a script to its end and keeps what it wrote. */
static void run_script(const char *script, struct buf *out, struct buf *err,
                       struct process_end *end)
{
    struct process *p = start_script(script);

    if (out != NULL)
        read_all(process_out_fd(p), out);
    if (err != NULL)
        read_all(process_err_fd(p), err);
    await_end(p, end);
    process_close(p);
}

Test(process, output_and_exit_code_are_reported)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT, err = BUF_INIT;
    struct process_end end;

    run_script("echo out; echo err >&2; exit 7", &out, &err, &end);
    cr_assert_eq(end.fate, PROCESS_EXITED);
    cr_assert_eq(end.code, 7);
    cr_assert_eq(end.swept, 0);
    cr_assert_not(end.killed);
    cr_assert_str_eq(out.text, "out\n");
    cr_assert_str_eq(err.text, "err\n");
}

Test(process, a_signal_that_ended_it_is_reported)
{
    struct process_end end;

    run_script("kill -SEGV $$", NULL, NULL, &end);
    cr_assert_eq(end.fate, PROCESS_SIGNALLED);
    cr_assert_eq(end.code, SIGSEGV);
    cr_assert_not(end.killed);
}

Test(process, a_missing_program_is_told_with_its_errno)
{
    const char *argv[] = {"/no/such/program", NULL};
    struct process *p = start(argv);
    struct process_end end;

    await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_NOT_STARTED);
    cr_assert_eq(end.code, ENOENT);
    cr_assert_not(end.in_directory);
    process_close(p);
}

Test(process, a_missing_directory_is_told_apart_from_a_missing_program)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    const char *argv[] = {"/bin/true", NULL};
    struct process_spec spec = {
        .argv = argv, .env = plain_env, .directory = "/no/such/place", .stdin_fd = -1};
    struct process *p = NULL;
    struct process_end end;

    cr_assert_eq(process_start(&spec, &p, &why), ERR_OK);
    await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_NOT_STARTED);
    cr_assert_eq(end.code, ENOENT);
    cr_assert(end.in_directory);
    process_close(p);
}

Test(process, a_supervisor_survives_a_program_that_could_not_start)
{
    CLEANUP(buf_release) struct buf before = BUF_INIT, after = BUF_INIT;
    const char *argv[] = {"/no/such/program", NULL};
    struct process_end end;

    run_script("echo $PPID", &before, NULL, &end);
    struct process *p = start(argv);
    await_end(p, &end);
    process_close(p);
    run_script("echo $PPID", &after, NULL, &end);
    cr_assert_str_eq(before.text, after.text);
}

Test(process, arguments_that_do_not_fit_are_refused_before_the_start)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    CLEANUP(free_ptr) char *big = calloc(1, PROCESS_COMMAND_MAX + 1);
    const char *argv[] = {"/bin/true", big, NULL};
    struct process_spec spec = {.argv = argv, .env = plain_env, .stdin_fd = -1};
    struct process *p = NULL;

    memset(big, 'x', PROCESS_COMMAND_MAX);
    cr_assert_eq(process_start(&spec, &p, &why), ERR_INVALID);
    cr_assert(strstr(why.text, "at most") != NULL, "%s", why.text);
}

Test(process, arguments_close_to_the_limits_arrive_whole)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    CLEANUP(free_ptr)
    char *big = calloc(1, 128 * 1024); /* the kernel's limit of one, with the NUL */
    const char *argv[] = {"/bin/sh", "-c", "printf %s \"$1\" | wc -c", "sh", big, NULL};
    struct process_end end;

    memset(big, 'x', 128 * 1024 - 1);
    struct process *p = start(argv);
    read_all(process_out_fd(p), &out);
    await_end(p, &end);
    cr_assert_eq(end.code, 0);
    cr_assert_eq(strtol(out.text, NULL, 10), 128 * 1024 - 1, "%s", out.text);
    process_close(p);
}

Test(process, a_program_has_only_the_environment_that_it_was_given)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    const char *argv[] = {"/usr/bin/env", NULL};
    struct process_end end;

    setenv("SECRET", "canary", 1);
    struct process *p = start(argv);
    read_all(process_out_fd(p), &out);
    await_end(p, &end);
    cr_assert_str_eq(out.text, "PATH=/usr/local/bin:/usr/bin:/bin\nLANG=C.UTF-8\n");
    process_close(p);
}

Test(process, a_program_has_no_descriptors_but_the_standard_ones)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process_end end;
    int canary = open("/dev/null", O_RDONLY); /* not close-on-exec */

    run_script("ls /proc/$$/fd", &out, NULL, &end);
    /* dash keeps 10 for itself only when it reads a script file; -c needs none */
    cr_assert_str_eq(out.text, "0\n1\n2\n");
    close(canary);
}

Test(process, a_program_starts_with_default_and_open_signals)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    const char *argv[] = {"/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", NULL};
    struct process_end end;
    sigset_t term;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    struct process *p = start(argv);
    read_all(process_out_fd(p), &out);
    await_end(p, &end);
    cr_assert_str_eq(out.text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    process_close(p);
}

Test(process, sigterm_reaches_children_in_other_sessions)
{
    struct process *p = start_script("setsid sh -c 'trap \"echo heard; exit\" TERM; echo "
                                     "ready; while :; do sleep 0.01; done' & wait");
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process_end end;
    char line[32];

    read_line(process_out_fd(p), line, sizeof line);
    cr_assert_str_eq(line, "ready");
    process_terminate(p);
    read_all(process_out_fd(p), &out);
    await_end(p, &end);
    cr_assert_str_eq(out.text, "heard\n");
    cr_assert_eq(end.fate, PROCESS_SIGNALLED);
    cr_assert_eq(end.code, SIGTERM);
    cr_assert_not(end.killed);
    process_close(p);
}

Test(process, sigterm_wakes_a_stopped_program)
{
    struct process *p = start_script("echo $$; kill -STOP $$; sleep 1000");
    struct process_end end;

    read_pid(process_out_fd(p));
    process_terminate(p);
    await_end(p, &end);
    cr_assert_eq(end.code, SIGTERM);
    process_close(p);
}

Test(process, what_ignores_sigterm_is_killed)
{
    struct process *p =
        start_script("trap '' TERM; echo $$; while :; do sleep 0.01; done");
    pid_t pid = read_pid(process_out_fd(p));
    struct process_end end;

    process_terminate(p);
    cr_assert_not(process_ended(p, &end));
    process_kill(p);
    await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_SIGNALLED);
    cr_assert_eq(end.code, SIGKILL);
    cr_assert(end.killed);
    cr_assert(is_gone(pid));
    process_close(p);
}

/* A daemon as the book has it: fork, setsid, fork; and it ignores SIGTERM. It prints its
 * pid. */
#define DAEMON                                                                           \
    "( setsid sh -c '( trap \"\" TERM HUP; echo $(exec sh -c \"echo \\$PPID\"); "        \
    "while :; do sleep 0.01; done ) &' & ); "

Test(process, a_daemon_that_ignores_sigterm_is_killed_with_its_program)
{
    struct process *p = start_script(DAEMON "exec sleep 1000");
    pid_t daemon = read_pid(process_out_fd(p));
    struct process_end end;

    process_terminate(p);
    cr_assert_not(readable(process_fd(p), 50) && process_ended(p, &end),
                  "its daemon has not ended, so it has not either");
    process_kill(p);
    await_end(p, &end);
    cr_assert_eq(end.code, SIGTERM, "the program itself obeyed");
    cr_assert(end.killed, "but its daemon had to be killed");
    cr_assert(is_gone(daemon));
    process_close(p);
}

Test(process, what_a_program_leaves_behind_is_swept)
{
    struct process *p = start_script(DAEMON "read -r line < /proc/self/stat; exit 3");
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process_end end;

    await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_EXITED);
    cr_assert_eq(end.code, 3);
    cr_assert_not(end.killed, "nobody asked it to stop");
    cr_assert_gt(end.swept, 0);
    read_all(process_out_fd(p), &out);
    pid_t daemon = (pid_t)strtol(out.text, NULL, 10);
    cr_assert(daemon == 0 || is_gone(daemon));
    process_close(p);
}

Test(process, what_runs_from_child_to_child_is_caught)
{
    /* Each link of a chain makes the next one, in a session of its own, and exits. */
    struct process *p = start_script("[ -n \"$2\" ] || { for i in 1 2 3; do setsid sh -c "
                                     "\"$1\" sh \"$1\" on & done; echo $$; }; "
                                     "setsid sh -c \"$1\" sh \"$1\" on & exit 0");
    struct process_end end;

    read_pid(process_out_fd(p));
    process_kill(p);
    await_end(p, &end);
    process_close(p);
}

Test(process, a_close_without_an_end_kills)
{
    struct process *p = start_script(DAEMON "wait; sleep 1000");
    pid_t daemon = read_pid(process_out_fd(p));
    CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, daemon, 0);

    process_close(p);
    cr_assert(readable(fd, DEADLINE_MS));
}

Test(process, nothing_survives_a_kill_9_of_the_service)
{
    int ends[2];
    pid_t pids[2];

    cr_assert_eq(pipe(ends), 0);
    pid_t service = fork();
    if (service == 0) {
        process_zygote_stop(); /* the zygote that it inherited is the test's */
        if (process_zygote_start() != ERR_OK)
            _exit(1);
        struct process *p =
            start_script(DAEMON "echo $$; trap '' TERM; sleep 1000; sleep 1000");
        pids[0] = read_pid(process_out_fd(p));
        pids[1] = read_pid(process_out_fd(p));
        if (write(ends[1], pids, sizeof pids) != (ssize_t)sizeof pids)
            _exit(1);
        for (;;)
            pause();
    }
    cr_assert(readable(ends[0], DEADLINE_MS));
    cr_assert_eq(read(ends[0], pids, sizeof pids), (ssize_t)sizeof pids);
    CLEANUP(close_fd) int first = (int)syscall(SYS_pidfd_open, pids[0], 0);
    CLEANUP(close_fd) int second = (int)syscall(SYS_pidfd_open, pids[1], 0);
    cr_assert(first >= 0 && second >= 0);
    cr_assert_not(readable(first, 0) || readable(second, 0));
    kill(service, SIGKILL);
    cr_assert(readable(first, DEADLINE_MS) && readable(second, DEADLINE_MS));
    waitpid(service, NULL, 0);
    close(ends[0]);
    close(ends[1]);
}

Test(process, a_killed_supervisor_takes_its_tree_along)
{
    struct process *p = start_script(DAEMON "echo $PPID; sleep 1000");
    pid_t one = read_pid(process_out_fd(p)), two = read_pid(process_out_fd(p));
    bool first_is_daemon = false;
    char comm[64], name[32] = "";
    struct process_end end;

    snprintf(comm, sizeof comm, "/proc/%d/comm", (int)two);
    CLEANUP(close_fd) int fd = open(comm, O_RDONLY);
    read_line(fd, name, sizeof name);
    first_is_daemon = strcmp(name, "job-supervisor") == 0;
    kill(first_is_daemon ? two : one, SIGKILL);
    await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_LOST);
    cr_assert(is_gone(first_is_daemon ? one : two), "the daemon lives");
    process_close(p);
}

Test(process, a_killed_zygote_is_replaced)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process *p = start_script("cut -d' ' -f4 /proc/$PPID/stat; sleep 1000");
    pid_t dead = read_pid(process_out_fd(p));
    struct process_end end;
    CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, dead, 0);

    kill(dead, SIGKILL);
    cr_assert(readable(fd, DEADLINE_MS));
    run_script("echo alive", &out, NULL, &end);
    cr_assert_eq(end.code, 0);
    cr_assert_str_eq(out.text, "alive\n");
    process_kill(p); /* its supervisor works on */
    await_end(p, &end);
    cr_assert_eq(end.code, SIGKILL);
    process_close(p);
}

Test(process, two_hundred_runs_leave_no_descriptor_and_no_child)
{
    struct process_end end;

    run_script("exit 0", NULL, NULL, &end);
    int before = open_fds();
    for (int i = 0; i < 200; i++) {
        run_script("exit 0", NULL, NULL, &end);
        cr_assert_eq(end.code, 0);
    }
    cr_assert_eq(open_fds(), before);
}

static void *run_many(void *arg)
{
    for (int i = 0; i < 25; i++) {
        CLEANUP(buf_release) struct buf out = BUF_INIT;
        struct process_end end;
        char script[64], expected[16];
        int mine = *(int *)arg * 100 + i;
        snprintf(script, sizeof script, "echo %d; exit %d", mine, i);
        snprintf(expected, sizeof expected, "%d\n", mine);
        run_script(script, &out, NULL, &end);
        cr_expect_eq(end.code, i);
        cr_expect_str_eq(out.text, expected);
    }
    return NULL;
}

Test(process, eight_threads_do_not_mix_their_programs)
{
    pthread_t threads[8];
    int numbers[8];

    for (int i = 0; i < 8; i++) {
        numbers[i] = i + 1;
        cr_assert_eq(pthread_create(&threads[i], NULL, run_many, &numbers[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
}
