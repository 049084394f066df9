/* oracle: the one judge of every run that breaks something.
 *
 *     oracle_load(w, calls, n_calls);
 *     oracle_judge(w, interruptions, NULL);
 *
 * Three records are held against each other: what callers were told (struct call, one a
 * job that a call was about), what tasks wrote to their own ledger, and the tables as
 * they are in the end. The ten checks of ORACLE_CHECKS are all that a run may be judged
 * by; what holds for one kind of run only is beside the run. oracle_load() reads all into
 * temporary tables of w->db: calls, lines, stale, keys. Threads: the caller's. */
#ifndef BELAY_TESTS_CHAOS_ORACLE_H
#define BELAY_TESTS_CHAOS_ORACLE_H

#include "tests/chaos/world.h"

enum { ORACLE_CHECKS = 10 };

enum call_kind {
    CALL_ENQUEUE,
    CALL_CANCEL,
    CALL_ABORT,
    CALL_DELETE,
    CALL_RETRY,
    CALL_KINDS
};

/* What the caller knows: nothing (no answer, or one that says so), that it was done, or
 * that it was not. */
enum fate { FATE_UNKNOWN, FATE_ACCEPTED, FATE_REFUSED };

struct call {
    enum call_kind kind;
    enum fate fate;
    int64_t id; /* of the job; 0: not known */
    long status;
    int attempt; /* of the job in the answer; -1: none */
};

/* A call's place in the array is the key that its job has in its metadata, and the order
 * in which one client sent its own. */
void oracle_load(struct world *w, const struct call *calls, int n_calls);

/* Each thing that is wrong is printed and counted in w->checks_failed. `interruptions`:
 * how often anything was killed, paused or cut off. out_failed[i] says whether check 1 +
 * i failed; NULL: not asked. */
void oracle_judge(struct world *w, int interruptions, bool out_failed[ORACLE_CHECKS]);

/* What check number 1 + i says. */
const char *oracle_says(int i);

#endif
