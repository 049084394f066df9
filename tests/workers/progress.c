/* The board of what running jobs report. */
#include "workers/progress.h"

#include "server/core/clock.h"
#include "workers/job.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(progress);

static struct progress_board *board(void)
{
    struct progress_board *b = NULL;

    cr_assert_eq(progress_board_new(&b), ERR_OK);
    return b;
}

Test(progress, only_the_newest_report_of_a_job_is_kept)
{
    struct progress_board *b = board();
    struct job one = {.id = 1, .lease = 7, .worker_id = 5}, two = {.id = 2};
    struct progress out[4];

    cr_expect_eq(progress_due_ms(b), INT64_MAX);
    cr_expect(progress_report(b, &one, 10, "a"), "the first has to be told of");
    cr_expect_not(progress_report(b, &one, 20, "b"));
    cr_expect_not(progress_report(b, &two, 5, ""));
    cr_expect_eq(progress_take(b, out, 4), 2);
    const struct progress *p = out[0].job_id == 1 ? &out[0] : &out[1];
    cr_expect_eq(p->percent, 20);
    cr_expect_eq(p->lease, 7);
    cr_expect_eq(p->worker_id, 5);
    cr_expect_str_eq(p->message, "b");
    cr_expect_eq(progress_take(b, out, 4), 0);
    cr_expect(progress_report(b, &one, 30, "c"), "the board was empty again");
    cr_expect_eq(progress_take(b, out, 4), 1);
    free(one.progress);
    free(two.progress);
    progress_board_free(b);
}

Test(progress, reports_wait_for_their_turn_and_not_those_of_a_job_that_has_stopped)
{
    struct progress_board *b = board();
    struct job job = {.id = 1};
    struct progress out[1];

    progress_report(b, &job, 1, "");
    progress_take(b, out, 1);
    progress_report(b, &job, 2, "");
    cr_expect_gt(progress_due_ms(b), clock_ms());
    progress_hurry(b, &job);
    cr_expect_eq(progress_due_ms(b), 0);
    cr_expect_eq(progress_take(b, out, 1), 1);
    cr_expect_eq(progress_due_ms(b), INT64_MAX);
    free(job.progress);
    progress_board_free(b);
}

Test(progress, a_long_message_is_cut_between_characters)
{
    struct progress_board *b = board();
    struct job job = {.id = 1};
    struct progress out[1];
    char text[600 + 1];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memcpy(text + PROGRESS_MESSAGE_BYTES - 2, "\xc3\xa4", 2); /* across the end */
    progress_report(b, &job, 1, text);
    cr_assert_eq(progress_take(b, out, 1), 1);
    cr_expect_eq(strlen(out[0].message), PROGRESS_MESSAGE_BYTES - 2);
    free(job.progress);
    progress_board_free(b);
}
