#include "workers/output.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

TestSuite(output, .timeout = 30);

/* The result of a stream; valid until the next call. */
static const char *result_of(const char *bytes, size_t len)
{
    static struct buf json = {.text = buf_empty}; /* kept for the caller */
    CLEANUP(free_ptr) struct output_tail *t = calloc(1, sizeof *t);

    buf_clear(&json);
    for (size_t at = 0; at < len; at += 1000)
        output_tail_add(t, bytes + at, len - at < 1000 ? len - at : 1000);
    output_tail_result(t, &json);
    return json.text;
}

#define RESULT(text) result_of(text, sizeof(text) - 1)

Test(output, one_json_document_is_the_result_as_it_was_written)
{
    cr_expect_str_eq(RESULT(" {\"a\": 1.10}\n\n"), "{\"a\": 1.10}");
    cr_expect_str_eq(RESULT("[1e2]"), "[1e2]");
    cr_expect_str_eq(RESULT("42\n"), "42");
    cr_expect_str_eq(RESULT("null\n"), "null");
}

Test(output, anything_else_is_text)
{
    cr_expect_str_eq(RESULT("hello\n"), "{\"output\":\"hello\\n\"}");
    cr_expect_str_eq(RESULT("{} {}"), "{\"output\":\"{} {}\"}");
    cr_expect_str_eq(RESULT("{\"a\":1,\"a\":2}"),
                     "{\"output\":\"{\\\"a\\\":1,\\\"a\\\":2}\"}");
    cr_expect_str_eq(RESULT(" \n"), "{\"output\":\" \\n\"}");
    cr_expect_str_eq(RESULT("\"\\u0000\""), "{\"output\":\"\\\"\\\\u0000\\\"\"}",
                     "the database cannot keep this one");
    cr_expect_str_eq(RESULT(""), "");
}

Test(output, a_document_that_is_too_deep_is_text)
{
    char deep[131] = "";

    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    cr_expect_eq(result_of(deep, 130)[0], '{');
    cr_expect_eq(result_of(deep + 1, 128)[0], '[');
}

Test(output, bytes_that_are_not_utf8_become_replacement_characters)
{
    cr_expect_str_eq(RESULT("a\0b"), "{\"output\":\"a\xef\xbf\xbd"
                                     "b\"}");
    cr_expect_str_eq(RESULT("\xff\xc3\xa4\xc0\x80"),
                     "{\"output\":\"\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\"}");
    cr_expect_str_eq(RESULT("\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82"),
                     "{\"output\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
                     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
                     "\xef\xbf\xbd\xef\xbf\xbd\"}");
    cr_expect_str_eq(RESULT("\xf0\x9f\x98\x80\xef\xbf\xbf"),
                     "{\"output\":\"\xf0\x9f\x98\x80\xef\xbf\xbf\"}");
}

Test(output, random_bytes_always_make_valid_json)
{
    char bytes[4096];

    srandom(7);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)random();
        const char *json = result_of(bytes, sizeof bytes);
        json_t *value = json_loads(json, 0, NULL);
        cr_assert_not_null(value);
        json_decref(value);
    }
}

Test(output, only_the_end_of_a_long_stream_is_kept)
{
    size_t len = OUTPUT_TAIL_BYTES * 3 + 17;
    CLEANUP(free_ptr) char *bytes = malloc(len);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)('a' + i % 26);
    json_t *value = json_loads(result_of(bytes, len), 0, NULL);
    const char *text = json_string_value(json_object_get(value, "output"));
    cr_assert_eq(strlen(text), OUTPUT_TAIL_BYTES);
    cr_assert_arr_eq(text, bytes + len - OUTPUT_TAIL_BYTES, OUTPUT_TAIL_BYTES);
    cr_assert(json_is_true(json_object_get(value, "truncated")));
    json_decref(value);
}

Test(output, a_cut_inside_a_character_leaves_no_half)
{
    size_t len = OUTPUT_TAIL_BYTES + 4;
    CLEANUP(free_ptr) char *bytes = malloc(len);

    for (size_t i = 0; i < len; i += 4)
        memcpy(bytes + i, "\xf0\x9f\x98\x80", 4);
    memmove(bytes + 1, bytes,
            len - 1); /* now the cut is behind the first byte of a character */
    json_t *value = json_loads(result_of(bytes, len - 1), 0, NULL);
    const char *text = json_string_value(json_object_get(value, "output"));
    cr_assert_eq(strncmp(text, "\xf0\x9f\x98\x80", 4), 0);
    json_decref(value);
}

static void collect(void *arg, const char *line)
{
    buf_addf(arg, "<%s>", line);
}

Test(output, lines_are_cut_at_either_end_and_at_their_limit)
{
    CLEANUP(buf_release) struct buf seen = BUF_INIT;
    struct output_lines lines = {.len = 0};
    char big[OUTPUT_LINE_BYTES * 2];

    output_lines_add(&lines, "one\ntw", 6, collect, &seen);
    output_lines_add(&lines, "o\r\n\n\xff!\rthree", 12, collect, &seen);
    output_lines_finish(&lines, collect, &seen);
    cr_assert_str_eq(seen.text, "<one><two><\xef\xbf\xbd!><three>");
    buf_clear(&seen);
    memset(big, 'x', sizeof big);
    output_lines_add(&lines, big, sizeof big, collect, &seen);
    output_lines_add(&lines, "\nnext\n", 6, collect, &seen);
    cr_assert_eq(seen.len, OUTPUT_LINE_BYTES + 2 + 6);
}
