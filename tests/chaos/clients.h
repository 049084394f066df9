/* clients: load over HTTP, and a record of every call, for programs that break the
 * service meanwhile.
 *
 *     clients_start(&clients, world_port(w, 0));
 *     ... break things ...
 *     clients_stop(&clients);
 *     clients_audit(&clients, w, interruptions);
 *
 * A client enqueues (most jobs only echo, every twentieth runs a command that writes its
 * start and its end to the tasks' ledger), and now and then cancels, aborts or deletes
 * what it enqueued last. A call was accepted, refused, or its outcome is unknown: no
 * answer, or the service says so itself. The audit holds that record, the tasks' ledger
 * and the tables against each other. Threads: the record is the clients' until
 * clients_stop(). */
#ifndef BELAY_TESTS_CHAOS_CLIENTS_H
#define BELAY_TESTS_CHAOS_CLIENTS_H

#include "tests/chaos/world.h"

#include <pthread.h>

enum { CLIENTS = 4, CALLS_MAX = 200000 };

enum call_kind { CALL_ENQUEUE, CALL_CANCEL, CALL_ABORT, CALL_DELETE, CALL_KINDS };
enum fate { FATE_UNKNOWN, FATE_ACCEPTED, FATE_REFUSED };

struct call {
    enum call_kind kind;
    enum fate fate;
    int64_t id; /* of the job */
    long status;
    int attempt; /* of the job in the answer */
};

struct clients {
    pthread_t threads[CLIENTS];
    struct call *calls;
    atomic_int n_calls;
    atomic_bool closing;
    atomic_int port; /* where they send now */
    atomic_int n_late, n_odd;
};

void clients_start(struct clients *c, int port);
void clients_stop(struct clients *c);
void clients_audit(const struct clients *c, struct world *w, int interruptions);

#endif
