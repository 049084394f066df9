#include "workers/declaration.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(declaration, .timeout = 30);

static char directory[] = "/tmp/belay-declaration-XXXXXX";
static char path[PATH_MAX];

static enum err load(const char *yaml, struct declarations **out, struct buf *why)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/belay.yaml", directory);
    FILE *f = fopen(path, "w");
    fputs(yaml, f);
    fclose(f);
    enum err e = declarations_load(path, out, why);
    unlink(path);
    rmdir(directory);
    memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
    return e;
}

static struct declarations *loaded(const char *yaml)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct declarations *all = NULL;

    cr_assert_eq(load(yaml, &all, &why), ERR_OK, "%s", why.text);
    return all;
}

/* The file is refused, and the words hold each of the parts. */
static void refused(const char *yaml, const char *part, const char *and_part)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct declarations *all = NULL;
    enum err e = load(yaml, &all, &why);

    cr_expect_eq(e, ERR_CONFIG, "accepted: %s", yaml);
    cr_expect_null(all);
    cr_expect(strstr(why.text, "/belay.yaml:") != NULL, "no file in: %s", why.text);
    cr_expect(strstr(why.text, part) != NULL, "no \"%s\" in: %s", part, why.text);
    cr_expect(strstr(why.text, and_part) != NULL, "no \"%s\" in: %s", and_part, why.text);
}

Test(declaration, a_file_without_commands_declares_nothing)
{
    struct declarations *all = loaded("# only a comment\n");

    cr_assert_null(all);
    all = loaded("port: 8080\nlisten_notify: false\n");
    cr_assert_eq(all->commands_count, 0);
    declarations_free(all);
}

Test(declaration, all_keys_are_read)
{
    struct declarations *all =
        loaded("commands:\n"
               "  - name: word-count\n"
               "    description: counts words\n"
               "    command: [/usr/bin/wc, -w, \"{{args.path}}\"]\n"
               "    stdin: none\n"
               "    env: [A=b, C=d=e]\n"
               "    directory: /srv\n"
               "    grace_seconds: 3\n"
               "    max_attempts: 4\n"
               "    retry_seconds: 5\n"
               "    timeout_seconds: 90\n"
               "    allow_dash: true\n"
               "    args:\n"
               "      - name: path\n"
               "        type: integer\n"
               "        required: true\n"
               "        pattern: '[0-9]+'\n"
               "        default: '7'\n");
    const struct declaration *d = &all->commands[0];

    cr_assert_eq(all->commands_count, 1);
    cr_assert_str_eq(d->name, "word-count");
    cr_assert_str_eq(d->description, "counts words");
    cr_assert_eq(d->command_count, 3);
    cr_assert_str_eq(d->command[2], "{{args.path}}");
    cr_assert_eq(d->stdin_from, STDIN_NONE);
    cr_assert_str_eq(d->directory, "/srv");
    cr_assert_eq(d->grace_seconds, 3);
    cr_assert_eq(d->max_attempts, 4);
    cr_assert_eq(d->retry_seconds, 5);
    cr_assert_eq(d->timeout_seconds, 90);
    cr_assert(d->allow_dash);
    cr_assert_eq(d->args[0].type, ARGUMENT_INTEGER);
    cr_assert(d->args[0].required);
    cr_assert_str_eq(d->args[0].fallback, "7");
    cr_assert_not_null(d->args[0].compiled);
    declarations_free(all);
}

Test(declaration, the_environment_is_small_and_declared_names_win)
{
    setenv("PATH", "/usr/bin", 1);
    setenv("PASSED_ON", "yes", 1);
    unsetenv("NOT_THERE");
    unsetenv("LANG");
    setenv("HOME", "/root", 1);
    struct declarations *all =
        loaded("commands:\n  - name: a\n    command: [b]\n"
               "    env: [HOME=/nowhere, PASSED_ON, NOT_THERE, X=1]\n");
    char **env = all->commands[0].base_env;

    cr_assert_str_eq(env[0], "PATH=/usr/bin");
    cr_assert_str_eq(env[1], "LANG=C.UTF-8");
    cr_assert_str_eq(env[2], "HOME=/nowhere");
    cr_assert_str_eq(env[3], "PASSED_ON=yes");
    cr_assert_str_eq(env[4], "X=1");
    cr_assert_null(env[5]);
    declarations_free(all);
}

Test(declaration, paths_are_relative_to_the_file)
{
    char expected[PATH_MAX + 16];
    struct declarations *all =
        loaded("commands:\n  - {name: a, command: [./run], directory: data}\n"
               "  - {name: b, command: [sh]}\n");

    snprintf(expected, sizeof expected, "%.*s/./run", (int)(strlen(path) - 11), path);
    cr_assert_str_eq(all->commands[0].command[0], expected);
    snprintf(expected, sizeof expected, "%.*s/data", (int)(strlen(path) - 11), path);
    cr_assert_str_eq(all->commands[0].directory, expected);
    cr_assert_str_eq(all->commands[1].command[0], "sh", "looked for in PATH");
    cr_assert_null(all->commands[1].directory);
    declarations_free(all);
}

Test(declaration, an_unknown_key_is_refused_with_its_line_and_the_known_ones)
{
    refused("port: 1\nprot: 2\n", ":2: unknown key prot",
            "commands, endpoints and the settings");
    refused("commands:\n  - name: a\n    comand: [b]\n", ":3: unknown key comand",
            "retry_seconds, retry, timeout_seconds, delete_policy, allow_dash, args");
    refused("commands:\n  - name: a\n    command: [b]\n    args:\n      - nam: c\n",
            ":5: unknown key nam", "required, pattern, default");
}

Test(declaration, a_retry_strategy_is_read_and_checked)
{
    struct declarations *all =
        loaded("commands:\n  - name: a\n    command: [b]\n    retry: {kind: linear, "
               "wait_seconds: 0, max_wait_seconds: 1.5, jitter: yes, on: [x, y]}\n"
               "  - {name: c, command: [d]}\n");
    const struct retry_strategy *s = declared_retry_strategy(all->commands[0].retry);

    cr_assert_not_null(s);
    cr_expect_eq(s->kind, RETRY_LINEAR);
    cr_expect_eq(s->jitter, RETRY_JITTER_YES);
    cr_expect_lt(s->wait_seconds, 0, "none, and not the setting");
    cr_expect_eq(s->max_wait_seconds, 1.5);
    cr_expect_str_eq(s->on[1], "y");
    cr_expect_null(s->on[2]);
    cr_expect_null(declared_retry_strategy(all->commands[1].retry));
    declarations_free(all);
    refused("commands:\n  - name: a\n    command: [b]\n    retry: {wait: 1}\n",
            ":4: unknown key wait", "kind, wait_seconds, max_wait_seconds, jitter, on");
    refused("commands:\n  - name: a\n    command: [b]\n    retry: {kind: often}\n",
            ":4: ", "fixed, linear or exponential");
    refused("commands:\n  - name: a\n    command: [b]\n    retry: {wait_seconds: -1}\n",
            "command a: retry: wait_seconds", "from 0 to 604800");
}

Test(declaration, a_wrong_value_is_refused_with_what_would_be_right)
{
    refused("commands:\n  - name: a\n    command: wc -w\n",
            ":3: command: ", "the list of the program and its arguments");
    refused("commands:\n  - name: a\n    command: [b, {{args.c}}]\n", ":3: ", "");
    refused("commands:\n  - name: a\n    command: [b]\n    max_attempts: many\n",
            ":4: ", "a whole number from 1 to 1000");
    refused("commands:\n  - name: a\n    command: [b]\n    allow_dash: flase\n",
            ":4: ", "true or false");
    refused("commands:\n  - name: a\n    command: [b]\n    stdin: file\n",
            ":4: ", "none");
    refused("commands:\n  - name: a\n", "command", "");
    refused("commands: 7\n", ":1: ", "a list");
    refused("commands:\n", ":1: ", "a list");
    refused("commands:\n  - name: a\n    command: []\n",
            ":3: ", "the list of the program");
    refused("a: [\n", "", "");
}

Test(declaration, what_a_schema_cannot_say_is_refused_with_the_command)
{
    refused("commands:\n  - {name: a b, command: [c]}\n", "command a b: ", "A-Z a-z");
    refused("commands:\n  - {name: a, command: [c]}\n  - {name: a, command: [c]}\n",
            "command a: ", "twice");
    refused("commands:\n  - {name: a, command: [b], grace_seconds: -1}\n",
            "grace_seconds", "from 1 to 86400");
    refused("commands:\n  - {name: a, command: [b], env: [=x]}\n", "=x", "NAME=value");
    refused(
        "commands:\n  - name: a\n    command: [b]\n    args: [{name: c, pattern: '('}]\n",
        "pattern (", "command a");
    refused("commands:\n  - name: a\n    command: [b]\n    args: [{name: c d}]\n", "c d",
            "A-Z");
}

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

Test(declaration, an_endpoint_is_checked_like_a_command)
{
    refused("endpoints:\n  - name: a\n    ulr: b\n", ":3: unknown key ulr",
            "cancel_url, headers");
    refused("endpoints:\n  - {name: a, url: ftp://b/, secret: " SECRET "}\n",
            "endpoint a: url", "http://");
    refused("endpoints:\n  - {name: a, url: 'http://b/', cancel_url: c, secret: " SECRET
            "}\n",
            "endpoint a: cancel_url", "http://");
    refused("endpoints:\n  - {name: a, url: 'http://b/'}\n",
            "endpoint a: ", "secret_file");
    refused("endpoints:\n  - {name: a, url: 'http://b/', secret: whsec_short}\n",
            "endpoint a: the secret", "24 to 64 bytes");
    refused("endpoints:\n  - {name: a, url: 'http://b/', secret_file: not-there}\n",
            "not-there", "No such file");
    refused("endpoints:\n  - {name: a, url: 'http://b/', secret: " SECRET
            ", headers: ['webhook-id: 1']}\n",
            "headers: webhook-id: 1", "Name: value");
    refused("commands: [{name: a, command: [b]}]\n"
            "endpoints: [{name: a, url: 'http://b/', secret: " SECRET "}]\n",
            "endpoint a: ", "twice");
}

Test(declaration, a_placeholder_must_be_well_formed_and_declared)
{
    refused("commands:\n  - {name: a, command: [b, '{{args}}']}\n", "{{args}}",
            "{{args.NAME}}");
    refused("commands:\n  - {name: a, command: [b, '{{args.c']}\n", "{{args.c",
            "{{args.NAME}}");
    refused("commands:\n  - {name: a, command: [b, '{{args.c.d}}']}\n", "{{args.c.d}}",
            "{{args.NAME}}");
    refused("commands:\n  - {name: a, command: ['{{args.c}}']}\n", "the program may not",
            "command a");
    refused("commands:\n  - {name: a, command: [b, '{{args.c}}'], args: [{name: d}]}\n",
            "c is not among its args", "command a");
    declarations_free(
        loaded("commands:\n  - {name: a, command: [b, '{{.ID}} {{ args.c }}']}\n"));
}

Test(declaration, a_missing_file_is_refused)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct declarations *all = NULL;

    cr_assert_eq(declarations_load("/no/such/belay.yaml", &all, &why), ERR_CONFIG);
    cr_assert(strstr(why.text, "No such file") != NULL, "%s", why.text);
}
