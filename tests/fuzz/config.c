/* belay.yaml: the settings, and the commands and endpoints that it declares. Settings
 * that were taken are printed, and what was printed must be taken for the same. */
#include "server/core/config.h"

#include "server/core/log.h"
#include "workers/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* The name of a file with these bytes; out_fd keeps it. */
static char *file_of(const void *bytes, size_t len, int *out_fd)
{
    char *path = NULL;

    *out_fd = memfd_create("belay.yaml", MFD_CLOEXEC);
    if (*out_fd < 0 || write(*out_fd, bytes, len) != (ssize_t)len ||
        asprintf(&path, "/proc/self/fd/%d", *out_fd) < 0)
        abort();
    return path;
}

/* NULL: refused. */
static char *load_and_print(const void *bytes, size_t len)
{
    char verb[] = "serve", flag[] = "--config";
    struct buf why = BUF_INIT;
    struct config config;
    int fd;
    char *path = file_of(bytes, len, &fd), *argv[] = {verb, flag, path, NULL};
    char *text = NULL;
    size_t room;

    enum err e = config_load(&config, 3, argv, &why);
    if (e == ERR_OK) {
        FILE *out = open_memstream(&text, &room);
        if (out == NULL)
            abort();
        config_print(&config, out);
        fclose(out);
    } else if (why.len == 0) {
        abort(); /* refused without a word */
    }
    config_release(&config);
    buf_release(&why);
    close(fd);
    free(path);
    return text;
}

static void load_commands(const void *bytes, size_t len)
{
    struct commands *commands = NULL;
    struct buf why = BUF_INIT;
    int fd;
    char *path = file_of(bytes, len, &fd);

    if (commands_load(path, &commands, &why) == ERR_OK)
        commands_free(commands);
    else if (why.len == 0)
        abort();
    buf_release(&why);
    close(fd);
    free(path);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size > 8192)
        return 0;
    log_configure(LOG_TEXT, LOG_ERROR);
    char *printed = load_and_print(data, size);
    if (printed != NULL) {
        char *again = load_and_print(printed, strlen(printed));
        if (again == NULL || strcmp(printed, again) != 0) {
            fprintf(stderr, "printed:\n%s\nand read again:\n%s\n", printed,
                    again != NULL ? again : "(refused)");
            abort();
        }
        free(again);
    }
    free(printed);
    load_commands(data, size);
    return 0;
}
