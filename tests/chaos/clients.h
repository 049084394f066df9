/* clients: load over HTTP, and a record of every call, for programs that break the
 * service meanwhile.
 *
 *     clients_start(&clients, world_port(w, 0), seed);
 *     ... break things ...
 *     clients_stop(&clients);
 *     clients_audit(&clients, w, interruptions);
 *
 * A client enqueues, one job or several, with and without an Idempotency-Key, jobs of all
 * kinds of tasks; and it cancels, aborts, deletes and retries what it enqueued, one or
 * several. What it does next comes from the seed alone. A call was accepted, refused, or
 * its outcome is unknown: no answer, or the service says so itself. One with a key is
 * sent again until it is known. Threads: the record is the clients' until clients_stop().
 */
#ifndef BELAY_TESTS_CHAOS_CLIENTS_H
#define BELAY_TESTS_CHAOS_CLIENTS_H

#include "tests/chaos/oracle.h"

#include <pthread.h>

enum { CLIENTS = 4, CALLS_MAX = 2000000 };

struct clients {
    pthread_t threads[CLIENTS];
    struct call *calls;
    atomic_int n_calls;
    atomic_bool closing;
    atomic_int port; /* where they send now */
    atomic_int n_late, n_odd, n_repeats;
    unsigned seed;
    int64_t begin_ms;
};

void clients_start(struct clients *c, int port, unsigned seed);
void clients_stop(struct clients *c);
/* oracle.h, and: every call was over in 6 s, and none was answered 500. */
void clients_audit(const struct clients *c, struct world *w, int interruptions);

#endif
