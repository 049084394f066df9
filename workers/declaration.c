/* libcyaml reads the file into our structures, by one schema; what a schema cannot say is
 * checked afterwards.
 *
 * The settings in the same file belong to config.c. Each side names the keys of the other
 * as ignored, instead of ignoring unknown ones, so that a mistyped key is an error on
 * both sides. libcyaml says what is wrong in log lines; we take the first line and the
 * innermost place, and add what would be right. */
#include "workers/declaration.h"

#include "server/core/cleanup.h"
#include "workers/arguments.h"
#include "workers/declaration_base.h"
#include "workers/declaration_schema.h"
#include "workers/endpoint.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>

enum {
    FILE_MAX_BYTES = 1024 * 1024,
    SECONDS_MAX = 86400,
    TIMEOUT_MAX = 7 * SECONDS_MAX,
    ATTEMPTS_MAX = 1000
};

/* -- reading ------------------------------------------------------------------------ */

/* What libcyaml said. */
struct complaint {
    char what[256];  /* "Unexpected key: prot" */
    char key[128];   /* of the innermost mapping field, or "" */
    char list[128];  /* of the outermost */
    int line, depth; /* depth: places around it */
};

PRINTF_LIKE(3, 0)
static void take_log_line(cyaml_log_t level, void *arg, const char *format, va_list args)
{
    struct complaint *c = arg;
    char line[512];
    const char *at;

    (void)level;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "Load: ", 6) == 0 && c->what[0] == '\0')
        snprintf(c->what, sizeof c->what, "%.250s", line + 6);
    at = strstr(line, "(line: ");
    if (at == NULL)
        return;
    c->depth++;
    if (c->line == 0)
        c->line = (int)strtol(at + 7, NULL, 10);
    at = strstr(line, "mapping field '");
    if (at == NULL)
        return;
    snprintf(c->list, sizeof c->list, "%.*s", (int)strcspn(at + 15, "'"), at + 15);
    if (c->key[0] == '\0')
        snprintf(c->key, sizeof c->key, "%s", c->list);
}

/* libcyaml gives the line before an unknown key: looks for the key from there on. */
static int line_of_key(const char *text, const char *key, int from)
{
    size_t len = strlen(key);
    int line = 1;

    for (const char *at = text; at != NULL && *at != '\0'; line++) {
        const char *word = at + strspn(at, " -\"'{");
        if (line >= from && strncmp(word, key, len) == 0 &&
            strchr(":\"' ", word[len]) != NULL)
            return line;
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return from;
}

static void explain(const char *file, const char *text, const struct complaint *c,
                    struct buf *why)
{
    static const char unknown[] = "Unexpected key: ";

    if (strncmp(c->what, unknown, sizeof unknown - 1) == 0) {
        const char *key = c->what + sizeof unknown - 1;
        buf_addf(why, "%s:%d: unknown key %s; the keys here are %s", file,
                 line_of_key(text, key, c->line), key,
                 declaration_keys(c->list, c->key, c->depth));
        return;
    }
    buf_addf(why, "%s:%d: %s%s%s", file, c->line, c->key, c->key[0] != '\0' ? ": " : "",
             c->what[0] != '\0' ? c->what : "not YAML");
    const char *right = declaration_right(c->key);
    if (right != NULL)
        buf_addf(why, "; it should be %s", right);
}

static enum err read_file(const char *file, struct buf *text, struct buf *why)
{
    FILE *in = fopen(file, "re");
    char chunk[8192];
    size_t len;

    if (in == NULL) {
        buf_addf(why, "%s: %s", file, strerror(errno));
        return ERR_CONFIG;
    }
    while ((len = fread(chunk, 1, sizeof chunk, in)) > 0 && text->len < FILE_MAX_BYTES)
        buf_add(text, chunk, len);
    bool failed = ferror(in) != 0;
    fclose(in);
    if (text->failed)
        return ERR_NO_MEMORY;
    if (!failed && text->len < FILE_MAX_BYTES)
        return ERR_OK;
    buf_addf(why, "%s: %s", file, failed ? strerror(errno) : "larger than 1 MiB");
    return ERR_CONFIG;
}

static const cyaml_config_t plain_config = {.mem_fn = cyaml_mem};

static enum err parse(const char *file, const struct buf *text, struct declarations **out,
                      struct buf *why)
{
    struct complaint complaint = {.what = ""};
    cyaml_config_t config = {.log_fn = take_log_line,
                             .log_ctx = &complaint,
                             .mem_fn = cyaml_mem,
                             .log_level = CYAML_LOG_ERROR};
    cyaml_data_t *loaded = NULL;
    cyaml_err_t e = cyaml_load_data((const uint8_t *)text->text, text->len, &config,
                                    &declaration_schema, &loaded, NULL);

    if (e == CYAML_ERR_OOM)
        return ERR_NO_MEMORY;
    if (e != CYAML_OK) {
        if (complaint.what[0] == '\0')
            snprintf(complaint.what, sizeof complaint.what, "%s", cyaml_strerror(e));
        explain(file, text->text, &complaint, why);
        return ERR_CONFIG;
    }
    *out = loaded;
    return ERR_OK;
}

/* -- what a schema cannot say ------------------------------------------------------- */

static bool in_range(int value, int most, const char *key, struct buf *why)
{
    if (value >= 0 && value <= most)
        return true;
    buf_addf(why, "%s is %d; it should be from 1 to %d", key, value, most);
    return false;
}

static bool name_is_fine(const char *name)
{
    return name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                             "0123456789_.:-")] == '\0';
}

static bool compile_argument(struct declared_argument *a, struct buf *why)
{
    CLEANUP(buf_release) struct buf whole = BUF_INIT;
    char reason[256];

    if (!arguments_name_is_fine(a->name)) {
        buf_addf(why, "args: the name %s has other characters than A-Z a-z 0-9 _ -",
                 a->name);
        return false;
    }
    if (a->pattern == NULL)
        return true;
    buf_addf(&whole, "^(%s)$", a->pattern);
    regex_t *compiled = calloc(1, sizeof *compiled);
    if (compiled == NULL || whole.failed) {
        free(compiled);
        return false;
    }
    int code = regcomp(compiled, whole.text, REG_EXTENDED | REG_NOSUB);
    if (code == 0) {
        a->compiled = compiled;
        return true;
    }
    regerror(code, compiled, reason, sizeof reason);
    buf_addf(why, "args: %s: pattern %s: %s", a->name, a->pattern, reason);
    free(compiled);
    return false;
}

static bool check_env(const struct declaration *d, struct buf *why)
{
    for (uint32_t i = 0; i < d->env_count; i++) {
        if (d->env[i][0] != '=' && d->env[i][0] != '\0')
            continue;
        buf_addf(why, "env: %s has no name; it should be NAME=value or NAME", d->env[i]);
        return false;
    }
    return true;
}

/* What commands and endpoints have in common. */
static bool check_limits(int grace_seconds, int max_attempts, int timeout_seconds,
                         struct buf *why)
{
    return in_range(grace_seconds, SECONDS_MAX, "grace_seconds", why) &&
           in_range(max_attempts, ATTEMPTS_MAX, "max_attempts", why) &&
           in_range(timeout_seconds, TIMEOUT_MAX, "timeout_seconds", why);
}

static bool check_declaration(struct declaration *d, struct buf *why)
{
    if (!check_limits(d->grace_seconds, d->max_attempts, d->timeout_seconds, why) ||
        !in_range(d->retry_seconds, SECONDS_MAX, "retry_seconds", why) ||
        !declared_retry_make(d->retry, why))
        return false;
    for (uint32_t i = 0; i < d->args_count; i++) {
        if (!compile_argument(&d->args[i], why))
            return false;
    }
    return check_env(d, why) && arguments_check(d, why);
}

/* -- all of it ----------------------------------------------------------------------- */

static const char *name_of(const struct declarations *all, uint32_t i)
{
    return i < all->commands_count ? all->commands[i].name
                                   : all->endpoints[i - all->commands_count].name;
}

/* The i-th of the commands, then of the endpoints. */
static bool finish_one(const char *file, struct declarations *all, uint32_t i,
                       struct buf *what)
{
    for (uint32_t k = 0; k < i; k++) {
        if (strcmp(name_of(all, k), name_of(all, i)) == 0)
            buf_adds(what, "the name is declared twice");
    }
    if (what->len == 0 && !name_is_fine(name_of(all, i)))
        buf_adds(what, "the name has other characters than A-Z a-z 0-9 _ . : -");
    if (what->len > 0)
        return false;
    if (i >= all->commands_count) {
        struct endpoint *e = &all->endpoints[i - all->commands_count];
        return check_limits(e->grace_seconds, e->max_attempts, e->timeout_seconds,
                            what) &&
               declared_retry_make(e->retry, what) && endpoint_check(e, file, what);
    }
    return check_declaration(&all->commands[i], what) &&
           declaration_make_base(&all->commands[i], file);
}

static enum err finish(const char *file, struct declarations *all, struct buf *why)
{
    CLEANUP(buf_release) struct buf what = BUF_INIT;

    for (uint32_t i = 0; i < all->commands_count + all->endpoints_count; i++) {
        if (finish_one(file, all, i, &what))
            continue;
        if (what.len == 0)
            return ERR_NO_MEMORY;
        buf_addf(why, "%s: %s %s: %s", file,
                 i < all->commands_count ? "command" : "endpoint", name_of(all, i),
                 what.text);
        return ERR_CONFIG;
    }
    return ERR_OK;
}

enum err declarations_load(const char *file, struct declarations **out, struct buf *why)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    struct declarations *all = NULL;
    enum err e = read_file(file, &text, why);

    if (e == ERR_OK)
        e = parse(file, &text, &all, why);
    if (e == ERR_OK && all != NULL)
        e = finish(file, all, why);
    if (e != ERR_OK)
        declarations_free(all);
    else
        *out = all;
    return e;
}

void declarations_free(struct declarations *all)
{
    if (all == NULL)
        return;
    for (uint32_t i = 0; i < all->commands_count; i++) {
        struct declaration *d = &all->commands[i];
        for (char **e = d->base_env; e != NULL && *e != NULL; e++)
            free(*e);
        free(d->base_env);
        declared_retry_release(d->retry);
        for (uint32_t k = 0; k < d->args_count; k++) {
            if (d->args[k].compiled != NULL)
                regfree(d->args[k].compiled);
            free(d->args[k].compiled);
        }
    }
    for (uint32_t i = 0; i < all->endpoints_count; i++) {
        declared_retry_release(all->endpoints[i].retry);
        free(all->endpoints[i].key);
    }
    cyaml_free(&plain_config, &declaration_schema, all, 0);
}
