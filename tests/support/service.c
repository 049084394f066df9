/* The program's log goes to a file that has no name and no reader to keep up with: it
 * tells the port, and tests look for lines in it. Rejected: to run the parts inside of
 * the test, which would test all but main.c and could not be killed. */
#include "tests/support/service.h"

#include "server/core/clock.h"
#include "tests/support/service_private.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SERVICES_MAX = 8, FLAGS_MAX = 40, LOOK_MS = 10, PATIENCE_MS = 20000 };

static struct service *services[SERVICES_MAX];
static int n_services;

/* Found from here to the end, so that they are no leak. */
static struct text {
    struct text *next;
    char *text;
} * texts;

char *text_of(const char *format, ...)
{
    struct text *t = calloc(1, sizeof *t);
    va_list args;

    cr_assert_not_null(t);
    va_start(args, format);
    cr_assert_geq(vasprintf(&t->text, format, args), 0);
    va_end(args);
    t->next = texts;
    texts = t;
    return t->text;
}

/* What was only looked at would fill the screen. */
static void show_log(struct service *s)
{
    char *rest = NULL;

    fprintf(stderr, "-- log of process %d\n", (int)s->pid);
    for (char *line = strtok_r(text_of("%s", service_log(s)), "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, "method=GET") == NULL)
            fprintf(stderr, "%s\n", line);
    }
}

void look_again_or_fail(int looks, const char *what, const char *file, int line)
{
    static int64_t since_ms;

    if (looks == 0)
        since_ms = clock_ms();
    if (clock_ms() - since_ms >= PATIENCE_MS) {
        for (int i = 0; i < n_services; i++)
            show_log(services[i]);
        cr_assert_fail("%s:%d: never came true: %s", file, line, what);
    }
    sleep_ms(LOOK_MS);
}

/* -- its life ------------------------------------------------------------------------ */

static void exec_service(struct service *s, const char *database_url, char *flags,
                         pid_t parent)
{
    const char *binary = getenv("BELAY_BINARY");
    char *argv[FLAGS_MAX + 6] = {(char[]){"belay"}, (char[]){"serve"},
                                 (char[]){"--drain-seconds"}, (char[]){"0"}};
    char *rest;
    int argc = 4;

    for (char *flag = strtok_r(flags, " ", &rest); flag != NULL && argc < FLAGS_MAX;
         flag = strtok_r(NULL, " ", &rest))
        argv[argc++] = flag;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* the test has ended meanwhile */
    setenv("DATABASE_URL", database_url, 1);
    setenv("PORT", "0", 1);
    setenv("BELAY_LOG_FORMAT", "logfmt", 0);
    dup2(s->log_fd, STDOUT_FILENO);
    dup2(s->log_fd, STDERR_FILENO);
    execv(binary != NULL ? binary : "build/belay", argv);
    dprintf(STDERR_FILENO, "exec: %s\n", strerror(errno));
    _exit(127);
}

/* The port once it is known; the test fails when the service ends before. */
static int find_port(struct service *s)
{
    const char *url = strstr(service_log(s), "url=http://127.0.0.1:");

    cr_assert(!service_has_ended(s), "it did not start:\n%s", service_log(s));
    return url != NULL && strchr(url, '\n') != NULL ? (int)strtol(url + 21, NULL, 10) : 0;
}

struct service *service_start_unready(const char *database_url, const char *flags)
{
    struct service *s = calloc(1, sizeof *s);
    pid_t parent = getpid();

    cr_assert(s != NULL && n_services < SERVICES_MAX);
    s->log_fd = memfd_create("belay-log", MFD_CLOEXEC);
    s->pid = fork();
    if (s->pid == 0)
        exec_service(s, database_url, text_of("%s", flags != NULL ? flags : ""), parent);
    services[n_services++] = s;
    wait_until((s->port = find_port(s)) != 0);
    return s;
}

struct service *service_start(const char *database_url, const char *flags)
{
    struct service *s = service_start_unready(database_url, flags);

    wait_until(http(s, "GET", "/readyz", NULL, NULL)->status == 200);
    return s;
}

bool service_has_ended(struct service *s)
{
    int status;

    if (!s->ended && waitpid(s->pid, &status, WNOHANG) == s->pid) {
        s->ended = true;
        s->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return s->ended;
}

pid_t service_pid(const struct service *s)
{
    return s->pid;
}

void service_signal(struct service *s, int sig)
{
    cr_assert(!service_has_ended(s), "it has ended:\n%s", service_log(s));
    cr_assert_eq(kill(s->pid, sig), 0);
}

int service_stop(struct service *s)
{
    if (!service_has_ended(s)) {
        kill(s->pid, SIGTERM);
        kill(s->pid, SIGCONT); /* a failed test may have left it paused */
    }
    wait_until(service_has_ended(s));
    if (s->exit_code != 0)
        show_log(s);
    return s->exit_code;
}

void service_crash(struct service *s)
{
    service_signal(s, SIGKILL);
    wait_until(service_has_ended(s));
    s->crashed = true;
}

void service_stop_all(void)
{
    for (int i = 0; i < n_services; i++) {
        if (!services[i]->crashed)
            cr_expect_eq(service_stop(services[i]), 0);
    }
}

/* -- its log ------------------------------------------------------------------------- */

const char *service_log(struct service *s)
{
    struct stat st = {.st_size = 0};

    free(s->log);
    fstat(s->log_fd, &st);
    s->log = calloc(1, (size_t)st.st_size + 1);
    if (s->log == NULL || pread(s->log_fd, s->log, (size_t)st.st_size, 0) < 0)
        cr_assert_fail("the log cannot be read");
    return s->log;
}

bool service_logged(struct service *s, const char *words)
{
    return strstr(service_log(s), words) != NULL;
}

/* -- files --------------------------------------------------------------------------- */

const char *scratch_path(const char *name)
{
    const char *dir = getenv("BELAY_TEST_CLUSTER_DIR"); /* goes with the test program */
    static int number;

    return text_of("%s/scratch-%d-%d-%s", dir != NULL ? dir : "/tmp", (int)getpid(),
                   ++number, name);
}

void scratch_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    cr_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0, "%s: %s", path,
              strerror(errno));
}
