/* switch: leaves one stack and goes on with another.
 *
 *     switch_prepare(&b, bottom, bytes, run, arg);
 *     switch_to(&a, &b, false);    returns when somebody switches to `a`
 *
 * The two functions are all that knows about machine contexts, so that another way of
 * switching replaces one file. Sanitizers and valgrind are told of every switch. Threads:
 * both points belong to one thread, for ever: what the C library keeps in registers or
 * thread-local memory would be another thread's otherwise. */
#ifndef BELAY_WORKERS_ASYNC_SWITCH_H
#define BELAY_WORKERS_ASYNC_SWITCH_H

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

/* Where a stack was left. Zero is fine for the thread's own stack. */
struct switch_point {
    ucontext_t context;
    void (*run)(void *arg);
    void *arg;
    /* for the tools */
    const void *bottom;
    size_t bytes;
    void *fake_stack, *fiber;
    unsigned valgrind_id;
};

/* The first switch to `p` calls run(arg) on the stack [bottom, bottom + bytes). `run`
 * must not return: its last act is a switch_to() with ends. */
void switch_prepare(struct switch_point *p, void *bottom, size_t bytes,
                    void (*run)(void *arg), void *arg);
/* ends: `from` will never be gone on with; its stack may be used again. */
void switch_to(struct switch_point *from, struct switch_point *to, bool ends);

#endif
