/* cleanup: release a local when it goes out of scope.
 *
 *     CLEANUP(buf_release) struct buf text = BUF_INIT;
 *     CLEANUP(free_ptr) char *copy = strdup(name);
 *
 * The function takes a pointer to the variable. Take the value out with STEAL() to hand
 * it to a caller. */
#ifndef BELAY_CORE_CLEANUP_H
#define BELAY_CORE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Gives the pointer away and leaves NULL behind, so that CLEANUP() frees nothing. */
#define STEAL(ptr)                                                                       \
    __extension__({                                                                      \
        __typeof__(ptr) p_ = (ptr);                                                      \
        (ptr) = NULL;                                                                    \
        p_;                                                                              \
    })

static inline void free_ptr(void *ptr_to_ptr)
{
    free(*(void **)ptr_to_ptr);
}

static inline void close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#endif
