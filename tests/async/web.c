#include "tests/async/web.h"

#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MOST = 256 << 10, PIECE = 4096 };

static int port;
static atomic_int n_connections, n_open;

static void say(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void says(int fd, const char *text)
{
    say(fd, text, strlen(text));
}

static void answer(int fd, const char *head, const char *body, size_t len)
{
    char text[512];

    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", head, len);
    says(fd, text);
    say(fd, body, len);
}

static void send_bytes(int fd, long left)
{
    char piece[PIECE], head[32];

    memset(piece, 'x', sizeof piece);
    says(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (left > 0) {
        long n = left < PIECE ? left : PIECE;
        snprintf(head, sizeof head, "%lx\r\n", (unsigned long)n);
        says(fd, head);
        say(fd, piece, (size_t)n);
        says(fd, "\r\n");
        left -= n;
    }
    says(fd, "0\r\n\r\n");
}

/* Of "/bytes/17", 17. */
static long number_after(const char *path)
{
    return strtol(path + 7, NULL, 10);
}

/* False: no further request on this connection. */
static bool serve(int fd, const char *request, size_t len)
{
    char path[64] = "", head[128];
    const char *from = strchr(request, ' ') + 1;
    long n = number_after(from);

    memcpy(path, from, strcspn(from, " ") % sizeof path);
    if (strcmp(path, "/hello") == 0) {
        answer(fd, "200 OK\r\nX-Name:  Ada ", "hello", 5);
    } else if (strcmp(path, "/mirror") == 0) {
        answer(fd, "200 OK", request, len);
    } else if (strncmp(path, "/moved/", 7) == 0) {
        snprintf(head, sizeof head, "302 Found\r\nX-Name: Bob\r\nLocation: /moved/%ld",
                 n - 1);
        answer(fd, n > 0 ? head : "302 Found\r\nLocation: /hello", "elsewhere", 9);
    } else if (strncmp(path, "/bytes/", 7) == 0) {
        send_bytes(fd, n);
    } else if (strcmp(path, "/drip") == 0) {
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ndrip");
    } else if (strcmp(path, "/break") == 0) {
        return false;
    } else if (strcmp(path, "/hang") != 0) {
        answer(fd, "404 Not Found", "", 0);
    }
    return true;
}

/* How many bytes the first request has, or 0 while it is not all there. */
static size_t whole_request(const char *text, size_t len)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\ncontent-length:");

    if (end == NULL)
        return 0;
    size_t all = (size_t)(end + 4 - text);
    if (length != NULL && length < end)
        all += (size_t)strtol(length + 17, NULL, 10);
    return all <= len ? all : 0;
}

static void *run_connection(void *arg)
{
    int fd = *(int *)arg;
    char *text = calloc(1, REQUEST_MOST + 1);
    size_t len = 0, all;
    bool open = text != NULL;
    ssize_t n;

    free(arg);
    while (open && (n = recv(fd, text + len, REQUEST_MOST - len, 0)) > 0) {
        len += (size_t)n;
        text[len] = '\0';
        all = whole_request(text, len);
        if (all == 0)
            continue;
        open = serve(fd, text, all);
        len = 0;
    }
    free(text);
    close(fd);
    atomic_fetch_sub(&n_open, 1);
    return NULL;
}

static void *run_server(void *arg)
{
    int listener = *(int *)arg;

    for (;;) {
        int *fd = malloc(sizeof *fd);
        pthread_t thread;

        if (fd == NULL || (*fd = accept(listener, NULL, NULL)) < 0)
            abort();
        atomic_fetch_add(&n_connections, 1);
        atomic_fetch_add(&n_open, 1);
        if (pthread_create(&thread, NULL, run_connection, fd) != 0)
            abort();
        pthread_detach(thread);
    }
}

void web_open(void)
{
    static int listener;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    pthread_t thread;

    unsetenv("http_proxy");
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 128), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    cr_assert_eq(pthread_create(&thread, NULL, run_server, &listener), 0);
    pthread_detach(thread);
}

const char *web_url(const char *path)
{
    return text_of("http://127.0.0.1:%d%s", port, path);
}

int web_connections(void)
{
    return atomic_load(&n_connections);
}

int web_open_connections(void)
{
    return atomic_load(&n_open);
}
