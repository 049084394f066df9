/* A handler is in the middle of its work when memory runs out, and its arena is not asked
 * whether it could: an answer from the spare is better than the end of the node and of
 * all its jobs. Rejected: a result for every piece (hundreds of branches that nobody
 * tests), and longjmp() out of handlers (what they hold would be lost). */
#include "server/http/spare.h"

#include <stdint.h>
#include <sys/mman.h>

enum { SPARE_BYTES = 16 << 20, ALIGNMENT = 16 };

void spare_open(struct spare *s)
{
    void *at = mmap(NULL, SPARE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    *s = (struct spare){.bytes = at != MAP_FAILED ? at : NULL};
}

void spare_close(struct spare *s)
{
    if (s->bytes != NULL)
        munmap(s->bytes, SPARE_BYTES);
    s->bytes = NULL;
}

void *spare_take(struct spare *s, size_t size)
{
    size_t aligned = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);

    if (s->bytes == NULL || size > SPARE_BYTES || aligned > SPARE_BYTES - s->used)
        return NULL;
    void *p = s->bytes + s->used;
    s->used += aligned;
    s->pieces++;
    return p;
}

bool spare_give_back(struct spare *s, const void *p)
{
    uintptr_t at = (uintptr_t)p, begin = (uintptr_t)s->bytes;

    if (s->bytes == NULL || at < begin || at >= begin + SPARE_BYTES)
        return false;
    if (--s->pieces == 0)
        s->used = 0;
    return true;
}

bool spare_is_short(const struct spare *s)
{
    return s->used > SPARE_BYTES / 2;
}
