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

#include <cyaml/cyaml.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>

enum {
    FILE_MAX_BYTES = 1024 * 1024,
    NAME_MAX_BYTES = 128,
    SECONDS_MAX = 86400,
    TIMEOUT_MAX = 7 * SECONDS_MAX,
    ATTEMPTS_MAX = 1000
};

/* What is right for a key; shown when it is wrong. */
static const struct {
    const char *key, *right;
} right_values[] = {
    {"commands", "a list, each with at least name: and command:"},
    {"name", "1 to 128 of the characters A-Z a-z 0-9 _ . : -"},
    {"description", "one line of text"},
    {"command", "the list of the program and its arguments, as in [/usr/bin/wc, -w, "
                "\"{{args.path}}\"]; quote what holds {{ }}"},
    {"stdin", "args (the job's args as JSON) or none"},
    {"env", "a list of NAME=value, or NAME to pass on what Belay has"},
    {"directory", "the path of a directory"},
    {"grace_seconds", "a whole number from 1 to 86400"},
    {"max_attempts", "a whole number from 1 to 1000"},
    {"retry_seconds", "a whole number from 1 to 86400"},
    {"timeout_seconds", "a whole number from 1 to 604800"},
    {"allow_dash", "true or false"},
    {"args", "a list, each with at least name:"},
    {"type", "string, number, integer or boolean"},
    {"required", "true or false"},
    {"pattern", "an extended regular expression for the whole value"},
    {"default", "text"},
};

#define COMMAND_KEYS                                                                     \
    "name, description, command, stdin, env, directory, grace_seconds, max_attempts, "   \
    "retry_seconds, timeout_seconds, allow_dash, args"
#define ARGUMENT_KEYS "name, type, required, pattern, default"

/* -- schema ------------------------------------------------------------------------- */

static const cyaml_strval_t truths[] = {{"false", 0}, {"no", 0}, {"true", 1}, {"yes", 1}};
static const cyaml_strval_t stdins[] = {{"args", STDIN_ARGS}, {"none", STDIN_NONE}};
static const cyaml_strval_t types[] = {{"string", ARGUMENT_STRING},
                                       {"number", ARGUMENT_NUMBER},
                                       {"integer", ARGUMENT_INTEGER},
                                       {"boolean", ARGUMENT_BOOLEAN}};

#define MUST         CYAML_FLAG_POINTER
#define MAY          (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define MAY_PLAIN    (CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const cyaml_schema_value_t text_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t argument_fields[] = {
    CYAML_FIELD_STRING_PTR("name", MUST, struct declared_argument, name, 1,
                           NAME_MAX_BYTES),
    CYAML_FIELD_ENUM("type", MAY_PLAIN, struct declared_argument, type, types,
                     COUNT(types)),
    CYAML_FIELD_ENUM("required", MAY_PLAIN, struct declared_argument, required, truths,
                     COUNT(truths)),
    CYAML_FIELD_STRING_PTR("pattern", MAY, struct declared_argument, pattern, 1,
                           CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("default", MAY, struct declared_argument, fallback, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t argument_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct declared_argument, argument_fields)};

static const cyaml_schema_field_t command_fields[] = {
    CYAML_FIELD_STRING_PTR("name", MUST, struct declaration, name, 1, NAME_MAX_BYTES),
    CYAML_FIELD_STRING_PTR("description", MAY, struct declaration, description, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE("command", MUST, struct declaration, command, &text_value, 1,
                         1024),
    CYAML_FIELD_ENUM("stdin", MAY_PLAIN, struct declaration, stdin_from, stdins,
                     COUNT(stdins)),
    CYAML_FIELD_SEQUENCE("env", MAY, struct declaration, env, &text_value, 0, 1024),
    CYAML_FIELD_STRING_PTR("directory", MAY, struct declaration, directory, 1,
                           CYAML_UNLIMITED),
    CYAML_FIELD_INT("grace_seconds", CYAML_FLAG_OPTIONAL, struct declaration,
                    grace_seconds),
    CYAML_FIELD_INT("max_attempts", CYAML_FLAG_OPTIONAL, struct declaration,
                    max_attempts),
    CYAML_FIELD_INT("retry_seconds", CYAML_FLAG_OPTIONAL, struct declaration,
                    retry_seconds),
    CYAML_FIELD_INT("timeout_seconds", CYAML_FLAG_OPTIONAL, struct declaration,
                    timeout_seconds),
    CYAML_FIELD_ENUM("allow_dash", MAY_PLAIN, struct declaration, allow_dash, truths,
                     COUNT(truths)),
    CYAML_FIELD_SEQUENCE("args", MAY, struct declaration, args, &argument_value, 0, 256),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t command_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct declaration, command_fields)};

static const cyaml_schema_field_t file_fields[] = {
    CYAML_FIELD_SEQUENCE("commands", MAY, struct declarations, commands, &command_value,
                         0, 10000),
#define SETTING(field, type, flag, env, key, def, least, most, help)                     \
    CYAML_FIELD_IGNORE(key, CYAML_FLAG_OPTIONAL),
#include "server/core/config.def"
#undef SETTING
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct declarations, file_fields)};

/* -- reading ------------------------------------------------------------------------ */

/* What libcyaml said. */
struct complaint {
    char what[256];  /* "Unexpected key: prot" */
    char key[128];   /* of the innermost mapping field, or "" */
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
    if (at != NULL && c->key[0] == '\0')
        snprintf(c->key, sizeof c->key, "%.*s", (int)strcspn(at + 15, "'"), at + 15);
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
                 c->depth <= 1   ? "commands and the settings of docs/configuration.md"
                 : c->depth <= 3 ? COMMAND_KEYS
                                 : ARGUMENT_KEYS);
        return;
    }
    buf_addf(why, "%s:%d: %s%s%s", file, c->line, c->key, c->key[0] != '\0' ? ": " : "",
             c->what[0] != '\0' ? c->what : "not YAML");
    for (size_t i = 0; i < COUNT(right_values); i++) {
        if (strcmp(right_values[i].key, c->key) == 0)
            buf_addf(why, "; it should be %s", right_values[i].right);
    }
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
                                    &file_value, &loaded, NULL);

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

static bool check_declaration(struct declaration *d, struct buf *why)
{
    if (!name_is_fine(d->name)) {
        buf_adds(why, "the name has other characters than A-Z a-z 0-9 _ . : -");
        return false;
    }
    if (!in_range(d->grace_seconds, SECONDS_MAX, "grace_seconds", why) ||
        !in_range(d->max_attempts, ATTEMPTS_MAX, "max_attempts", why) ||
        !in_range(d->retry_seconds, SECONDS_MAX, "retry_seconds", why) ||
        !in_range(d->timeout_seconds, TIMEOUT_MAX, "timeout_seconds", why))
        return false;
    for (uint32_t i = 0; i < d->args_count; i++) {
        if (!compile_argument(&d->args[i], why))
            return false;
    }
    return check_env(d, why) && arguments_check(d, why);
}

/* -- all of it ----------------------------------------------------------------------- */

static enum err finish(const char *file, struct declarations *all, struct buf *why)
{
    CLEANUP(buf_release) struct buf what = BUF_INIT;

    for (uint32_t i = 0; i < all->commands_count; i++) {
        struct declaration *d = &all->commands[i];
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(all->commands[k].name, d->name) == 0)
                buf_adds(&what, "the name is declared twice");
        }
        if (what.len == 0 && check_declaration(d, &what) &&
            declaration_make_base(d, file))
            continue;
        if (what.len == 0)
            return ERR_NO_MEMORY;
        buf_addf(why, "%s: command %s: %s", file, d->name, what.text);
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
        for (uint32_t k = 0; k < d->args_count; k++) {
            if (d->args[k].compiled != NULL)
                regfree(d->args[k].compiled);
            free(d->args[k].compiled);
        }
    }
    cyaml_free(&plain_config, &file_value, all, 0);
}
