/* cells: the memory of abort cells, one a running job, which child processes can see.
 *
 * The process that makes them writes; a child gets the descriptor and maps it for reading
 * only. More is refused by the kernel (F_SEAL_FUTURE_WRITE, Linux 5.1), so a task that
 * writes over everything cannot stop the jobs of others. */
#ifndef BELAY_WORKERS_CELLS_H
#define BELAY_WORKERS_CELLS_H

#include "server/core/err.h"
#include "workers/task.h"

struct cells {
    struct abort_cell *cells;
    int n, fd;
};

enum err cells_open(struct cells *c, int n) MUST_CHECK;
void cells_close(struct cells *c);

/* In a child, of a descriptor that came from elsewhere; NULL: it cannot be mapped. */
const struct abort_cell *cells_map(int fd, int n);

#endif
