#include "server/core/buf.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdint.h>

Test(buf, is_a_string_from_the_start)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    cr_assert_str_eq(b.text, "");
    cr_assert_eq(b.len, 0);
}

Test(buf, grows_and_stays_terminated)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    for (int i = 0; i < 1000; i++) {
        buf_addf(&b, "%d,", i);
        cr_assert_eq(b.text[b.len], '\0');
    }
    cr_assert_eq(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    cr_assert(strncmp(b.text, "0,1,2,", 6) == 0);
    cr_assert_str_eq(b.text + b.len - 8, "998,999,");
}

Test(buf, keeps_bytes_that_are_no_text)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_add(&b, "a\0b", 3);
    buf_addc(&b, 'c');
    cr_assert_eq(b.len, 4);
    cr_assert_arr_eq(b.text, "a\0bc", 5);
}

Test(buf, says_once_at_the_end_that_memory_ran_out)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_adds(&b, "kept");
    buf_add(&b, "", SIZE_MAX);
    buf_adds(&b, "lost");
    cr_assert(b.failed);
    cr_assert_str_eq(b.text, "kept");
    cr_assert_null(buf_detach(&b));
    buf_clear(&b);
    buf_adds(&b, "again");
    cr_assert_not(b.failed);
    cr_assert_str_eq(b.text, "again");
}

Test(buf, gives_its_string_away_even_when_it_is_empty)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;
    CLEANUP(free_ptr) char *none = buf_detach(&b);
    buf_adds(&b, "mine");
    CLEANUP(free_ptr) char *mine = buf_detach(&b);

    cr_assert_str_eq(none, "");
    cr_assert_str_eq(mine, "mine");
    cr_assert_eq(b.len, 0);
}

Test(buf, a_json_string_comes_back_as_it_was)
{
    for (unsigned c = 0; c < 0x80; c++) {
        CLEANUP(buf_release) struct buf b = BUF_INIT;
        char text[3] = {(char)c, 'x', (char)c};
        buf_add_json_string(&b, text, sizeof text);
        json_t *read = json_loadb(b.text, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        cr_assert_not_null(read, "byte %u: %s", c, b.text);
        cr_assert_eq(json_string_length(read), sizeof text);
        cr_assert_arr_eq(json_string_value(read), text, sizeof text);
        json_decref(read);
    }
}

Test(buf, a_json_string_leaves_utf8_alone)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_add_json_string(&b, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x9b\x91", 11);
    cr_assert_str_eq(b.text, "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x9b\x91\"");
}
