#include "workers/cells.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static size_t size_of(int n)
{
    return sizeof(struct abort_cell) * (size_t)(n > 0 ? n : 1);
}

enum err cells_open(struct cells *c, int n)
{
    int fd = memfd_create("abort-cells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *shared = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)size_of(n)) == 0)
        shared = mmap(NULL, size_of(n), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        if (fd >= 0)
            close(fd);
        return ERR_NO_MEMORY;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    *c = (struct cells){.cells = shared, .n = n, .fd = fd};
    return ERR_OK;
}

void cells_close(struct cells *c)
{
    if (c->cells == NULL)
        return;
    munmap(c->cells, size_of(c->n));
    close(c->fd);
    c->cells = NULL;
}

const struct abort_cell *cells_map(int fd, int n)
{
    void *shared = mmap(NULL, size_of(n), PROT_READ, MAP_SHARED, fd, 0);

    return shared != MAP_FAILED ? shared : NULL;
}
