#include "tests/async/relay.h"

#include "server/core/clock.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un server = {.sun_family = AF_UNIX};
static const char *database, *user;
static int port;
static atomic_bool frozen;

struct way {
    int from, to;
};

static void *pass_on(void *arg)
{
    struct way way = *(struct way *)arg;
    char bytes[4096];
    ssize_t n;

    free(arg);
    while ((n = recv(way.from, bytes, sizeof bytes, 0)) > 0) {
        while (atomic_load(&frozen))
            sleep_ms(5);
        if (send(way.to, bytes, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    }
    shutdown(way.to, SHUT_RDWR);
    shutdown(way.from, SHUT_RDWR);
    return NULL; /* the descriptors go with the test */
}

static void start_way(int from, int to)
{
    struct way *way = malloc(sizeof *way);
    pthread_t thread;

    if (way == NULL)
        abort();
    *way = (struct way){from, to};
    if (pthread_create(&thread, NULL, pass_on, way) != 0)
        abort();
    pthread_detach(thread);
}

static void *run_relay(void *arg)
{
    int listener = *(int *)arg;

    for (;;) {
        int client = accept(listener, NULL, NULL);
        int back = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client < 0 || connect(back, (struct sockaddr *)&server, sizeof server) != 0)
            abort();
        start_way(client, back);
        start_way(back, client);
    }
}

static void find_server(const char *url)
{
    PGconn *conn = PQconnectdb(url);

    cr_assert_eq(PQstatus(conn), CONNECTION_OK, "%s", PQerrorMessage(conn));
    const char *path = text_of("%s/.s.PGSQL.%s", PQhost(conn), PQport(conn));
    cr_assert_lt(strlen(path), sizeof server.sun_path);
    memcpy(server.sun_path, path, strlen(path) + 1);
    database = text_of("%s", PQdb(conn));
    user = text_of("%s", PQuser(conn));
    PQfinish(conn);
}

void relay_open(const char *url)
{
    static int listener;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    pthread_t thread;

    find_server(url);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 16), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    cr_assert_eq(pthread_create(&thread, NULL, run_relay, &listener), 0);
    pthread_detach(thread);
}

int relay_port(void)
{
    return port;
}

void relay_freeze(bool freeze)
{
    atomic_store(&frozen, freeze);
}

const char *relay_url(const char *host)
{
    return text_of("postgresql://%s@%s:%d/%s?sslmode=disable", user, host, port,
                   database);
}
