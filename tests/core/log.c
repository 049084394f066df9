/* Tests of the log read stderr back through a pipe. Criterion runs each test in a process
 * of its own, so nothing leaks into the next one. */
#include "server/core/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int saved = -1, ends[2];

static void capture(enum log_format format, enum log_level least)
{
    cr_assert_eq(pipe(ends), 0);
    saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    log_configure(format, least);
}

/* What was written since capture(), which must fit into the pipe. */
static const char *captured(void)
{
    static char text[16384];
    ssize_t len;

    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    len = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

Test(log, what_is_below_the_level_is_not_written)
{
    capture(LOG_TEXT, LOG_WARN);
    log_debug("a", "x=1");
    log_info("b", "x=1");
    log_warn("c", "x=1");
    log_error("d", "x=1");
    const char *text = captured();
    cr_assert_null(strstr(text, " a "));
    cr_assert_null(strstr(text, " b "));
    cr_assert_not_null(strstr(text, " warn  c x=1\n"));
    cr_assert_not_null(strstr(text, " error d x=1\n"));
}

Test(log, logfmt_is_all_pairs)
{
    capture(LOG_LOGFMT, LOG_INFO);
    log_info("job_finish", "job=%d status=%s", 33, "aborted");
    const char *text = captured();
    cr_assert_eq(strncmp(text, "time=2", 6), 0);
    cr_assert_not_null(
        strstr(text, "Z level=info event=job_finish job=33 status=aborted\n"));
}

Test(log, json_is_one_document_a_line)
{
    capture(LOG_JSON, LOG_INFO);
    log_info("job_finish", "job=%d why=%s", 33, log_quoted("it said \"no\"\nand left"));
    json_t *line = json_loads(captured(), 0, NULL);
    cr_assert_not_null(line);
    cr_assert_str_eq(json_string_value(json_object_get(line, "event")), "job_finish");
    cr_assert_str_eq(json_string_value(json_object_get(line, "job")), "33");
    cr_assert_str_eq(json_string_value(json_object_get(line, "why")),
                     "it said \"no\"\nand left");
    json_decref(line);
}

/* Cut in the middle of a quoted value, which then is no JSON any more. */
Test(log, a_line_that_is_too_long_is_still_json)
{
    char words[400];

    memset(words, 'w', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    capture(LOG_JSON, LOG_INFO);
    const char *q = log_quoted(words);
    log_info("long", "a=%s b=%s c=%s d=%s e=%s f=%s g=%s h=%s i=%s j=%s k=%s", q, q, q, q,
             q, q, q, q, q, q, q);
    json_t *line = json_loads(captured(), 0, NULL);
    cr_assert_not_null(line);
    cr_assert_str_eq(json_string_value(json_object_get(line, "a")), words);
    cr_assert_null(json_object_get(line, "k"));
    json_decref(line);
}

Test(log, nobody_can_forge_a_line)
{
    cr_assert_str_eq(log_quoted("a\nb\x1b[31m"), "\"a\\nb\\u001b[31m\"");
    cr_assert_str_eq(log_quoted(NULL), "\"\"");
}

Test(log, four_quoted_values_are_valid_at_a_time)
{
    const char *a = log_quoted("a"), *b = log_quoted("b"), *c = log_quoted("c"),
               *d = log_quoted("d");

    cr_assert_str_eq(a, "\"a\"");
    cr_assert_str_eq(b, "\"b\"");
    cr_assert_str_eq(c, "\"c\"");
    cr_assert_str_eq(d, "\"d\"");
}

Test(log, a_component_speaks_once_a_second)
{
    _Atomic(int64_t) last_ms = 0;
    int said = 0;

    for (int i = 0; i < 1000; i++)
        said += log_once_a_second(&last_ms);
    cr_assert_eq(said, 1);
    atomic_fetch_sub(&last_ms, 1000);
    cr_assert(log_once_a_second(&last_ms));
}

Test(log, the_lines_of_a_thread_that_batches_wait_for_the_flush)
{
    capture(LOG_TEXT, LOG_INFO);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    log_batch(true);
    log_info("a", "x=1");
    log_info("b", "x=2");
    char byte;
    cr_expect_eq(read(ends[0], &byte, 1), -1, "written already");
    log_flush();
    log_flush();
    const char *text = captured();
    cr_assert_not_null(strstr(text, " a x=1\n"));
    cr_assert_not_null(strstr(text, " b x=2\n"));
    cr_assert_eq(strlen(text), 2 * strcspn(text, "\n") + 2);
}

Test(log, a_warning_takes_along_what_waits)
{
    capture(LOG_TEXT, LOG_INFO);
    log_batch(true);
    log_info("a", "x=1");
    log_warn("b", "x=2");
    log_info("c", "x=3");
    const char *text = captured(), *first = strstr(text, " a x=1\n");
    cr_assert_not_null(first);
    cr_assert_not_null(strstr(first, " b x=2\n"));
    cr_assert_null(strstr(text, " c x=3\n"));
    log_batch(false);
}

/* No line is torn, lost or out of order, whatever its length. */
Test(log, a_batch_that_is_full_is_written)
{
    char words[1800], wanted[32];

    capture(LOG_LOGFMT, LOG_INFO);
    log_batch(true);
    memset(words, 'w', sizeof words);
    for (int i = 0; i < 15; i++)
        log_info("a", "n=%d w=%.*s", i, i * 119, words);
    log_batch(false);
    const char *at = captured();
    for (int i = 0; i < 15; i++) {
        snprintf(wanted, sizeof wanted, " event=a n=%d w=", i);
        at = strstr(at, wanted);
        cr_assert_not_null(at, "%s", wanted);
        at += strlen(wanted);
        cr_assert_eq(strspn(at, "w"), (size_t)i * 119);
        cr_assert_eq(at[i * 119], '\n');
    }
}

/* The pipe of capture() takes no further byte, and its writers wait again. */
static void fill_pipe(void)
{
    char zeros[4096] = {0};
    int flags = fcntl(ends[1], F_GETFL);

    fcntl(ends[1], F_SETFL, flags | O_NONBLOCK);
    while (write(ends[1], zeros, sizeof zeros) > 0)
        ;
    fcntl(ends[1], F_SETFL, flags);
}

static void empty_pipe(void)
{
    char bytes[4096];
    int flags = fcntl(ends[0], F_GETFL);

    fcntl(ends[0], F_SETFL, flags | O_NONBLOCK);
    while (read(ends[0], bytes, sizeof bytes) > 0)
        ;
    fcntl(ends[0], F_SETFL, flags);
}

Test(log, a_reader_that_does_not_read_stops_nobody, .timeout = 10)
{
    capture(LOG_TEXT, LOG_WARN);
    fill_pipe();
    log_warn("a", "x=1");
    log_warn("b", "x=1");
    empty_pipe();
    log_warn("c", "x=1");
    const char *text = captured();
    cr_assert_null(strstr(text, " b "));
    cr_assert_not_null(strstr(text, " warn  log_lost lines=2\n"));
    cr_assert_not_null(strstr(text, " warn  c x=1\n"));
}

Test(log, what_a_full_disk_has_lost_is_counted_and_told_once)
{
    capture(LOG_TEXT, LOG_WARN);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    dup2(full, STDERR_FILENO);
    log_warn("a", "x=1");
    log_warn("b", "x=1");
    log_warn("c", "x=1");
    dup2(ends[1], STDERR_FILENO);
    log_warn("d", "x=1");
    log_warn("e", "x=1");
    const char *text = captured();
    const char *told = strstr(text, " warn  log_lost lines=3\n");
    cr_assert_not_null(told);
    cr_assert_null(strstr(told + strlen(" warn  log_lost"), "log_lost"));
    cr_assert_not_null(strstr(told, " warn  e x=1\n"));
    cr_expect_eq(log_lines_lost(), 3, "%d", (int)log_lines_lost());
    close(full);
}
