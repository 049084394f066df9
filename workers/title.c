#include "workers/title.h"

#include "server/core/cleanup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The title, and zeroes up to the end. By a file, as no object of the program lies there.
 */
static void write_over(unsigned long start, unsigned long end, const char *title)
{
    static const char zeroes[1024];
    size_t len = strnlen(title, end - start - 1);
    CLEANUP(close_fd) int fd = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && pwrite(fd, title, len, (off_t)start) == (ssize_t)len;

    for (start += len; ok && start < end; start += len) {
        len = end - start < sizeof zeroes ? end - start : sizeof zeroes;
        ok = pwrite(fd, zeroes, len, (off_t)start) == (ssize_t)len;
    }
}

/* Fields 48 and 49 of stat(5) say where the arguments are. */
void title_set(const char *title)
{
    char stat[1024], *at;
    unsigned long start = 0, end = 0;
    CLEANUP(close_fd) int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);

    prctl(PR_SET_NAME, title);
    stat[len < 0 ? 0 : len] = '\0';
    at = strrchr(stat, ')');
    for (int field = 2; at != NULL && field < 49; field++) {
        at = strchr(at + 1, ' ');
        if (field + 1 == 48 && at != NULL)
            start = strtoul(at, NULL, 10);
        if (field + 1 == 49 && at != NULL)
            end = strtoul(at, NULL, 10);
    }
    if (start != 0 && end > start)
        write_over(start, end, title);
}
