/* stacks: memory for the stacks of coroutines, 64 KiB each, of which only what is used
 * takes memory.
 *
 *     char *bottom = stacks_get(s);    NULL: no memory
 *     stacks_put(s, bottom);
 *     stacks_trim(s);                  now and then: what a peak has left goes back
 *
 * Below each stack there is a guard: whoever runs over it ends the process with a line
 * that says so, instead of writing into the next stack. Threads: one. */
#ifndef BELAY_WORKERS_ASYNC_STACKS_H
#define BELAY_WORKERS_ASYNC_STACKS_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { STACK_BYTES = 64 << 10, STACK_GUARD_BYTES = 4096 };

struct stacks;

enum err stacks_new(struct stacks **out_stacks) MUST_CHECK;
void stacks_free(struct stacks *s);

/* The lowest byte that may be used; STACK_BYTES - STACK_GUARD_BYTES of them. */
char *stacks_get(struct stacks *s);
void stacks_put(struct stacks *s, char *bottom);
/* Gives back the memory of the stacks that were free all the time since the last call.
 * True when others are free that still have theirs. */
bool stacks_trim(struct stacks *s);
/* Whether a stack that has no guard page has been run over. */
bool stacks_overrun(const struct stacks *s, const char *bottom);
/* Whether an address is in the guard of a stack. For a signal handler. */
bool stacks_is_guard(const struct stacks *s, const void *address);

#endif
