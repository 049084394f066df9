/* One table a kind of mapping. A key that is new is a line in its table, one in the words
 * of what is right, and one in the list of keys of its kind. Rejected: to derive the
 * lists of keys from the tables at run time (more code than the three strings). */
#include "workers/declaration_schema.h"

#include "workers/declaration.h"
#include "workers/endpoint.h"
#include "workers/strategy.h"

#include <string.h>

enum { NAME_MAX_BYTES = 128, URL_MAX_BYTES = 2048 };

/* What is right for a key; shown when it is wrong. */
static const struct {
    const char *key, *right;
} right_values[] = {
    {"commands", "a list, each with at least name: and command:"},
    {"endpoints", "a list, each with at least name:, url: and a secret"},
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
    {"delete_policy", "never, successful or always"},
    {"timeout_seconds", "a whole number from 1 to 604800"},
    {"retry", "a mapping with kind, wait_seconds, max_wait_seconds, jitter and on"},
    {"kind", "fixed, linear or exponential"},
    {"wait_seconds", "a number from 0 to 604800"},
    {"max_wait_seconds", "a number from 0 to 604800"},
    {"jitter", "true or false"},
    {"on", "a list of the kinds of error to try again"},
    {"allow_dash", "true or false"},
    {"args", "a list, each with at least name:"},
    {"url", "an address that begins with http:// or https://"},
    {"cancel_url", "an address that begins with http:// or https://"},
    {"secret", "whsec_ and at least 24 bytes in base64"},
    {"secret_file", "the path of a file that holds such a secret"},
    {"headers", "a list of \"Name: value\""},
    {"allow_private", "true or false"},
    {"type", "string, number, integer or boolean"},
    {"required", "true or false"},
    {"pattern", "an extended regular expression for the whole value"},
    {"default", "text"},
};

#define COMMAND_KEYS                                                                     \
    "name, description, command, stdin, env, directory, grace_seconds, max_attempts, "   \
    "retry_seconds, retry, timeout_seconds, delete_policy, allow_dash, args"
#define RETRY_KEYS    "kind, wait_seconds, max_wait_seconds, jitter, on"
#define ARGUMENT_KEYS "name, type, required, pattern, default"
#define ENDPOINT_KEYS                                                                    \
    "name, description, url, secret, secret_file, cancel_url, headers, grace_seconds, "  \
    "max_attempts, retry, timeout_seconds, delete_policy, allow_private"

/* -- schema ------------------------------------------------------------------------- */

static const cyaml_strval_t truths[] = {{"false", 0}, {"no", 0}, {"true", 1}, {"yes", 1}};
static const cyaml_strval_t stdins[] = {{"args", STDIN_ARGS}, {"none", STDIN_NONE}};
static const cyaml_strval_t policies[] = {{"never", DELETE_NEVER},
                                          {"successful", DELETE_SUCCESSFUL},
                                          {"always", DELETE_ALWAYS}};
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

static const cyaml_strval_t retry_kinds[] = {
    {"exponential", RETRY_EXPONENTIAL}, {"linear", RETRY_LINEAR}, {"fixed", RETRY_FIXED}};
static const cyaml_strval_t jitters[] = {{"false", RETRY_JITTER_NO},
                                         {"no", RETRY_JITTER_NO},
                                         {"true", RETRY_JITTER_YES},
                                         {"yes", RETRY_JITTER_YES}};
static const cyaml_schema_field_t retry_fields[] = {
    CYAML_FIELD_ENUM("kind", MAY_PLAIN, struct declared_retry, kind, retry_kinds,
                     COUNT(retry_kinds)),
    CYAML_FIELD_FLOAT_PTR("wait_seconds", MAY, struct declared_retry, wait_seconds),
    CYAML_FIELD_FLOAT_PTR("max_wait_seconds", MAY, struct declared_retry,
                          max_wait_seconds),
    CYAML_FIELD_ENUM("jitter", MAY_PLAIN, struct declared_retry, jitter, jitters,
                     COUNT(jitters)),
    CYAML_FIELD_SEQUENCE("on", MAY, struct declared_retry, on, &text_value, 0,
                         STRATEGY_KINDS_MAX),
    CYAML_FIELD_END,
};

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
    CYAML_FIELD_MAPPING_PTR("retry", MAY, struct declaration, retry, retry_fields),
    CYAML_FIELD_INT("timeout_seconds", CYAML_FLAG_OPTIONAL, struct declaration,
                    timeout_seconds),
    CYAML_FIELD_ENUM("delete_policy", MAY_PLAIN, struct declaration, delete_policy,
                     policies, COUNT(policies)),
    CYAML_FIELD_ENUM("allow_dash", MAY_PLAIN, struct declaration, allow_dash, truths,
                     COUNT(truths)),
    CYAML_FIELD_SEQUENCE("args", MAY, struct declaration, args, &argument_value, 0, 256),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t command_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct declaration, command_fields)};

static const cyaml_schema_field_t endpoint_fields[] = {
    CYAML_FIELD_STRING_PTR("name", MUST, struct endpoint, name, 1, NAME_MAX_BYTES),
    CYAML_FIELD_STRING_PTR("description", MAY, struct endpoint, description, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("url", MUST, struct endpoint, url, 1, URL_MAX_BYTES),
    CYAML_FIELD_STRING_PTR("cancel_url", MAY, struct endpoint, cancel_url, 1,
                           URL_MAX_BYTES),
    CYAML_FIELD_STRING_PTR("secret", MAY, struct endpoint, secret, 0, CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("secret_file", MAY, struct endpoint, secret_file, 1,
                           CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE("headers", MAY, struct endpoint, headers, &text_value, 0, 64),
    CYAML_FIELD_INT("grace_seconds", CYAML_FLAG_OPTIONAL, struct endpoint, grace_seconds),
    CYAML_FIELD_INT("max_attempts", CYAML_FLAG_OPTIONAL, struct endpoint, max_attempts),
    CYAML_FIELD_MAPPING_PTR("retry", MAY, struct endpoint, retry, retry_fields),
    CYAML_FIELD_INT("timeout_seconds", CYAML_FLAG_OPTIONAL, struct endpoint,
                    timeout_seconds),
    CYAML_FIELD_ENUM("delete_policy", MAY_PLAIN, struct endpoint, delete_policy, policies,
                     COUNT(policies)),
    CYAML_FIELD_ENUM("allow_private", MAY_PLAIN, struct endpoint, allow_private, truths,
                     COUNT(truths)),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t endpoint_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct endpoint, endpoint_fields)};

static const cyaml_schema_field_t file_fields[] = {
    CYAML_FIELD_SEQUENCE("commands", MAY, struct declarations, commands, &command_value,
                         0, 10000),
    CYAML_FIELD_SEQUENCE("endpoints", MAY, struct declarations, endpoints,
                         &endpoint_value, 0, 10000),
#define SETTING(field, type, flag, env, key, def, least, most, help)                     \
    CYAML_FIELD_IGNORE(key, CYAML_FLAG_OPTIONAL),
#include "server/core/config.def"
#undef SETTING
    CYAML_FIELD_END,
};
const cyaml_schema_value_t declaration_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct declarations, file_fields)};

/* -- words --------------------------------------------------------------------------- */

const char *declaration_right(const char *key)
{
    for (size_t i = 0; i < COUNT(right_values); i++) {
        if (strcmp(right_values[i].key, key) == 0)
            return right_values[i].right;
    }
    return NULL;
}

const char *declaration_keys(const char *list, const char *field, int depth)
{
    if (strcmp(field, "retry") == 0)
        return RETRY_KEYS;
    if (depth <= 1)
        return "commands, endpoints and the settings of docs/configuration.md";
    if (strcmp(list, "endpoints") == 0)
        return ENDPOINT_KEYS;
    return depth <= 3 ? COMMAND_KEYS : ARGUMENT_KEYS;
}
