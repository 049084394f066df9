#include "workers/declaration_base.h"

#include "server/core/cleanup.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool env_has(const struct declaration *d, const char *name)
{
    size_t len = strlen(name);

    for (uint32_t i = 0; i < d->env_count; i++) {
        if (strncmp(d->env[i], name, len) == 0 && strchr("=", d->env[i][len]) != NULL)
            return true;
    }
    return false;
}

/* NAME=value for the name, with Belay's own value or else the fallback; NULL and true
 * when there is neither. */
static bool env_own(const char *name, const char *fallback, char **out)
{
    const char *value = getenv(name);

    *out = NULL;
    value = value != NULL ? value : fallback;
    return value == NULL || asprintf(out, "%s=%s", name, value) >= 0;
}

static bool make_base_env(struct declaration *d)
{
    static const char *const always[][2] = {
        {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        {"HOME", "/"},
        {"LANG", "C.UTF-8"},
    };
    size_t n = 0;

    d->base_env = calloc(COUNT(always) + d->env_count + 1, sizeof *d->base_env);
    if (d->base_env == NULL)
        return false;
    for (size_t i = 0; i < COUNT(always); i++) {
        if (env_has(d, always[i][0]))
            continue;
        if (!env_own(always[i][0], always[i][1], &d->base_env[n++]))
            return false;
    }
    for (uint32_t i = 0; i < d->env_count; i++) {
        bool whole = strchr(d->env[i], '=') != NULL;
        char *value = NULL;
        if (whole ? (value = strdup(d->env[i])) == NULL
                  : !env_own(d->env[i], NULL, &value))
            return false;
        if (value != NULL)
            d->base_env[n++] = value;
    }
    return true;
}

bool declaration_make_absolute(char **path, const char *file)
{
    CLEANUP(free_ptr) char *copy = NULL, *base = NULL;
    char *whole;

    if (*path == NULL || (*path)[0] == '/')
        return true;
    copy = strdup(file);
    base = copy != NULL ? realpath(dirname(copy), NULL) : NULL;
    if (base == NULL || asprintf(&whole, "%s/%s", base, *path) < 0)
        return false;
    free(*path);
    *path = whole;
    return true;
}

static bool make_paths(struct declaration *d, const char *file)
{
    return declaration_make_absolute(&d->directory, file) &&
           (strchr(d->command[0], '/') == NULL ||
            declaration_make_absolute(&d->command[0], file));
}

bool declaration_make_base(struct declaration *d, const char *file)
{
    return make_base_env(d) && make_paths(d, file);
}
