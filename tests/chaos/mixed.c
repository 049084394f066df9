/* mixed: everything at once. Two nodes, each behind a proxy, load of all kinds, and one
 * fault after the other.
 *
 *     mixed MODE BELAY ROUNDS SEED
 *
 * The faults, whom they hit and for how long are drawn from the seed, and are printed as
 * they come; so are the requests of each client. MODE is the name of one fault, or
 * "mixed" for all. The oracle judges. Exit code 1 and a line for each check that fails.
 */
#include "server/core/clock.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/proxy.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { BEYOND_LEASE_MS = LEASE_SECONDS * 1400, SLOW_MS = 3, SLOW_BYTES = 256 };

struct mixed {
    struct world w;
    struct clients clients;
    struct proxy *proxy[NODES];
    int interruptions;
    unsigned dice;
};

static int draw(struct mixed *m, int least, int most)
{
    return least + rand_r(&m->dice) % (most - least + 1);
}

static void send_to(struct mixed *m, int node)
{
    atomic_store(&m->clients.port, world_port(&m->w, node));
}

/* -- faults -------------------------------------------------------------------------- */

static void kill_node(struct mixed *m, int node, int ms)
{
    world_end_node(&m->w, node, SIGKILL);
    sleep_ms(ms);
    world_start_node(&m->w, node);
}

/* For longer than its lease. */
static void freeze_node(struct mixed *m, int node, int ms)
{
    send_to(m, 1 - node);
    kill(m->w.node[node], SIGSTOP);
    sleep_ms(BEYOND_LEASE_MS + ms / 2);
    kill(m->w.node[node], SIGCONT);
}

static void end_backend(struct mixed *m, int node, int ms)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM"
             " pg_stat_activity WHERE application_name LIKE 'belay %%'"
             " ORDER BY application_name, pid OFFSET %d LIMIT 1) x",
             (node + ms) % 16);
    world_count(&m->w, sql);
}

static void kill_postmaster(struct mixed *m, int node, int ms)
{
    (void)node;
    world_kill_database(&m->w);
    sleep_ms(ms);
    world_start_database(&m->w);
}

static void reset_links(struct mixed *m, int node, int ms)
{
    (void)ms;
    proxy_strike(m->proxy[node], PROXY_RESET);
    proxy_strike(m->proxy[node], PROXY_PASS);
}

static void swallow_links(struct mixed *m, int node, int ms)
{
    proxy_strike(m->proxy[node], PROXY_BLACK_HOLE);
    sleep_ms(2 * ms);
    proxy_strike(m->proxy[node], PROXY_PASS);
}

static void slow_links(struct mixed *m, int node, int ms)
{
    proxy_slow(m->proxy[node], SLOW_MS, SLOW_BYTES);
    sleep_ms(ms);
    proxy_slow(m->proxy[node], 0, 0);
}

/* The load is at the other node each time. */
static void restart_nodes(struct mixed *m, int node, int ms)
{
    for (int i = 0; i < NODES; i++, node = 1 - node) {
        send_to(m, 1 - node);
        sleep_ms(ms / 4);
        world_end_node(&m->w, node, SIGTERM);
        world_start_node(&m->w, node);
        world_wait_ready(&m->w, node, READY_MS);
    }
    m->interruptions++;
}

static void lock_table(struct mixed *m, int node, int ms)
{
    world_run(&m->w, node == 0
                         ? "SET statement_timeout = 0; BEGIN; LOCK TABLE belay.jobs"
                         : "SET statement_timeout = 0; BEGIN; LOCK TABLE belay.leases");
    sleep_ms(2 * ms);
    world_run(&m->w, "ROLLBACK");
}

static const struct {
    const char *name;
    void (*happen)(struct mixed *m, int node, int ms);
} faults[] = {{"kill-node", kill_node},     {"freeze-node", freeze_node},
              {"end-backend", end_backend}, {"kill-postmaster", kill_postmaster},
              {"reset-links", reset_links}, {"swallow-links", swallow_links},
              {"slow-links", slow_links},   {"restart-nodes", restart_nodes},
              {"lock-table", lock_table}};
enum { N_FAULTS = sizeof faults / sizeof *faults, DRAWN_MOST_MS = 2000 };

static int fault_named(const char *name)
{
    for (int i = 0; i < N_FAULTS; i++)
        if (strcmp(faults[i].name, name) == 0)
            return i;
    return -1;
}

/* Every draw is made whatever the fault, so that the sequence is the seed's alone. */
static void happen(struct mixed *m, int round, int only)
{
    int i = draw(m, 0, N_FAULTS - 1), node = draw(m, 0, NODES - 1);
    int ms = draw(m, 0, DRAWN_MOST_MS), pause_ms = draw(m, 300, 900);
    int64_t begin_ms = clock_ms();

    i = only >= 0 ? only : i;
    send_to(m, draw(m, 0, NODES - 1));
    sleep_ms(pause_ms);
    faults[i].happen(m, node, ms);
    m->interruptions++;
    for (int k = 0; k < NODES; k++)
        world_wait_ready(&m->w, k, READY_MS);
    printf("fault %d: %s, node %d, %d ms drawn, over after %" PRId64 " ms\n", round,
           faults[i].name, node, ms, clock_ms() - begin_ms);
}

/* -- all ----------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static struct mixed m;
    char path[128];

    if (argc < 5) {
        fprintf(stderr, "usage: mixed FAULT|mixed BELAY ROUNDS SEED\n");
        return 2;
    }
    int only = fault_named(argv[1]), rounds = (int)strtol(argv[3], NULL, 10);
    m.dice = (unsigned)strtoul(argv[4], NULL, 10);
    printf("seed %s\n", argv[4]);
    world_open(&m.w, argv[2]);
    m.w.concurrency = "4";
    world_socket(&m.w, path, sizeof path);
    for (int i = 0; i < NODES; i++) {
        m.proxy[i] = proxy_open(path);
        m.w.through[i] = proxy_port(m.proxy[i]);
        world_start_node(&m.w, i);
    }
    for (int i = 0; i < NODES; i++)
        world_wait_ready(&m.w, i, READY_MS);
    clients_start(&m.clients, world_port(&m.w, 0), m.dice);
    for (int i = 0; i < rounds; i++)
        happen(&m, i, only);
    clients_stop(&m.clients);
    world_wait_quiet(&m.w);
    clients_audit(&m.clients, &m.w, m.interruptions);
    world_close(&m.w);
    for (int i = 0; i < NODES; i++)
        proxy_close(m.proxy[i]);
    printf("seed %s, %d checks failed\n", argv[4], m.w.checks_failed);
    return m.w.checks_failed > 0;
}
