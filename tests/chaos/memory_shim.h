/* memory_shim: what a driver and the shim inside of a node share: a file of this form,
 * whose path is CHAOS_MEMORY. The driver sets countdown to n, and the n-th allocation
 * from then on fails. Threads: any, of both processes. */
#ifndef BELAY_TESTS_CHAOS_MEMORY_SHIM_H
#define BELAY_TESTS_CHAOS_MEMORY_SHIM_H

#include <stdatomic.h>

struct memory_control {
    atomic_int countdown; /* 0 or below: nothing fails */
    atomic_int failed;
};

#endif
