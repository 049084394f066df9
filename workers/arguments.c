/* The args are read as text, member by member, because a number must arrive as it was
 * written: every JSON library makes 0.1 and 1e400 something else. jansson only decodes
 * the strings. */
#include "workers/arguments.h"

#include "server/core/cleanup.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = 129 };

static const char name_characters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

bool arguments_name_is_fine(const char *name)
{
    size_t len = strspn(name, name_characters);

    return len > 0 && len < NAME_ROOM && name[len] == '\0';
}

/* -- JSON text ---------------------------------------------------------------------- */

/* A piece of JSON text. */
struct span {
    const char *text;
    size_t len;
};

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_string(const char *at)
{
    for (at++; *at != '\0' && *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
    }
    return *at == '"' ? at + 1 : at;
}

static const char *skip_value(const char *at)
{
    int depth = 0;

    do {
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        if (*at == '{' || *at == '[')
            depth++;
        else if (*at == '}' || *at == ']')
            depth--;
        else if (depth == 0)
            return at + strcspn(at, ",}] \t\r\n");
        at++;
    } while (depth > 0 && *at != '\0');
    return at;
}

/* The decoded string, yours to free(); NULL when it holds a NUL or is none. */
static char *decode(struct span s)
{
    json_t *value = json_loadb(s.text, s.len, JSON_DECODE_ANY, NULL);
    const char *text = json_string_value(value);
    char *copy = text != NULL ? strdup(text) : NULL;

    json_decref(value);
    return copy;
}

/* Steps to the next member of an object; `at` starts behind its brace. */
static bool next_member(const char **at, struct span *key, struct span *value)
{
    const char *p = skip_space(*at);

    if (*p == ',')
        p = skip_space(p + 1);
    if (*p != '"')
        return false;
    key->text = p;
    p = skip_string(p);
    key->len = (size_t)(p - key->text);
    p = skip_space(p);
    if (*p != ':')
        return false;
    value->text = p = skip_space(p + 1);
    p = skip_value(p);
    value->len = (size_t)(p - value->text);
    *at = p;
    return true;
}

static bool key_is(struct span key, const char *name)
{
    size_t len = strlen(name);

    if (memchr(key.text, '\\', key.len) == NULL)
        return key.len == len + 2 && memcmp(key.text + 1, name, len) == 0;
    CLEANUP(free_ptr) char *decoded = decode(key);
    return decoded != NULL && strcmp(decoded, name) == 0;
}

static const char *members_of(const char *json)
{
    const char *at = skip_space(json);

    return *at == '{' ? at + 1 : "";
}

/* The last member of that name, as JSON readers have it; null counts as missing. */
static bool find_member(const char *json, const char *name, struct span *out)
{
    const char *at = members_of(json);
    struct span key, value;
    bool found = false;

    while (next_member(&at, &key, &value)) {
        if (!key_is(key, name))
            continue;
        found = value.text[0] != 'n';
        *out = value;
    }
    return found;
}

/* -- placeholders ------------------------------------------------------------------- */

/* True when `at` begins one: {{args.NAME}}, with spaces inside the braces if need be. */
static bool read_placeholder(const char *at, char name[NAME_ROOM], const char **out_end)
{
    if (strncmp(at, "{{", 2) != 0)
        return false;
    at += 2 + strspn(at + 2, " ");
    if (strncmp(at, "args.", 5) != 0)
        return false;
    at += 5;
    size_t len = strspn(at, name_characters);
    if (len == 0 || len >= NAME_ROOM)
        return false;
    const char *end = at + len + strspn(at + len, " ");
    if (strncmp(end, "}}", 2) != 0)
        return false;
    memcpy(name, at, len);
    name[len] = '\0';
    *out_end = end + 2;
    return true;
}

static const struct declared_argument *find_declared(const struct declaration *d,
                                                     const char *name)
{
    for (uint32_t i = 0; i < d->args_count; i++) {
        if (strcmp(d->args[i].name, name) == 0)
            return &d->args[i];
    }
    return NULL;
}

/* "{{" before anything but args is left alone: other programs have templates, too. */
static bool check_template(const struct declaration *d, const char *template,
                           bool is_program, struct buf *why)
{
    char name[NAME_ROOM];
    const char *end;

    for (const char *at = strstr(template, "{{"); at != NULL; at = strstr(end, "{{")) {
        end = at + 2;
        if (strncmp(end + strspn(end, " "), "args", 4) != 0)
            continue;
        if (!read_placeholder(at, name, &end)) {
            buf_addf(why, "command: %s; a placeholder should be {{args.NAME}}", template);
            return false;
        }
        if (is_program) {
            buf_addf(why, "command: the program may not come from the job: %s", template);
            return false;
        }
        if (d->args_count > 0 && find_declared(d, name) == NULL) {
            buf_addf(why, "command: %s: %s is not among its args", template, name);
            return false;
        }
    }
    return true;
}

bool arguments_check(const struct declaration *d, struct buf *why)
{
    for (uint32_t i = 0; i < d->command_count; i++) {
        if (!check_template(d, d->command[i], i == 0, why))
            return false;
    }
    return true;
}

/* -- values ------------------------------------------------------------------------- */

static bool type_fits(enum argument_type type, struct span value)
{
    char c = value.text[0];
    bool number = c == '-' || (c >= '0' && c <= '9');

    switch (type) {
    case ARGUMENT_STRING:
        return c == '"';
    case ARGUMENT_BOOLEAN:
        return c == 't' || c == 'f';
    case ARGUMENT_NUMBER:
        return number;
    case ARGUMENT_INTEGER:
        return number && memchr(value.text, '.', value.len) == NULL &&
               memchr(value.text, 'e', value.len) == NULL &&
               memchr(value.text, 'E', value.len) == NULL;
    }
    return false;
}

/* The value as an argument: yours to free(), NULL with words or without memory. */
static char *value_text(const char *name, struct span value, struct buf *why)
{
    char c = value.text[0], *text;

    if (c == '{' || c == '[') {
        buf_addf(why, "args.%s must be a string, a number or a boolean", name);
        return NULL;
    }
    if (c != '"')
        return strndup(value.text, value.len);
    text = decode(value);
    if (text == NULL)
        buf_addf(why, "args.%s holds a character that an argument cannot have", name);
    return text;
}

static bool check_value(const struct declared_argument *a, const char *json,
                        struct buf *why)
{
    static const char *const type_names[] = {"a string", "a number", "an integer",
                                             "a boolean"};
    struct span value;

    if (!find_member(json, a->name, &value)) {
        if (!a->required)
            return true;
        buf_addf(why, "args.%s is missing", a->name);
        return false;
    }
    if (!type_fits(a->type, value)) {
        buf_addf(why, "args.%s must be %s", a->name, type_names[a->type]);
        return false;
    }
    if (a->compiled == NULL)
        return true;
    CLEANUP(free_ptr) char *text = value_text(a->name, value, why);
    if (text != NULL && regexec(a->compiled, text, 0, NULL, 0) == 0)
        return true;
    if (text != NULL)
        buf_addf(why, "args.%s does not match %s", a->name, a->pattern);
    return false;
}

/* Where args are declared, they are all that a job may have. */
static bool check_args(const struct declaration *d, const char *json, struct buf *why)
{
    const char *at = members_of(json);
    struct span key, value;

    for (uint32_t i = 0; i < d->args_count; i++) {
        if (!check_value(&d->args[i], json, why))
            return false;
    }
    while (d->args_count > 0 && next_member(&at, &key, &value)) {
        bool known = false;
        for (uint32_t i = 0; i < d->args_count && !known; i++)
            known = key_is(key, d->args[i].name);
        if (known)
            continue;
        buf_addf(why, "args has %.*s, which this command does not take", (int)key.len,
                 key.text);
        return false;
    }
    return true;
}

static bool add_value(const struct declaration *d, const char *name, const char *json,
                      struct buf *argument, struct buf *why)
{
    const struct declared_argument *declared = find_declared(d, name);
    struct span value;

    if (!find_member(json, name, &value)) {
        if (declared == NULL || declared->fallback == NULL) {
            buf_addf(why, "args.%s is missing", name);
            return false;
        }
        buf_adds(argument, declared->fallback);
        return true;
    }
    CLEANUP(free_ptr) char *text = value_text(name, value, why);
    if (text != NULL)
        buf_adds(argument, text);
    return text != NULL;
}

static char *make_argument(const struct declaration *d, const char *template,
                           const char *json, struct buf *why)
{
    CLEANUP(buf_release) struct buf argument = BUF_INIT;
    char name[NAME_ROOM];

    for (const char *at = template; *at != '\0';) {
        const char *end;
        if (!read_placeholder(at, name, &end)) {
            buf_addc(&argument, *at++);
            continue;
        }
        if (!add_value(d, name, json, &argument, why))
            return NULL;
        at = end;
    }
    if (argument.text[0] == '-' && template[0] != '-' && !d->allow_dash) {
        buf_addf(why,
                 "%s would begin with \"-\", and the program could take it for an option",
                 template);
        return NULL;
    }
    return buf_detach(&argument);
}

bool arguments_make(const struct declaration *d, const char *args, char ***out_argv,
                    struct buf *why)
{
    char **argv = calloc(d->command_count + 1, sizeof *argv);

    if (argv == NULL || !check_args(d, args, why)) {
        free(argv);
        return false;
    }
    for (uint32_t i = 0; i < d->command_count; i++) {
        argv[i] = make_argument(d, d->command[i], args, why);
        if (argv[i] == NULL) {
            arguments_free(argv);
            return false;
        }
    }
    *out_argv = argv;
    return true;
}

void arguments_free(char **argv)
{
    if (argv == NULL)
        return;
    for (char **a = argv; *a != NULL; a++)
        free(*a);
    free(argv);
}
