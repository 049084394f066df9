/* Loaded into a node: the allocation that the countdown names fails, once, in whatever
 * thread it is. Children of the node have nothing to do with it. The countdown is in a
 * file that both sides have mapped. */
#include "tests/chaos/memory_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own names for what is replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static struct memory_control *control;
static pid_t node;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("CHAOS_MEMORY");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    node = getpid();
    control = at != MAP_FAILED ? at : NULL;
}

static bool fails(void)
{
    if (control == NULL || atomic_load(&control->countdown) <= 0 || getpid() != node ||
        atomic_fetch_sub(&control->countdown, 1) != 1)
        return false;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}
