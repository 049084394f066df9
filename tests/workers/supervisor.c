/* That nothing survives: neither its program, nor the supervisor, nor the service. */
#include "workers/supervisor.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/workers/children.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(supervisor, .init = child_start_zygote, .fini = process_zygote_stop,
          .timeout = 60);

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

Test(supervisor, sigterm_reaches_children_in_other_sessions)
{
    struct process *p =
        child_start_script("setsid sh -c 'trap \"echo heard; exit\" TERM; echo "
                           "ready; while :; do sleep 0.01; done' & wait");
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process_end end;
    char line[32];

    child_read_line(process_out_fd(p), line, sizeof line);
    cr_assert_str_eq(line, "ready");
    process_terminate(p);
    child_read_all(process_out_fd(p), &out);
    child_await_end(p, &end);
    cr_assert_str_eq(out.text, "heard\n");
    cr_assert_eq(end.fate, PROCESS_SIGNALLED);
    cr_assert_eq(end.code, SIGTERM);
    cr_assert_not(end.killed);
    process_close(p);
}

/* A shell that dies of it hands its children on while they are looked for. */
Test(supervisor, sigterm_misses_no_child_of_a_program_that_is_gone_first)
{
    struct process_end end;
    char line[32];

    for (int i = 0; i < 300; i++) {
        struct process *p = child_start_script(
            "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo ready; wait");
        child_read_line(process_out_fd(p), line, sizeof line);
        process_terminate(p);
        child_await_end(p, &end);
        cr_assert_eq(end.code, SIGTERM);
        process_close(p);
    }
}

Test(supervisor, sigterm_wakes_a_stopped_program)
{
    struct process *p = child_start_script("echo $$; kill -STOP $$; sleep 1000");
    struct process_end end;

    child_read_pid(process_out_fd(p));
    process_terminate(p);
    child_await_end(p, &end);
    cr_assert_eq(end.code, SIGTERM);
    process_close(p);
}

static void sleep_until_sigterm(void)
{
    for (;;)
        pause();
}

Test(supervisor, sigterm_reaches_a_child_that_has_only_just_been_forked)
{
    static const char *const argv[] = {"entry", NULL};
    struct process_spec spec = {
        .argv = argv, .env = child_env, .stdin_fd = -1, .is_entry = true};

    process_zygote_stop();
    process_set_entry(sleep_until_sigterm);
    child_start_zygote(); /* that knows the entry */
    for (int i = 0; i < 200; i++) {
        CLEANUP(buf_release) struct buf why = BUF_INIT;
        struct process_end end;
        struct process *p;
        cr_assert_eq(process_start(&spec, &p, &why), ERR_OK, "%s", why.text);
        process_terminate(p);
        child_await_end(p, &end);
        cr_assert_eq(end.code, SIGTERM);
        cr_assert_not(end.killed);
        process_close(p);
    }
}

Test(supervisor, what_ignores_sigterm_is_killed)
{
    struct process *p =
        child_start_script("trap '' TERM; echo $$; while :; do sleep 0.01; done");
    pid_t pid = child_read_pid(process_out_fd(p));
    struct process_end end;

    process_terminate(p);
    cr_assert_not(process_ended(p, &end));
    process_kill(p);
    child_await_end(p, &end);
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

Test(supervisor, a_daemon_that_ignores_sigterm_is_killed_with_its_program)
{
    struct process *p = child_start_script(DAEMON "exec sleep 1000");
    pid_t daemon = child_read_pid(process_out_fd(p));
    struct process_end end;

    process_terminate(p);
    usleep(100 * 1000);
    cr_assert_not(process_ended(p, &end),
                  "its daemon has not ended, so it has not either");
    process_kill(p);
    child_await_end(p, &end);
    cr_assert_eq(end.code, SIGTERM, "the program itself obeyed");
    cr_assert(end.killed, "but its daemon had to be killed");
    cr_assert(is_gone(daemon));
    process_close(p);
}

Test(supervisor, what_a_program_leaves_behind_is_swept)
{
    struct process *p =
        child_start_script(DAEMON "read -r line < /proc/self/stat; exit 3");
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process_end end;

    child_await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_EXITED);
    cr_assert_eq(end.code, 3);
    cr_assert_not(end.killed, "nobody asked it to stop");
    cr_assert_gt(end.swept, 0);
    child_read_all(process_out_fd(p), &out);
    pid_t daemon = (pid_t)strtol(out.text, NULL, 10);
    cr_assert(daemon == 0 || is_gone(daemon));
    process_close(p);
}

Test(supervisor, what_runs_from_child_to_child_is_caught)
{
    /* Each link of a chain makes the next one, in a session of its own, and exits. */
    struct process *p =
        child_start_script("[ -n \"$2\" ] || { for i in 1 2 3; do setsid sh -c "
                           "\"$1\" sh \"$1\" on & done; echo $$; }; "
                           "setsid sh -c \"$1\" sh \"$1\" on & exit 0");
    struct process_end end;

    child_read_pid(process_out_fd(p));
    process_kill(p);
    child_await_end(p, &end);
    process_close(p);
}

Test(supervisor, a_close_without_an_end_kills)
{
    struct process *p = child_start_script(DAEMON "wait; sleep 1000");
    pid_t daemon = child_read_pid(process_out_fd(p));
    CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, daemon, 0);

    process_close(p);
    cr_assert(child_readable(fd, CHILD_DEADLINE_MS));
}

Test(supervisor, nothing_survives_a_kill_9_of_the_service)
{
    int ends[2];
    pid_t pids[2];

    cr_assert_eq(pipe(ends), 0);
    pid_t service = fork();
    if (service == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
        process_zygote_stop();            /* the zygote that it inherited is the test's */
        if (process_zygote_start() != ERR_OK)
            _exit(1);
        struct process *p =
            child_start_script(DAEMON "echo $$; trap '' TERM; sleep 1000; sleep 1000");
        pids[0] = child_read_pid(process_out_fd(p));
        pids[1] = child_read_pid(process_out_fd(p));
        if (write(ends[1], pids, sizeof pids) != (ssize_t)sizeof pids)
            _exit(1);
        for (;;)
            pause();
    }
    cr_assert(child_readable(ends[0], CHILD_DEADLINE_MS));
    cr_assert_eq(read(ends[0], pids, sizeof pids), (ssize_t)sizeof pids);
    CLEANUP(close_fd) int first = (int)syscall(SYS_pidfd_open, pids[0], 0);
    CLEANUP(close_fd) int second = (int)syscall(SYS_pidfd_open, pids[1], 0);
    cr_assert(first >= 0 && second >= 0);
    cr_assert_not(child_readable(first, 0) || child_readable(second, 0));
    kill(service, SIGKILL);
    cr_assert(child_readable(first, CHILD_DEADLINE_MS) &&
              child_readable(second, CHILD_DEADLINE_MS));
    waitpid(service, NULL, 0);
    close(ends[0]);
    close(ends[1]);
}

/* It prints the pids of its supervisor and of the zygote. */
#define FAMILY "echo $PPID; cut -d' ' -f4 /proc/$PPID/stat; "

Test(supervisor, nobody_waits_for_a_zygote_that_is_slow_to_sweep)
{
    struct process *p = child_start_script(FAMILY "sleep 1000");
    pid_t killed = child_read_pid(process_out_fd(p)),
          slow = child_read_pid(process_out_fd(p));
    struct process_end end;
    bool lost = false;

    kill(slow, SIGSTOP);
    kill(killed, SIGKILL);
    int64_t began_ms = clock_ms();
    while (!lost && clock_ms() < began_ms + CHILD_DEADLINE_MS) {
        child_readable(process_fd(p), 100);
        cr_assert_not(process_ended(p, &end));
        lost = process_lost(p);
    }
    cr_expect(lost);
    cr_expect_lt(clock_ms() - began_ms, 2000);
    cr_expect_not(child_readable(process_fd(p), 100), "it would be asked all the time");
    process_kill(p); /* is no mistake */
    kill(slow, SIGCONT);
    child_await_end(p, &end);
    cr_expect_eq(end.fate, PROCESS_LOST);
    process_close(p);
}

Test(supervisor, a_killed_supervisor_takes_its_tree_along)
{
    struct process *p = child_start_script(DAEMON "echo $PPID; sleep 1000");
    pid_t one = child_read_pid(process_out_fd(p)),
          two = child_read_pid(process_out_fd(p));
    bool first_is_daemon = false;
    char comm[64], name[32] = "";
    struct process_end end;

    snprintf(comm, sizeof comm, "/proc/%d/comm", (int)two);
    CLEANUP(close_fd) int fd = open(comm, O_RDONLY);
    child_read_line(fd, name, sizeof name);
    first_is_daemon = strcmp(name, "job-supervisor") == 0;
    kill(first_is_daemon ? two : one, SIGKILL);
    child_await_end(p, &end);
    cr_assert_eq(end.fate, PROCESS_LOST);
    cr_assert(is_gone(first_is_daemon ? one : two), "the daemon lives");
    process_close(p);
}

Test(supervisor, a_killed_zygote_is_replaced)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process *p = child_start_script(FAMILY "sleep 1000");
    child_read_pid(process_out_fd(p));
    pid_t dead = child_read_pid(process_out_fd(p));
    struct process_end end;
    CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, dead, 0);

    kill(dead, SIGKILL);
    cr_assert(child_readable(fd, CHILD_DEADLINE_MS));
    child_run_script("echo alive", &out, NULL, &end);
    cr_assert_eq(end.code, 0);
    cr_assert_str_eq(out.text, "alive\n");
    process_kill(p); /* its supervisor works on */
    child_await_end(p, &end);
    cr_assert_eq(end.code, SIGKILL);
    process_close(p);
}
