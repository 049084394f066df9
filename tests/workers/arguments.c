#include "workers/arguments.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(arguments, .timeout = 30);

static char program[] = "/bin/program";

/* The second argument that `template` makes of the args, or what is wrong with them.
 * Static. */
static const char *make(const char *template, const char *args, bool allow_dash)
{
    static char result[4096];
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    CLEANUP(free_ptr) char *copy = strdup(template);
    char *command[] = {program, copy}, **argv = NULL;
    struct declaration d = {
        .command = command, .command_count = 2, .allow_dash = allow_dash};

    if (!arguments_make(&d, args, &argv, &why)) {
        snprintf(result, sizeof result, "refused: %s", why.text);
        return result;
    }
    cr_assert_str_eq(argv[0], program);
    cr_assert_null(argv[2]);
    snprintf(result, sizeof result, "%s", argv[1]);
    arguments_free(argv);
    return result;
}

static void refused(const char *got, const char *because)
{
    cr_expect(strncmp(got, "refused: ", 9) == 0 && strstr(got, because) != NULL,
              "not refused because of \"%s\": %s", because, got);
}

Test(arguments, a_value_becomes_one_whole_argument)
{
    cr_expect_str_eq(
        make("{{args.a}}", "{\"a\":\"b c; $(rm -rf /) 'd' \\\"e\\\"\"}", false),
        "b c; $(rm -rf /) 'd' \"e\"");
    cr_expect_str_eq(make("{{ args.a }}", "{\"a\":\"\"}", false), "");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":\"\\u00e4\\n\\ud83d\\ude00\"}", false),
                     "\xc3\xa4\n\xf0\x9f\x98\x80");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":\"{{args.b}}\",\"b\":\"c\"}", false),
                     "{{args.b}}", "a value is not a template");
}

Test(arguments, a_value_can_be_part_of_an_argument)
{
    cr_expect_str_eq(
        make("--in={{args.a}},{{args.b}}!", "{\"a\":\"x\",\"b\":\"y\"}", false),
        "--in=x,y!");
    cr_expect_str_eq(make("{{.Names}} {{x", "{}", false), "{{.Names}} {{x");
}

Test(arguments, numbers_arrive_as_they_were_written)
{
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":1.10}", false), "1.10");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\" : 1e400 , \"b\":1}", false), "1e400");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":123456789012345678901234567890}", false),
                     "123456789012345678901234567890");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":true}", false), "true");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":false}", false), "false");
}

Test(arguments, a_member_is_found_among_others_by_its_decoded_name)
{
    cr_expect_str_eq(
        make("{{args.a}}",
             " { \"x\":{\"a\":1,\"s\":\"}\\\"\"} , \"y\":[[],{\"a\":2}] , \"a\":3}",
             false),
        "3");
    cr_expect_str_eq(make("{{args.a}}", "{\"\\u0061\":\"here\"}", false), "here");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":1,\"a\":2}", false), "2");
}

Test(arguments, a_value_cannot_become_an_option)
{
    refused(make("{{args.a}}", "{\"a\":\"--output=/etc/passwd\"}", false), "option");
    refused(make("{{args.a}}", "{\"a\":-1}", false), "option");
    refused(make("{{args.e}}{{args.a}}", "{\"a\":\"-x\",\"e\":\"\"}", false), "option");
    cr_expect_str_eq(make("{{args.a}}", "{\"a\":\"-x\"}", true), "-x");
    cr_expect_str_eq(make("-n{{args.a}}", "{\"a\":-1}", false), "-n-1");
    cr_expect_str_eq(make("./{{args.a}}", "{\"a\":\"-x\"}", false), "./-x");
}

Test(arguments, what_no_argument_can_hold_is_refused)
{
    refused(make("{{args.a}}", "{}", false), "args.a is missing");
    refused(make("{{args.a}}", "[1]", false), "args.a is missing");
    refused(make("{{args.a}}", "{\"a\":null}", false), "args.a is missing");
    refused(make("{{args.a}}", "{\"a\":[1]}", false), "must be a string");
    refused(make("{{args.a}}", "{\"a\":{}}", false), "must be a string");
    refused(make("{{args.a}}", "{\"a\":\"x\\u0000y\"}", false), "cannot have");
}

static char name_a[] = "a", name_b[] = "b", fallback[] = "none";

/* One declared argument "a" and the args of a job: "" when they pass, else why not. */
static const char *check(struct declared_argument a, const char *args)
{
    static char result[512];
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct declared_argument declared[2] = {a, {.name = name_b, .fallback = fallback}};
    char template[] = "{{args.b}}", *command[] = {program, template}, **argv = NULL;
    struct declaration d = {
        .command = command, .command_count = 2, .args = declared, .args_count = 2};

    declared[0].name = name_a;
    if (arguments_make(&d, args, &argv, &why))
        cr_expect_str_eq(argv[1], "none", "the default");
    arguments_free(argv);
    snprintf(result, sizeof result, "%s", why.text);
    return result;
}

Test(arguments, declared_types_are_checked)
{
    static const struct {
        enum argument_type type;
        const char *fits, *fits_not;
    } rows[] = {
        {ARGUMENT_STRING, "{\"a\":\"1\"}", "{\"a\":1}"},
        {ARGUMENT_NUMBER, "{\"a\":-1.5e3}", "{\"a\":\"1\"}"},
        {ARGUMENT_INTEGER, "{\"a\":12}", "{\"a\":12.0}"},
        {ARGUMENT_INTEGER, "{\"a\":0}", "{\"a\":1e3}"},
        {ARGUMENT_BOOLEAN, "{\"a\":false}", "{\"a\":0}"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct declared_argument a = {.type = rows[i].type};
        cr_expect_str_eq(check(a, rows[i].fits), "");
        cr_expect(strstr(check(a, rows[i].fits_not), "args.a must be ") != NULL, "%s",
                  rows[i].fits_not);
    }
}

Test(arguments, a_required_one_must_be_there_and_others_may_not)
{
    struct declared_argument required = {.required = 1}, optional = {.required = 0};

    cr_expect(strstr(check(required, "{}"), "args.a is missing") != NULL);
    cr_expect_str_eq(check(optional, "{}"), "");
    cr_expect(strstr(check(optional, "{\"c\":1}"), "\"c\", which") != NULL);
    cr_expect_str_eq(check(optional, "{\"\\u0061\":\"x\"}"), "");
}

Test(arguments, a_pattern_holds_for_the_whole_value)
{
    char pattern[] = "[a-z]+|x/";
    regex_t compiled;
    struct declared_argument a = {.pattern = pattern, .compiled = &compiled};

    cr_assert_eq(regcomp(&compiled, "^([a-z]+|x/)$", REG_EXTENDED | REG_NOSUB), 0);
    cr_expect_str_eq(check(a, "{\"a\":\"abc\"}"), "");
    cr_expect_str_eq(check(a, "{\"a\":\"x/\"}"), "");
    cr_expect(strstr(check(a, "{\"a\":\"abc/../x\"}"), "does not match") != NULL);
    cr_expect(strstr(check(a, "{\"a\":\"abc\\nx\"}"), "does not match") != NULL);
    cr_expect(strstr(check(a, "{\"a\":\"\"}"), "does not match") != NULL);
    regfree(&compiled);
}
