/* The four sources are applied in turn, the weakest first: defaults, file, environment,
 * flags. Each value is checked as it is applied, so a wrong one is an error even where a
 * stronger source would have hidden it: a mistake in the file must not wait for the day
 * when somebody removes the flag. Rejected: to look up the strongest source for each
 * setting; shorter, but it hides mistakes.
 *
 * An environment variable that is set to nothing counts as not set, because that is what
 * "${NAME:-}" in a Compose file leaves behind. */
#include "server/core/config.h"

#include "server/core/cleanup.h"
#include "server/core/config_table.h"
#include "server/core/nearest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_MAX_BYTES = 65536 };

const struct setting config_settings[] = {
#define SETTING(field, type, flag, env, key, def, least, most, help)                     \
    {SETTING_##type,                                                                     \
     offsetof(struct config, field),                                                     \
     flag,                                                                               \
     env,                                                                                \
     key,                                                                                \
     def,                                                                                \
     least,                                                                              \
     most,                                                                               \
     help},
#include "server/core/config.def"
#undef SETTING
    {.flag = NULL},
};

static const char *const flags[] = {
#define SETTING(field, type, flag, env, key, def, least, most, help) "--" flag,
#include "server/core/config.def"
#undef SETTING
    "--config", NULL};

/* -- defaults ------------------------------------------------------------------------ */

/* Through the same checks: a default that is out of its range is found by any start. */
static enum err set_defaults(struct config *c, struct buf *why)
{
    enum err e = ERR_OK;

    for (const struct setting *s = config_settings; s->flag != NULL && e == ERR_OK; s++)
        e = config_set(c, s, s->fallback, s->key, why);
    return e;
}

/* -- environment --------------------------------------------------------------------- */

/* The value, or NULL: not set, or set to nothing. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* The text of the file without the line ends at its end: editors add one. */
static enum err read_secret(const char *path, const char *name, char *text,
                            struct buf *why)
{
    FILE *in = fopen(path, "re");

    if (in == NULL) {
        buf_addf(why, "%s: %s: %s", name, path, strerror(errno));
        return ERR_CONFIG;
    }
    size_t len = fread(text, 1, SECRET_MAX_BYTES, in);
    bool good = ferror(in) == 0 && len < SECRET_MAX_BYTES;
    fclose(in);
    if (!good || memchr(text, '\0', len) != NULL) {
        buf_addf(why, "%s: %s is not a text file of less than %d bytes", name, path,
                 SECRET_MAX_BYTES);
        return ERR_CONFIG;
    }
    while (len > 0 && strchr("\r\n", text[len - 1]) != NULL)
        len--;
    text[len] = '\0';
    if (len > 0)
        return ERR_OK;
    buf_addf(why, "%s: %s is empty", name, path);
    return ERR_CONFIG;
}

/* DATABASE_URL_FILE: the path of a file that has the value, as secrets of Compose do. */
static enum err set_from_secret_file(struct config *c, const struct setting *s,
                                     struct buf *why)
{
    CLEANUP(free_ptr) char *text = NULL;
    char name[128];
    const char *path;
    enum err e;

    snprintf(name, sizeof name, "%s_FILE", s->env);
    path = variable(name);
    if (path == NULL)
        return ERR_OK;
    if (variable(s->env) != NULL) {
        buf_addf(why, "%s and %s are both set; one of them should be", s->env, name);
        return ERR_CONFIG;
    }
    text = malloc(SECRET_MAX_BYTES);
    if (text == NULL)
        return ERR_NO_MEMORY;
    e = read_secret(path, name, text, why);
    return e == ERR_OK ? config_set(c, s, text, name, why) : e;
}

static enum err set_from_environment(struct config *c, struct buf *why)
{
    enum err e = ERR_OK;

    for (const struct setting *s = config_settings; s->flag != NULL && e == ERR_OK; s++) {
        const char *value = variable(s->env);
        if (s->type == SETTING_SECRET)
            e = set_from_secret_file(c, s, why);
        if (e == ERR_OK && value != NULL)
            e = config_set(c, s, value, s->env, why);
    }
    return e;
}

/* -- flags --------------------------------------------------------------------------- */

/* One flag as it was typed. */
struct flag {
    char name[64];                 /* "port", without the dashes, or of --no-x "x" */
    const char *value;             /* after "=", else NULL */
    const struct setting *setting; /* NULL: --config */
    bool no;                       /* --no-x */
    bool again;                    /* there was one of the same setting before */
};

static const struct setting *setting_of_flag(const char *name)
{
    const struct setting *s = config_settings;

    while (s->flag != NULL && strcmp(s->flag, name) != 0)
        s++;
    return s->flag != NULL ? s : NULL;
}

static enum err unknown_flag(const char *arg, struct buf *why)
{
    char name[64];
    const char *meant;

    if (arg[0] != '-') {
        buf_addf(why, "%s: nothing was expected here; settings are --flag VALUE", arg);
        return ERR_USAGE;
    }
    snprintf(name, sizeof name, "%.*s", (int)strcspn(arg, "="), arg);
    meant = nearest(name, flags);
    buf_addf(why, "%s: there is no such flag; %s%s%s", name,
             meant != NULL ? "did you mean " : "--help lists them",
             meant != NULL ? meant : "", meant != NULL ? "?" : "");
    return ERR_USAGE;
}

/* --no-x is looked at second: a setting may have a name that begins with no-. */
static enum err parse_flag(const char *arg, struct flag *out, struct buf *why)
{
    size_t len = strcspn(arg, "=");

    *out = (struct flag){.value = arg[len] == '=' ? arg + len + 1 : NULL};
    if (strncmp(arg, "--", 2) != 0 || len - 2 >= sizeof out->name)
        return unknown_flag(arg, why);
    snprintf(out->name, sizeof out->name, "%.*s", (int)len - 2, arg + 2);
    if (strcmp(out->name, "config") == 0)
        return ERR_OK;
    if (strcmp(out->name, "no-listen") == 0) /* the short word that the field knows */
        snprintf(out->name, sizeof out->name, "no-listen-notify");
    out->setting = setting_of_flag(out->name);
    if (out->setting == NULL && strncmp(out->name, "no-", 3) == 0) {
        const struct setting *s = setting_of_flag(out->name + 3);
        if (s != NULL && s->type == SETTING_BOOL && out->value == NULL) {
            out->setting = s;
            out->no = true;
        }
    }
    return out->setting != NULL ? ERR_OK : unknown_flag(arg, why);
}

/* Its value; *i moves on when that is the next argument. */
static enum err flag_value(const struct flag *f, int argc, char **argv, int *i,
                           const char **out, struct buf *why)
{
    bool is_bool = f->setting != NULL && f->setting->type == SETTING_BOOL;

    if (f->value == NULL && !is_bool && *i + 1 >= argc) {
        buf_addf(why, "%s needs a value: %s VALUE", argv[*i], argv[*i]);
        return ERR_USAGE;
    }
    if (f->value != NULL)
        *out = f->value;
    else
        *out = is_bool ? (f->no ? "false" : "true") : argv[++*i];
    return ERR_OK;
}

typedef enum err on_flag_fn(struct config *c, const struct flag *f, const char *value,
                            struct buf *why);

/* The flags are gone through twice: for --config before the file is read, and for the
 * settings after the environment, because they win. */
static enum err each_flag(struct config *c, int argc, char **argv, on_flag_fn *on_flag,
                          struct buf *why)
{
    bool seen[sizeof config_settings / sizeof *config_settings] = {false};
    enum err e = ERR_OK;

    for (int i = 1; i < argc && e == ERR_OK; i++) {
        struct flag f;
        const char *value = NULL;
        e = parse_flag(argv[i], &f, why);
        if (f.setting != NULL) {
            f.again = seen[f.setting - config_settings];
            seen[f.setting - config_settings] = true;
        }
        if (e == ERR_OK)
            e = flag_value(&f, argc, argv, &i, &value, why);
        if (e == ERR_OK)
            e = on_flag(c, &f, value, why);
    }
    return e;
}

static enum err take_file(struct config *c, const struct flag *f, const char *value,
                          struct buf *why)
{
    (void)why;
    if (f->setting != NULL)
        return ERR_OK;
    free(c->file);
    c->file = strdup(value);
    return c->file != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static enum err add_to_list(struct config *c, const struct flag *f, const char *value,
                            struct buf *why)
{
    CLEANUP(buf_release) struct buf both = BUF_INIT;

    buf_addf(&both, "%s,%s", *(config_LIST *)((char *)c + f->setting->offset), value);
    return both.failed ? ERR_NO_MEMORY
                       : config_set(c, f->setting, both.text, f->name, why);
}

/* The same mistake is wrong usage in a flag and wrong configuration elsewhere. */
static enum err take_setting(struct config *c, const struct flag *f, const char *value,
                             struct buf *why)
{
    char where[sizeof f->name + 2];

    if (f->setting == NULL)
        return ERR_OK;
    if (f->again && setting_is_list(f->setting))
        return add_to_list(c, f, value, why);
    snprintf(where, sizeof where, "--%s", f->name);
    enum err e = config_set(c, f->setting, value, where, why);
    return e == ERR_CONFIG ? ERR_USAGE : e;
}

/* -- all ----------------------------------------------------------------------------- */

static enum err find_file(struct config *c, int argc, char **argv, struct buf *why)
{
    const char *path = variable("BELAY_CONFIG");
    enum err e = each_flag(c, argc, argv, take_file, why);

    if (e != ERR_OK || c->file != NULL || path == NULL)
        return e;
    c->file = strdup(path);
    return c->file != NULL ? ERR_OK : ERR_NO_MEMORY;
}

enum err config_load(struct config *c, int argc, char **argv, struct buf *why)
{
    *c = (struct config){.file = NULL};
    enum err e = find_file(c, argc, argv, why);

    if (e == ERR_OK)
        e = set_defaults(c, why);
    if (e == ERR_OK && c->file != NULL)
        e = config_read_file(c, why);
    if (e == ERR_OK)
        e = set_from_environment(c, why);
    if (e == ERR_OK)
        e = each_flag(c, argc, argv, take_setting, why);
    return e;
}

void config_release(struct config *c)
{
    if (c == NULL)
        return;
    for (const struct setting *s = config_settings; s->flag != NULL; s++) {
        if (s->type != SETTING_INT && s->type != SETTING_AGE && s->type != SETTING_BOOL)
            free(*(char **)((char *)c + s->offset));
    }
    free(c->file);
    *c = (struct config){.file = NULL};
}
