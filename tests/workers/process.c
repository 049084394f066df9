#include "workers/process.h"

#include "server/core/cleanup.h"
#include "tests/workers/children.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

TestSuite(process, .init = child_start_zygote, .fini = process_zygote_stop,
          .timeout = 60);

static int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

Test(process, output_and_exit_code_are_reported)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT, err = BUF_INIT;
    struct process_end end;

    child_run_script("echo out; echo err >&2; exit 7", &out, &err, &end);
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

    child_run_script("kill -SEGV $$", NULL, NULL, &end);
    cr_assert_eq(end.fate, PROCESS_SIGNALLED);
    cr_assert_eq(end.code, SIGSEGV);
    cr_assert_not(end.killed);
}

Test(process, a_missing_program_is_told_with_its_errno)
{
    const char *argv[] = {"/no/such/program", NULL};
    struct process *p = child_start(argv);
    struct process_end end;

    child_await_end(p, &end);
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
        .argv = argv, .env = child_env, .directory = "/no/such/place", .stdin_fd = -1};
    struct process *p = NULL;
    struct process_end end;

    cr_assert_eq(process_start(&spec, &p, &why), ERR_OK);
    child_await_end(p, &end);
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

    child_run_script("echo $PPID", &before, NULL, &end);
    struct process *p = child_start(argv);
    child_await_end(p, &end);
    process_close(p);
    child_run_script("echo $PPID", &after, NULL, &end);
    cr_assert_str_eq(before.text, after.text);
}

Test(process, arguments_that_do_not_fit_are_refused_before_the_start)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    CLEANUP(free_ptr) char *big = calloc(1, PROCESS_COMMAND_MAX + 1);
    const char *argv[] = {"/bin/true", big, NULL};
    struct process_spec spec = {.argv = argv, .env = child_env, .stdin_fd = -1};
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
    struct process *p = child_start(argv);
    child_read_all(process_out_fd(p), &out);
    child_await_end(p, &end);
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
    struct process *p = child_start(argv);
    child_read_all(process_out_fd(p), &out);
    child_await_end(p, &end);
    cr_assert_str_eq(out.text, "PATH=/usr/local/bin:/usr/bin:/bin\nLANG=C.UTF-8\n");
    process_close(p);
}

Test(process, a_program_has_no_descriptors_but_the_standard_ones)
{
    CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct process_end end;
    int canary = open("/dev/null", O_RDONLY); /* not close-on-exec */

    child_run_script("ls /proc/$$/fd", &out, NULL, &end);
    /* dash keeps 10 for itself only when it reads a script file; -c needs none */
    cr_assert_str_eq(out.text, "0\n1\n2\n");
    close(canary);
}

static unsigned long mask_of(const char *status, const char *name)
{
    const char *line = strstr(status, name);

    cr_assert_not_null(line, "no %s in %s", name, status);
    return strtoul(line + strlen(name), NULL, 16);
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
    struct process *p = child_start(argv);
    child_read_all(process_out_fd(p), &out);
    child_await_end(p, &end);
    cr_assert_eq(mask_of(out.text, "SigBlk:"), 0u, "%s", out.text);
    /* 32 and 33 are libc's own, and whoever was started by make 4.3 ignores them */
    cr_assert_eq(mask_of(out.text, "SigIgn:") & ~(3ul << 31), 0u, "%s", out.text);
    process_close(p);
}

Test(process, two_hundred_runs_leave_no_descriptor_and_no_child)
{
    struct process_end end;

    child_run_script("exit 0", NULL, NULL, &end);
    int before = open_fds();
    for (int i = 0; i < 200; i++) {
        child_run_script("exit 0", NULL, NULL, &end);
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
        child_run_script(script, &out, NULL, &end);
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
