/* failover: the primary is lost under load, and its synchronous standby takes its place.
 *
 *     failover MODE BELAY ROUNDS SEED
 *
 *     failover  two nodes, which are told both hosts. In turn the postmaster is killed,
 *               whose connections end, and the whole machine is gone, so that nothing is
 *               answered any more. What was lost comes back as the next standby.
 *
 * The oracle judges: what was accepted on one is there on the other. Exit code 1 and a
 * line for each check that fails. */
#include "server/core/clock.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/http.h"
#include "tests/chaos/proxy.h"
#include "tests/chaos/standby.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { BACK_MS = 10000, HOSTS = 2 };

struct node {
    pthread_t thread;
    int port;
};

struct failover {
    struct world w;
    struct clients clients;
    struct standby standby;
    char place[HOSTS][80];
    struct proxy *proxy[HOSTS]; /* the hosts, as nodes see them */
    char url[160];
    int primary;
    int64_t worst_ms, worst_promoted_ms;
};

static int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void make_standby(struct failover *f)
{
    snprintf(f->standby.directory, sizeof f->standby.directory, "%s",
             f->place[1 - f->primary]);
    standby_make(&f->standby, &f->w);
}

static void open_hosts(struct failover *f)
{
    char socket[128];

    snprintf(f->place[0], sizeof f->place[0], "%s", f->w.directory);
    snprintf(f->place[1], sizeof f->place[1], "%.64s/other", f->w.directory);
    for (int i = 0; i < HOSTS; i++) {
        snprintf(socket, sizeof socket, "%s/pgdata/.s.PGSQL.5432", f->place[i]);
        f->proxy[i] = proxy_open(socket);
    }
    snprintf(f->url, sizeof f->url,
             "postgresql://belay@127.0.0.1:%d,127.0.0.1:%d/postgres"
             "?target_session_attrs=read-write&sslmode=disable",
             proxy_port(f->proxy[0]), proxy_port(f->proxy[1]));
    f->w.url = f->url;
}

/* Until jobs can be asked for again. */
static void *wait_for_node(void *arg)
{
    struct node *n = arg;
    struct http_client http;
    int64_t end_ms = clock_ms() + READY_MS;

    http_client_init(&http, n->port);
    while (http_send(&http, "GET", "/readyz", NULL) != 200 ||
           http_send(&http, "GET", "/jobs?limit=1", NULL) != 200) {
        if (clock_ms() > end_ms)
            die("the node is not back in time", http.text != NULL ? http.text : "");
        sleep_ms(10);
    }
    http_client_release(&http);
    return NULL;
}

/* Each by itself: one that nobody asks anything finds out by its first call only. */
static void wait_until_back(struct failover *f)
{
    struct node nodes[NODES];

    for (int i = 0; i < NODES; i++) {
        nodes[i].port = world_port(&f->w, i);
        pthread_create(&nodes[i].thread, NULL, wait_for_node, &nodes[i]);
    }
    for (int i = 0; i < NODES; i++)
        pthread_join(nodes[i].thread, NULL);
}

static void fail_over(struct failover *f, int round)
{
    atomic_store(&f->clients.port, world_port(&f->w, (int)(random() % NODES)));
    sleep_ms(500 + random() % 1000);
    int64_t begin_ms = clock_ms();
    if (round % 2 == 1)
        proxy_strike(f->proxy[f->primary], PROXY_BLACK_HOLE);
    world_kill_database(&f->w);
    standby_promote(&f->standby, &f->w);
    int64_t promoted_ms = clock_ms() - begin_ms;
    wait_until_back(f);
    int64_t ms = clock_ms() - begin_ms;
    f->worst_ms = greater(f->worst_ms, ms);
    f->worst_promoted_ms = greater(f->worst_promoted_ms, promoted_ms);
    f->primary = 1 - f->primary;
    proxy_strike(f->proxy[1 - f->primary], PROXY_PASS);
    make_standby(f);
    printf("round %d: %s, promoted after %" PRId64 " ms, back after %" PRId64 " ms\n",
           round, round % 2 == 1 ? "the machine is gone" : "killed", promoted_ms, ms);
}

int main(int argc, char **argv)
{
    static struct failover f;

    if (argc < 5 || strcmp(argv[1], "failover") != 0) {
        fprintf(stderr, "usage: failover failover BELAY ROUNDS SEED\n");
        return 2;
    }
    int rounds = (int)strtol(argv[3], NULL, 10);
    unsigned seed = (unsigned)strtoul(argv[4], NULL, 10);
    srandom(seed);
    world_open(&f.w, argv[2]);
    open_hosts(&f);
    make_standby(&f);
    for (int i = 0; i < NODES; i++)
        world_start_node(&f.w, i);
    for (int i = 0; i < NODES; i++)
        world_wait_ready(&f.w, i, READY_MS);
    clients_start(&f.clients, world_port(&f.w, 0), seed);
    for (int i = 0; i < rounds; i++)
        fail_over(&f, i);
    clients_stop(&f.clients);
    world_wait_quiet(&f.w);
    clients_audit(&f.clients, &f.w, rounds);
    world_check(&f.w, "it is back within 10 s", f.worst_ms > BACK_MS);
    printf("figures: %d failovers, promoted after %" PRId64 " ms and back after %" PRId64
           " ms at most\n",
           rounds, f.worst_promoted_ms, f.worst_ms);
    for (int i = 0; i < NODES; i++)
        world_end_node(&f.w, i, SIGTERM);
    standby_stop(&f.standby, &f.w);
    world_close(&f.w);
    for (int i = 0; i < HOSTS; i++)
        proxy_close(f.proxy[i]);
    printf("seed %s, %d checks failed\n", argv[4], f.w.checks_failed);
    return f.w.checks_failed > 0;
}
