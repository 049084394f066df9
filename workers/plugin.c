/* dlopen() is given a whole path, for it looks for a name without a slash in the system's
 * folders; and everything is bound at once, so that a function that this Belay does not
 * have is found at the start and not in the middle of a job. */
#include "workers/plugin.h"

#include "server/core/cleanup.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The linker's words mostly begin with the path. */
static enum err not_loaded(const char *path, const char *words, struct buf *why)
{
    if (strncmp(words, path, strlen(path)) == 0)
        buf_adds(why, words);
    else
        buf_addf(why, "%s: %s", path, words);
    return ERR_CONFIG;
}

static enum err load(const char *file, struct task_table *tasks, struct buf *why)
{
    CLEANUP(free_ptr) char *path = realpath(file, NULL);

    if (path == NULL) {
        buf_addf(why, "%s: %s", file, strerror(errno));
        return ERR_CONFIG;
    }
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL)
        return not_loaded(path, dlerror(), why);
    const struct belay_tasks *compiled = dlsym(plugin, "belay_tasks");
    if (compiled == NULL)
        return not_loaded(path, "it has no tasks: BELAY_TASKS(&task) should stand in it",
                          why);
    return task_table_add_compiled(tasks, compiled, path, why);
}

enum err plugins_load(const char *files, struct task_table *tasks, struct buf *why)
{
    CLEANUP(free_ptr) char *copy = strdup(files);
    char *rest = NULL;
    enum err e = ERR_OK;

    if (copy == NULL)
        return ERR_NO_MEMORY;
    for (char *file = strtok_r(copy, ",", &rest); file != NULL && e == ERR_OK;
         file = strtok_r(NULL, ",", &rest))
        e = load(file, tasks, why);
    return e;
}
