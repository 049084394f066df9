/* Slabs of 64 stacks, and one array of those that are free, used as a stack: what was
 * used last is used next, and what lies at the bottom of the array has been free for
 * longest.
 *
 * Guards: MADV_GUARD_INSTALL (Linux 6.13) costs no mapping. Before it a guard is an
 * mprotect() and two of the 65,530 mappings that a process may have, so only the first
 * GUARDS_MOST stacks have one; the rest have a page that nobody writes, which is looked
 * at after each switch. Reading it costs no memory: it is the page of zeroes. */
#include "workers/async/stacks.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
    SLAB_STACKS = 64,
    SLABS_MOST = 16384,
    GUARDS_MOST = 28000,
    CANARY_WORDS = 16,
};

struct slab {
    char *memory;
    bool guarded;
};

struct stacks {
    struct slab slabs[SLABS_MOST];
    int n_slabs;
    bool no_madvise;    /* the kernel has no MADV_GUARD_INSTALL */
    char **free;        /* with room for all */
    int n_free, n_cold; /* the first n_cold have no memory */
    int least_free;     /* since the last trim */
};

enum err stacks_new(struct stacks **out_stacks)
{
    struct stacks *s = calloc(1, sizeof *s);

    if (s == NULL)
        return ERR_NO_MEMORY;
    *out_stacks = s;
    return ERR_OK;
}

void stacks_free(struct stacks *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < s->n_slabs; i++)
        munmap(s->slabs[i].memory, (size_t)SLAB_STACKS * STACK_BYTES);
    free(s->free);
    free(s);
}

static bool guard_one(struct stacks *s, char *page)
{
    if (!s->no_madvise) {
        if (madvise(page, STACK_GUARD_BYTES, MADV_GUARD_INSTALL) == 0)
            return true;
        s->no_madvise = true;
    }
    return s->n_slabs * SLAB_STACKS < GUARDS_MOST &&
           mprotect(page, STACK_GUARD_BYTES, PROT_NONE) == 0;
}

static bool add_slab(struct stacks *s)
{
    size_t bytes = (size_t)SLAB_STACKS * STACK_BYTES;
    size_t all = (size_t)(s->n_slabs + 1) * SLAB_STACKS;

    if (s->n_slabs == SLABS_MOST)
        return false;
    char **room = realloc(s->free, all * sizeof *room);
    if (room == NULL)
        return false;
    s->free = room;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    struct slab *slab = &s->slabs[s->n_slabs];
    *slab = (struct slab){.memory = memory, .guarded = true};
    for (int i = 0; i < SLAB_STACKS && slab->guarded; i++)
        slab->guarded = guard_one(s, memory + (size_t)i * STACK_BYTES);
    s->n_slabs++;
    for (int i = SLAB_STACKS - 1; i >= 0; i--)
        s->free[s->n_free++] = memory + (size_t)i * STACK_BYTES + STACK_GUARD_BYTES;
    s->n_cold = s->n_free;
    return true;
}

char *stacks_get(struct stacks *s)
{
    if (s->n_free == 0 && !add_slab(s))
        return NULL;
    char *bottom = s->free[--s->n_free];
    if (s->n_cold > s->n_free)
        s->n_cold = s->n_free;
    if (s->least_free > s->n_free)
        s->least_free = s->n_free;
    return bottom;
}

void stacks_put(struct stacks *s, char *bottom)
{
    s->free[s->n_free++] = bottom;
}

bool stacks_trim(struct stacks *s)
{
    for (; s->n_cold < s->least_free; s->n_cold++)
        madvise(s->free[s->n_cold], STACK_BYTES - STACK_GUARD_BYTES, MADV_DONTNEED);
    s->least_free = s->n_free;
    return s->n_cold < s->n_free;
}

static const struct slab *slab_of(const struct stacks *s, const void *address)
{
    size_t bytes = (size_t)SLAB_STACKS * STACK_BYTES;

    for (int i = 0; i < s->n_slabs; i++) {
        uintptr_t from = (uintptr_t)s->slabs[i].memory;
        if ((uintptr_t)address >= from && (uintptr_t)address < from + bytes)
            return &s->slabs[i];
    }
    return NULL;
}

/* Only asked where the kernel has no cheap guards, and then of few slabs. */
bool stacks_overrun(const struct stacks *s, const char *bottom)
{
    const uint64_t *word = (const void *)(bottom - STACK_GUARD_BYTES);

    if (!s->no_madvise)
        return false;
    const struct slab *slab = slab_of(s, bottom);
    if (slab == NULL || slab->guarded)
        return false;
    for (int i = STACK_GUARD_BYTES / 8 - CANARY_WORDS; i < STACK_GUARD_BYTES / 8; i++) {
        if (word[i] != 0)
            return true;
    }
    return false;
}

bool stacks_is_guard(const struct stacks *s, const void *address)
{
    const struct slab *slab = slab_of(s, address);

    return slab != NULL && ((uintptr_t)address - (uintptr_t)slab->memory) % STACK_BYTES <
                               STACK_GUARD_BYTES;
}
