/* See children.h. */
#include "tests/workers/children.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

void child_start_zygote(void)
{
    cr_assert_eq(process_zygote_start(), ERR_OK);
}

const char *const child_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
                                 NULL};

struct process *child_start(const char *const *argv)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct process_spec spec = {.argv = argv, .env = child_env, .stdin_fd = -1};
    struct process *p = NULL;
    enum err e = process_start(&spec, &p, &why);

    cr_assert_eq(e, ERR_OK, "%s", why.text);
    return p;
}

struct process *child_start_script(const char *script)
{
    /* $1 is the script itself, for those that run themselves again */
    const char *argv[] = {"/bin/sh", "-c", script, "sh", script, NULL};

    return child_start(argv);
}

bool child_readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms) > 0;
}

void child_await_end(struct process *p, struct process_end *end)
{
    int64_t give_up_ms = clock_ms() + CHILD_DEADLINE_MS;

    while (!process_ended(p, end)) {
        cr_assert(clock_ms() < give_up_ms, "the process does not end");
        child_readable(process_fd(p), 100);
    }
}

/* All that there is to read now or, before the end of file, within the deadline. */
void child_read_all(int fd, struct buf *out)
{
    char chunk[4096];
    ssize_t len;

    while (child_readable(fd, CHILD_DEADLINE_MS) &&
           (len = read(fd, chunk, sizeof chunk)) > 0)
        buf_add(out, chunk, (size_t)len);
}

void child_read_line(int fd, char *line, size_t room)
{
    size_t len = 0;

    while (len + 1 < room && child_readable(fd, CHILD_DEADLINE_MS) &&
           read(fd, line + len, 1) == 1) {
        if (line[len] == '\n')
            break;
        len++;
    }
    line[len] = '\0';
}

pid_t child_read_pid(int fd)
{
    char line[32];

    child_read_line(fd, line, sizeof line);
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    cr_assert_gt(pid, 0, "no pid but \"%s\"", line);
    return pid;
}

/* Runs a script to its end and keeps what it wrote. */
void child_run_script(const char *script, struct buf *out, struct buf *err,
                      struct process_end *end)
{
    struct process *p = child_start_script(script);

    if (out != NULL)
        child_read_all(process_out_fd(p), out);
    if (err != NULL)
        child_read_all(process_err_fd(p), err);
    child_await_end(p, end);
    process_close(p);
}
