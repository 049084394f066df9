#include "workers/title.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static size_t read_file(const char *path, char *out, size_t size)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, out, size - 1);

    cr_assert_geq(len, 0, "%s", path);
    out[len] = '\0';
    return (size_t)len;
}

/* Each test is a process of its own. */
Test(title, takes_the_place_of_the_name_and_of_all_arguments)
{
    static char line[1 << 16];
    size_t before = read_file("/proc/self/cmdline", line, sizeof line);

    title_set("job-title");
    cr_expect_eq(read_file("/proc/self/cmdline", line, sizeof line), before);
    cr_expect_str_eq(line, "job-title");
    for (size_t i = strlen("job-title"); i < before; i++)
        cr_assert_eq(line[i], '\0', "%s stayed", line + i);
    read_file("/proc/self/comm", line, sizeof line);
    cr_expect_str_eq(line, "job-title\n");
}
