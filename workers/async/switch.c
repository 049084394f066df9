/* ucontext: 230 ns a switch, most of it the signal mask. That vanishes against the
 * system call that an await ends in, and every tool knows it. Rejected: an assembler
 * switch (11 ns, one for each processor); GNU Pth (its own event loop, and O(n)); a
 * thread for each task (25 KB and a deferred cancellation that no library is safe
 * against). */
#include "workers/async/switch.h"

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* Which point is being switched to, and which from: a new stack learns it here. */
static _Thread_local struct switch_point *coming, *leaving;
static _Thread_local bool left_for_good;

static void tell_before(struct switch_point *from, struct switch_point *to, bool ends)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake_stack, to->bottom,
                                   to->bytes);
#endif
#ifdef WITH_TSAN
    if (from->fiber == NULL)
        from->fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)from, (void)to, (void)ends;
}

/* On the new stack: `to` is gone on with, `from` has been left. */
static void tell_after(struct switch_point *from, struct switch_point *to)
{
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(to->fake_stack, &from->bottom, &from->bytes);
    to->fake_stack = NULL;
#endif
    (void)from, (void)to;
}

static void begin(void)
{
    struct switch_point *self = coming;

    tell_after(leaving, self);
    self->run(self->arg);
}

static void forget(struct switch_point *p)
{
#ifdef WITH_TSAN
    if (p->fiber != NULL)
        __tsan_destroy_fiber(p->fiber);
    p->fiber = NULL;
#endif
#ifdef VALGRIND_STACK_DEREGISTER
    if (p->valgrind_id != 0)
        VALGRIND_STACK_DEREGISTER(p->valgrind_id - 1);
#endif
    p->valgrind_id = 0;
}

void switch_prepare(struct switch_point *p, void *bottom, size_t bytes,
                    void (*run)(void *arg), void *arg)
{
    p->run = run;
    p->arg = arg;
    p->bottom = bottom;
    p->bytes = bytes;
    p->fake_stack = p->fiber = NULL;
    p->valgrind_id = 0;
#ifdef WITH_ASAN
    /* What ran here before has not returned from its last frames. Code that was compiled
     * without the sanitizer, as that of a plugin, does not clean up after it. */
    ASAN_UNPOISON_MEMORY_REGION(bottom, bytes);
#endif
#ifdef WITH_TSAN
    p->fiber = __tsan_create_fiber(0);
#endif
#ifdef VALGRIND_STACK_REGISTER
    p->valgrind_id =
        1 + (unsigned)VALGRIND_STACK_REGISTER(bottom, (char *)bottom + bytes);
#endif
    getcontext(&p->context);
    p->context.uc_stack.ss_sp = bottom;
    p->context.uc_stack.ss_size = bytes;
    p->context.uc_link = NULL;
    makecontext(&p->context, begin, 0);
}

/* AddressSanitizer takes swapcontext() for something that it cannot follow, and says so
 * in each process, although it is told of every switch: under it, its two halves. */
static void swap(struct switch_point *from, const struct switch_point *to)
{
#ifdef WITH_ASAN
    volatile bool is_back = false;

    getcontext(&from->context);
    if (is_back)
        return;
    is_back = true;
    setcontext(&to->context);
#else
    swapcontext(&from->context, &to->context);
#endif
}

void switch_to(struct switch_point *from, struct switch_point *to, bool ends)
{
    coming = to;
    leaving = from;
    left_for_good = ends;
    tell_before(from, to, ends);
    swap(from, to);
    /* Somebody has come back here, from the stack that is `leaving` now. */
    tell_after(leaving, from);
    if (left_for_good)
        forget(leaving);
}
