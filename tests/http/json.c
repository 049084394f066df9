/* json_check() and the walk, with jansson as the judge. tests/fuzz/json.c asks the same
 * question without end. */
#include "tests/fuzz/json_oracle.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* -- a corpus ------------------------------------------------------------------------ */

static const char *const texts[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1.5e-7",
    "1E+2",
    "\"\"",
    "[]",
    "{}",
    " [ ] ",
    "\t{\n}\r",
    ("{\"queue\":\"default\",\"task\":\"sum\",\"args\":{\"n\":1.10},"
     "\"tags\":[\"a\",\"b\"]}"),
    "[9223372036854775807,-9223372036854775808,0.1,1e308,123456789012345678]",
    "[1.10,0.1000000000000000055,-0.0,5e-324,1e-400]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"",
    "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"",
    "{\"a\":{\"b\":[{\"c\":[[[]]]}]},\"\":\"\",\" \":0}",
    "[\"[\",\"]\",\"{\",\"}\",\",\",\":\",\"\\\\\",\"\\\"\"]",
    "{\"a\" : [ 1 , 2 ] , \"b\" : { } }",
};

static const char *const refused[] = {
    "",
    " ",
    "nul",
    "nulls",
    "True",
    "tru\x65x",
    "NaN",
    "Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "1_0",
    "--1",
    "\"",
    "\"\\",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"a\nb\"",
    "\"\t\"",
    "'a'",
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "]",
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{a:1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{,}",
    "}",
    "[}",
    "{]",
    "1 2",
    "[] []",
    "// comment\n1",
    "/**/1",
    "\xef\xbb\xbf{}",
    "\"\xff\"",
    "\"\xc0\x80\"",
    "\"\xed\xa0\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xe2\x82\"",
    "\"\xc3\"",
    "\xc3\xa9",
    /* JSON, but nothing that can be kept */
    "\"\\u0000\"",
    "{\"\\u0000\":1}",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800x\"",
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"\xc3\xa9\":1,\"\\u00E9\":2}",
    "{\"/\":1,\"\\/\":2}",
    "[{\"b\":{\"a\":1,\"c\":2,\"a\":3}}]",
};

static void agree(const char *text, size_t len)
{
    char *copy = malloc(len + 1); /* no NUL behind it */

    memcpy(copy, text, len);
    const char *what = json_disagreement(copy, len);
    cr_assert_null(what, "%s: %.*s", what, (int)len, text);
    free(copy);
}

static enum err check(const char *text, struct json_error *error)
{
    enum json_type type;

    return json_check(text, strlen(text), &type, error);
}

Test(json, what_is_json_is_taken_and_what_is_not_is_refused)
{
    struct json_error error;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cr_expect_eq(check(texts[i], &error), ERR_OK, "%s: %s", texts[i], error.what);
        agree(texts[i], strlen(texts[i]));
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        cr_expect_neq(check(refused[i], &error), ERR_OK, "%s", refused[i]);
        agree(refused[i], strlen(refused[i]));
    }
}

/* -- mutations ----------------------------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t random_below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

static size_t mutate(char *text, size_t len, size_t room)
{
    static const char bytes[] =
        "{}[]\",:\\u0d8aef19+-.eE \n\t\x01\x7f\xc3\xa9\xed\xa0\xf0trnl/";
    size_t at = random_below((uint32_t)len + 1);

    switch (random_below(4)) {
    case 0: /* another byte */
        if (at < len)
            text[at] = bytes[random_below(sizeof bytes)];
        return len;
    case 1: /* one more */
        if (len + 1 >= room)
            return len;
        memmove(text + at + 1, text + at, len - at);
        text[at] = bytes[random_below(sizeof bytes)];
        return len + 1;
    case 2: /* one less */
        if (at == len)
            return len;
        memmove(text + at, text + at + 1, len - at - 1);
        return len - 1;
    default: /* a piece twice */
        if (at < len) {
            size_t n = random_below((uint32_t)(len - at)) + 1;
            n = len + n < room ? n : 0;
            memmove(text + at + n, text + at, len - at);
            return len + n;
        }
        return len;
    }
}

Test(json, a_hundred_thousand_mutations_are_judged_as_jansson_judges_them)
{
    char text[512];

    for (int i = 0; i < 100000; i++) {
        uint32_t n = sizeof texts / sizeof *texts;
        const char *from = texts[random_below(n)];
        size_t len = strlen(from);
        memcpy(text, from, len);
        for (uint32_t k = random_below(4) + 1; k > 0; k--)
            len = mutate(text, len, sizeof text);
        agree(text, len);
    }
}

/* -- what the oracle cannot say ------------------------------------------------------ */

Test(json, nesting_ends_at_64_levels)
{
    char text[200] = "";
    struct json_error error;

    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    cr_assert_eq(check(text, &error), ERR_OK);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    cr_assert_eq(check(text, &error), ERR_INVALID);
    cr_assert_eq(error.offset, 64u);
}

Test(json, an_error_says_where)
{
    static const struct {
        const char *text, *pointer;
        size_t offset;
        enum err e;
    } cases[] = {
        {"{\"args\":{\"n\":[1,2,\"\\ud800\"]}}", "/args/n/2", 25, ERR_INVALID},
        {"{\"a\":{\"x\":1,\"x\":2}}", "/a/x", 15, ERR_INVALID},
        {"{\"a/b~c\":\"\\u0000\"}", "/a~1b~0c", 12, ERR_INVALID},
        {"[1,{\"k\":tru}]", "/1/k", 8, ERR_BAD_REQUEST},
        {"\"\\u0000\"", "", 3, ERR_INVALID},
    };
    struct json_error error;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(check(cases[i].text, &error), cases[i].e, "%s", cases[i].text);
        cr_expect_str_eq(error.pointer, cases[i].pointer);
        cr_expect_eq(error.offset, cases[i].offset, "%s: %zu", cases[i].text,
                     error.offset);
    }
}

Test(json, a_key_twice_is_found_among_thousands)
{
    static char text[200000];
    struct json_error error;
    size_t len = 1;

    text[0] = '{';
    for (int i = 0; i < 5000; i++)
        len += (size_t)snprintf(text + len, 32, "\"key%d\":%d,", i, i);
    snprintf(text + len, 32, "\"last\":0}");
    cr_assert_eq(check(text, &error), ERR_OK, "%s", error.what);
    snprintf(text + len, 32, "\"\\u006bey77\":0}");
    cr_assert_eq(check(text, &error), ERR_INVALID);
}

Test(json, a_long_key_or_a_deep_place_does_not_overflow_the_pointer)
{
    char text[1200] = "{\"";
    struct json_error error;

    memset(text + 2, '~', 600);
    snprintf(text + 602, 32, "\":{\"b\":tru}}");
    cr_assert_eq(check(text, &error), ERR_BAD_REQUEST);
    cr_assert_leq(strlen(error.pointer), sizeof error.pointer - 1);
}

Test(json, an_integer_is_one_only_without_fraction_and_exponent)
{
    static const struct {
        const char *text;
        bool is_int;
        int64_t value;
    } cases[] = {
        {"[0]", true, 0},
        {"[-0]", true, 0},
        {"[12]", true, 12},
        {"[-12]", true, -12},
        {"[100]", true, 100},
        {"[101]", false, 0},
        {"[1.0]", false, 0},
        {"[1e1]", false, 0},
        {"[\"1\"]", false, 0},
        {"[true]", false, 0},
        {"[99999999999999999999999999]", false, 0},
    };
    struct json_member m;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 7;
        struct json_cursor c = json_members(cases[i].text, strlen(cases[i].text));
        cr_assert(json_next(&c, &m));
        cr_expect_eq(json_int(&m, -100, 100, &value), cases[i].is_int, "%s",
                     cases[i].text);
        cr_expect_eq(value, cases[i].is_int ? cases[i].value : 7, "%s", cases[i].text);
    }
}
