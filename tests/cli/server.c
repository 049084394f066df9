#include "tests/cli/server.h"

#include "server/cli/cli.h"
#include "server/core/err.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWERS_MAX = 8, ARGS_MAX = 48 };

struct asked asked;
struct ran ran;

static struct {
    int status;
    const char *head, *body;
} answers[ANSWERS_MAX];
static int n_answers;

void answer_with_head(int status, const char *head, const char *body)
{
    answers[n_answers].status = status;
    answers[n_answers].head = head;
    answers[n_answers++].body = body;
}

void answer_with(int status, const char *body)
{
    answer_with_head(status, "X-Nothing: 1", body);
}

/* -- the server ---------------------------------------------------------------------- */

/* Reads a request whole: to the end of its head, and then what Content-Length says. */
static bool read_request(int fd)
{
    static char text[sizeof asked.head + sizeof asked.body];
    size_t len = 0, want = 0;
    char *end = NULL;

    while (end == NULL || (size_t)(end + 4 - text) + want > len) {
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
        const char *length = end != NULL ? strstr(text, "Content-Length: ") : NULL;
        want = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    }
    snprintf(asked.body, sizeof asked.body, "%s", end + 4);
    end[0] = '\0';
    snprintf(asked.head, sizeof asked.head, "%.4095s", text);
    end = strstr(asked.head, " HTTP/1.1");
    snprintf(asked.line, sizeof asked.line, "%.*s", (int)(end - asked.head), asked.head);
    return true;
}

static void *serve(void *arg)
{
    int listener = *(int *)arg;

    for (int i = 0; i < n_answers; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            break;
        if (read_request(fd) && answers[i].status > 0)
            dprintf(fd,
                    "HTTP/1.1 %d Words\r\nContent-Type: application/json\r\n%s\r\n"
                    "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                    answers[i].status, answers[i].head, strlen(answers[i].body),
                    answers[i].body);
        close(fd);
    }
    return NULL;
}

static int listen_on_any_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(fd, 8), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    setenv("BELAY_URL", url, 1);
    return fd;
}

/* -- the verb ------------------------------------------------------------------------ */

static void take_text(FILE *file, int fd, int saved, char *text, size_t room)
{
    ssize_t len = pread(fileno(file), text, room - 1, 0);

    text[len > 0 ? len : 0] = '\0';
    dup2(saved, fd);
    close(saved);
    fclose(file);
}

void run_alone_with(const char *const *args)
{
    char *argv[ARGS_MAX] = {strdup("belay")};
    int argc = 1, saved_out, saved_err;
    FILE *out = tmpfile(), *err = tmpfile();

    for (; args[argc - 1] != NULL; argc++)
        argv[argc] = strdup(args[argc - 1]);
    fflush(stdout);
    saved_out = dup(STDOUT_FILENO);
    saved_err = dup(STDERR_FILENO);
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    ran.code = cli_main(argc, argv);
    fflush(stdout);
    take_text(out, STDOUT_FILENO, saved_out, ran.out, sizeof ran.out);
    take_text(err, STDERR_FILENO, saved_err, ran.err, sizeof ran.err);
    while (argc > 0)
        free(argv[--argc]);
}

void run_verb_with(const char *const *args)
{
    int listener = listen_on_any_port();
    pthread_t thread;

    memset(&asked, 0, sizeof asked);
    cr_assert_eq(pthread_create(&thread, NULL, serve, &listener), 0);
    run_alone_with(args);
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
    n_answers = 0;
}

static void expect_part(const char *where, const char *text, const char *part)
{
    if (part[0] == '\0')
        cr_expect_str_eq(text, "", "%s: %s", where, text);
    else
        cr_expect_not_null(strstr(text, part), "no \"%s\" in %s: %s", part, where, text);
}

void expect(int code, const char *out, const char *err)
{
    cr_expect_eq(ran.code, code, "exit code %d; %s", ran.code, ran.err);
    expect_part("stdout", ran.out, out);
    expect_part("stderr", ran.err, err);
}
