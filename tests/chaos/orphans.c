#include "server/core/clock.h"
#include "tests/chaos/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { ORPHAN_MS = 2000 };

/* Processes of commands: only theirs have the ledger in what they were called with. */
static int count_commands(const struct world *w)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    char path[300], line[4096];
    int n = 0;

    if (proc == NULL)
        die("/proc", "cannot be read");
    while ((entry = readdir(proc)) != NULL) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t len = read(fd, line, sizeof line);
        n += len > 0 && memmem(line, (size_t)len, w->ledger, strlen(w->ledger)) != NULL;
        close(fd);
    }
    closedir(proc);
    return n;
}

int world_count_orphans(const struct world *w)
{
    int64_t end_ms = clock_ms() + ORPHAN_MS;
    int n;

    while ((n = count_commands(w)) > 0 && clock_ms() < end_ms)
        sleep_ms(10);
    return n;
}
