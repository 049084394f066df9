#include "server/core/config.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/belay-config-XXXXXX";
static char path[64], secret_path[64];

/* Each test is a process of its own: the environment is its own, too. */
static void set_up(void)
{
    static const char *const names[] = {
#define SETTING(field, type, flag, env, key, def, least, most, help) env,
#include "server/core/config.def"
#undef SETTING
        "BELAY_CONFIG", "DATABASE_URL_FILE"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/belay.yaml", directory);
    snprintf(secret_path, sizeof secret_path, "%s/secret", directory);
}

static void tear_down(void)
{
    unlink(path);
    unlink(secret_path);
    rmdir(directory);
}

TestSuite(config, .init = set_up, .fini = tear_down, .timeout = 30);

static void write_to(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");

    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

/* A file with this text, as --config. */
static void use_file(const char *yaml)
{
    write_to(path, yaml);
    setenv("BELAY_CONFIG", path, 1);
}

static enum err load(struct config *c, struct buf *why, const char *const *args)
{
    char *argv[16] = {strdup("serve")};
    int argc = 1;

    for (; args != NULL && args[argc - 1] != NULL; argc++)
        argv[argc] = strdup(args[argc - 1]);
    enum err e = config_load(c, argc, argv, why);
    while (argc > 0)
        free(argv[--argc]);
    return e;
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_ARGS   NULL

static struct config loaded(const char *const *args)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct config c;

    cr_assert_eq(load(&c, &why, args), ERR_OK, "%s", why.text);
    return c;
}

/* Refused with this error, and the words are these; PATH in them is the file. */
static void refused(const char *const *args, enum err expected, const char *words)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT, full = BUF_INIT;
    const char *at = strstr(words, "PATH");
    struct config c;
    enum err e = load(&c, &why, args);

    if (at != NULL)
        buf_addf(&full, "%.*s%s%s", (int)(at - words), words, path, at + 4);
    else
        buf_adds(&full, words);
    cr_expect_eq(e, expected, "%s: %s", err_code(e), why.text);
    cr_expect_str_eq(why.text, full.text);
    config_release(&c);
}

/* -- where values come from ---------------------------------------------------------- */

Test(config, without_anything_the_defaults_hold)
{
    struct config c = loaded(NO_ARGS);

    cr_expect_eq(c.port, 8080);
    cr_expect_str_eq(c.listen, "127.0.0.1");
    cr_expect(c.listen_notify);
    cr_expect_str_eq(c.database_url, "");
    cr_expect_null(c.file);
    config_release(&c);
}

Test(config, the_flag_wins_over_the_environment_and_that_over_the_file)
{
    use_file("port: 1\nconcurrency: 1\ngrace_seconds: 1\n");
    setenv("PORT", "2", 1);
    setenv("BELAY_CONCURRENCY", "2", 1);
    struct config c = loaded(ARGS("--port", "3"));

    cr_expect_eq(c.port, 3);
    cr_expect_eq(c.concurrency, 2);
    cr_expect_eq(c.grace_seconds, 1);
    cr_expect_eq(c.lease_seconds, 30);
    cr_expect_str_eq(c.file, path);
    config_release(&c);
}

Test(config, the_flag_for_the_file_wins_over_its_variable)
{
    setenv("BELAY_CONFIG", "/nowhere/belay.yaml", 1);
    write_to(path, "port: 7\n");
    struct config c = loaded(ARGS("--config", path));

    cr_expect_eq(c.port, 7);
    config_release(&c);
}

Test(config, flags_are_written_in_four_ways)
{
    struct config c =
        loaded(ARGS("--port=1", "--queues", "a,b", "--no-listen-notify", "--node-name="));

    cr_expect_eq(c.port, 1);
    cr_expect_str_eq(c.queues, "a,b");
    cr_expect_not(c.listen_notify);
    cr_expect_str_eq(c.node_name, "");
    config_release(&c);
    c = loaded(ARGS("--listen-notify", "--listen-notify=off", "--port", "5", "--port=6"));
    cr_expect_not(c.listen_notify);
    cr_expect_eq(c.port, 6);
    config_release(&c);
}

Test(config, a_bool_has_eight_words)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};

    for (int i = 0; i < 4; i++) {
        setenv("BELAY_LISTEN_NOTIFY", yes[i], 1);
        struct config c = loaded(NO_ARGS);
        cr_expect(c.listen_notify);
        config_release(&c);
        setenv("BELAY_LISTEN_NOTIFY", no[i], 1);
        c = loaded(NO_ARGS);
        cr_expect_not(c.listen_notify);
        config_release(&c);
    }
}

Test(config, a_variable_that_is_set_to_nothing_is_not_set)
{
    setenv("PORT", "", 1);
    setenv("DATABASE_URL", "", 1);
    setenv("BELAY_CONFIG", "", 1);
    struct config c = loaded(NO_ARGS);

    cr_expect_eq(c.port, 8080);
    config_release(&c);
}

Test(config, other_variables_that_begin_with_belay_are_not_ours)
{
    setenv("BELAY_URL", "http://127.0.0.1:1", 1);
    setenv("BELAY_BINARY", "build/belay", 1);
    struct config c = loaded(NO_ARGS);

    config_release(&c);
}

Test(config, the_extremes_of_a_range_are_in_it)
{
    struct config c = loaded(ARGS("--port", "65535", "--concurrency", "0"));

    cr_expect_eq(c.port, 65535);
    cr_expect_eq(c.concurrency, 0);
    config_release(&c);
}

/* -- the file ------------------------------------------------------------------------ */

Test(config, the_part_that_declares_commands_is_passed_over)
{
    use_file("# settings and commands\nport: 81\ncommands:\n  - name: hello\n"
             "    command: [/bin/echo, \"{{args.x}}\"]\n    nonsense: {a: [b, {c: d}]}\n"
             "queues: [mails, \"reports\"]\nnode_name: 'a b'\n");
    struct config c = loaded(NO_ARGS);

    cr_expect_eq(c.port, 81);
    cr_expect_str_eq(c.queues, "mails,reports");
    cr_expect_str_eq(c.node_name, "a b");
    config_release(&c);
}

Test(config, a_key_without_value_leaves_the_default)
{
    use_file("port:\nqueues: ~\nlisten: null\n");
    struct config c = loaded(NO_ARGS);

    cr_expect_eq(c.port, 8080);
    cr_expect_str_eq(c.listen, "127.0.0.1");
    config_release(&c);
}

Test(config, an_empty_file_is_fine)
{
    use_file("");
    struct config c = loaded(NO_ARGS);
    config_release(&c);
    use_file("# nothing\n");
    c = loaded(NO_ARGS);
    config_release(&c);
}

Test(config, what_is_wrong_in_the_file_is_said_with_its_line)
{
    use_file("\nprot: 1\n");
    refused(NO_ARGS, ERR_CONFIG, "PATH:2: unknown key prot; did you mean port?");
    use_file("port: 1\nsomething_else: 1\n");
    refused(NO_ARGS, ERR_CONFIG,
            "PATH:2: unknown key something_else; the keys are commands and the settings, "
            "which belay serve --help lists");
    use_file("comands: []\n");
    refused(NO_ARGS, ERR_CONFIG, "PATH:1: unknown key comands; did you mean commands?");
    use_file("port: 1\nlisten: x\nport: 2\n");
    refused(NO_ARGS, ERR_CONFIG, "PATH:3: port is there twice");
    use_file("port: http\n");
    refused(
        NO_ARGS, ERR_CONFIG,
        "PATH:1: port: http is not right; it should be a whole number from 0 to 65535");
    use_file("port: [1, 2]\n");
    refused(NO_ARGS, ERR_CONFIG, "PATH:1: port: it should be one value");
    use_file("- port\n");
    refused(NO_ARGS, ERR_CONFIG,
            "PATH:1: the file should be lines of the form \"key: value\"");
    use_file("port: 1\nlisten: \"x\nqueues: a\n");
    refused(NO_ARGS, ERR_CONFIG, "PATH:4: not YAML: found unexpected end of stream");
}

Test(config, a_mistake_in_the_file_is_found_although_a_flag_hides_it)
{
    use_file("port: 70000\n");
    refused(
        ARGS("--port", "80"), ERR_CONFIG,
        "PATH:1: port: 70000 is not right; it should be a whole number from 0 to 65535");
}

Test(config, a_file_that_is_not_there_is_an_error)
{
    refused(ARGS("--config", "/nowhere/belay.yaml"), ERR_CONFIG,
            "/nowhere/belay.yaml: No such file or directory");
}

/* -- values -------------------------------------------------------------------------- */

Test(config, a_wrong_value_is_said_with_what_would_be_right)
{
    refused(ARGS("--port", "65536"), ERR_USAGE,
            "--port: 65536 is not right; it should be a whole number from 0 to 65535");
    refused(ARGS("--port=-1"), ERR_USAGE,
            "--port: -1 is not right; it should be a whole number from 0 to 65535");
    refused(ARGS("--port", "80x"), ERR_USAGE,
            "--port: 80x is not right; it should be a whole number from 0 to 65535");
    refused(ARGS("--port="), ERR_USAGE,
            "--port: nothing is not right; it should be a whole number from 0 to 65535");
    refused(
        ARGS("--port", "99999999999999999999"), ERR_USAGE,
        "--port: 99999999999999999999 is not right; it should be a whole number from 0 "
        "to 65535");
    refused(ARGS("--listen-notify=maybe"), ERR_USAGE,
            "--listen-notify: maybe is not right; it should be true or false");
    refused(ARGS("--log-format", "xml"), ERR_USAGE,
            "--log-format: xml is not right; it should be text, logfmt or json");
    refused(ARGS("--log-level", "or"), ERR_USAGE,
            "--log-level: or is not right; it should be debug, info, warn or error");
    setenv("BELAY_CONCURRENCY", "many", 1);
    refused(NO_ARGS, ERR_CONFIG,
            "BELAY_CONCURRENCY: many is not right; it should be a whole number from 0 to "
            "1024");
}

Test(config, each_word_of_a_closed_list_is_right)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    static const char *const formats[] = {"text", "logfmt", "json"};

    for (int i = 0; i < 12; i++) {
        struct config c =
            loaded(ARGS("--log-level", levels[i % 4], "--log-format", formats[i / 4]));
        cr_expect_str_eq(c.log_level, levels[i % 4]);
        cr_expect_str_eq(c.log_format, formats[i / 4]);
        config_release(&c);
    }
}

/* -- flags --------------------------------------------------------------------------- */

Test(config, an_unknown_flag_is_answered_with_the_nearest)
{
    refused(ARGS("--prot", "1"), ERR_USAGE,
            "--prot: there is no such flag; did you mean --port?");
    refused(ARGS("--data_dir=x"), ERR_USAGE,
            "--data_dir: there is no such flag; did you mean --data-dir?");
    refused(ARGS("--no-port"), ERR_USAGE,
            "--no-port: there is no such flag; --help lists them");
    refused(ARGS("--quite-something"), ERR_USAGE,
            "--quite-something: there is no such flag; --help lists them");
    refused(ARGS("-p"), ERR_USAGE, "-p: there is no such flag; --help lists them");
    refused(ARGS("8080"), ERR_USAGE,
            "8080: nothing was expected here; settings are --flag VALUE");
    refused(ARGS("--port"), ERR_USAGE, "--port needs a value: --port VALUE");
    refused(ARGS("--config"), ERR_USAGE, "--config needs a value: --config VALUE");
}

/* -- secrets ------------------------------------------------------------------------- */

Test(config, a_secret_can_stand_in_a_file)
{
    write_to(secret_path, "postgresql://belay:hush@db/belay\r\n");
    setenv("DATABASE_URL_FILE", secret_path, 1);
    struct config c = loaded(NO_ARGS);

    cr_expect_str_eq(c.database_url, "postgresql://belay:hush@db/belay");
    config_release(&c);
    c = loaded(ARGS("--database-url", "other"));
    cr_expect_str_eq(c.database_url, "other");
    config_release(&c);
}

Test(config, a_secret_in_a_file_and_beside_it_is_one_too_many)
{
    write_to(secret_path, "a");
    setenv("DATABASE_URL_FILE", secret_path, 1);
    setenv("DATABASE_URL", "b", 1);
    refused(NO_ARGS, ERR_CONFIG,
            "DATABASE_URL and DATABASE_URL_FILE are both set; one of them should be");
}

Test(config, a_secret_file_that_cannot_be_used_is_said)
{
    CLEANUP(buf_release) struct buf words = BUF_INIT;

    setenv("DATABASE_URL_FILE", "/nowhere/secret", 1);
    refused(NO_ARGS, ERR_CONFIG,
            "DATABASE_URL_FILE: /nowhere/secret: No such file or directory");
    write_to(secret_path, "\n");
    setenv("DATABASE_URL_FILE", secret_path, 1);
    buf_addf(&words, "DATABASE_URL_FILE: %s is empty", secret_path);
    refused(NO_ARGS, ERR_CONFIG, words.text);
}

/* -- print --------------------------------------------------------------------------- */

static char *printed(const struct config *c)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    config_print(c, out);
    fclose(out);
    return text;
}

Test(config, what_is_printed_masks_secrets_and_reads_back)
{
    CLEANUP(free_ptr) char *first = NULL, *second = NULL;
    struct config c = loaded(ARGS("--database-url", "postgresql://u:hush@h/d", "--queues",
                                  "a \"b\": {c}", "--no-listen", "--port", "0"));

    first = printed(&c);
    config_release(&c);
    cr_expect_null(strstr(first, "hush"));
    cr_expect_not_null(strstr(first, "database_url: \"********\"\n"));
    cr_expect_not_null(strstr(first, "\nlisten_database_url: \"\"\n"));
    use_file(first);
    c = loaded(NO_ARGS);
    cr_expect_str_eq(c.queues, "a \"b\": {c}");
    cr_expect_not(c.listen_notify);
    second = printed(&c);
    config_release(&c);
    cr_expect_str_eq(strchr(second, '\n') + 1, first); /* but for the name of the file */
}

Test(config, help_and_page_know_every_setting)
{
    CLEANUP(free_ptr) char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    config_print_help(out);
    config_print_markdown(out);
    fclose(out);
#define SETTING(field, type, flag, env, key, def, least, most, help)                     \
    cr_expect_not_null(strstr(text, flag " "), "no %s", flag);                           \
    cr_expect_not_null(strstr(text, "(" env ")"), "no %s", env);                         \
    cr_expect_not_null(strstr(text, "| `" key "` |"), "no %s", key);
#include "server/core/config.def"
#undef SETTING
}

/* -- lists --------------------------------------------------------------------------- */

Test(config, the_flag_of_a_list_can_be_repeated)
{
    struct config c = loaded(
        ARGS("--tasks", "a.so", "--port", "1", "--tasks=b.so", "--tasks", "c.so,d.so"));

    cr_expect_str_eq(c.plugins, "a.so,b.so,c.so,d.so");
    config_release(&c);
}

Test(config, flags_of_a_list_replace_what_weaker_sources_have)
{
    use_file("plugins: [file1.so, file2.so]\n");
    struct config c = loaded(NO_ARGS);

    cr_expect_str_eq(c.plugins, "file1.so,file2.so");
    config_release(&c);
    setenv("BELAY_TASKS", "environment.so", 1);
    c = loaded(NO_ARGS);
    cr_expect_str_eq(c.plugins, "environment.so");
    config_release(&c);
    c = loaded(ARGS("--tasks", "flag.so"));
    cr_expect_str_eq(c.plugins, "flag.so");
    config_release(&c);
}
