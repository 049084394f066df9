/* The low-water marks of claims. */
#include "workers/marks.h"

#include "server/core/cleanup.h"

#include <criterion/criterion.h>

TestSuite(marks);

static const char *json_of(const struct marks *m)
{
    static struct buf b;

    buf_init(&b);
    marks_add_json(m, &b);
    return b.text;
}

Test(marks, without_marks_a_claim_looks_in_full)
{
    struct marks m = {.n = 0};

    cr_expect(marks_want_full(&m, 1000));
    marks_saw(&m, 0, 7);
    marks_note(&m, true, 1000000, 1000);
    cr_expect_not(marks_want_full(&m, 1001));
}

Test(marks, a_mark_moves_up_only_when_it_is_old_enough)
{
    struct marks m = {.n = 0};

    marks_saw(&m, 0, 100);
    cr_expect_str_eq(json_of(&m), "{\"0\":0}");
    marks_note(&m, true, 10, MARKS_AGE_MS);
    cr_expect_str_eq(json_of(&m), "{\"0\":99}");
    marks_saw(&m, 0, 200);
    marks_saw(&m, 0, 150);
    marks_saw(&m, 0, 300);
    marks_note(&m, false, 10, MARKS_AGE_MS + 1);
    cr_expect_str_eq(json_of(&m), "{\"0\":99}", "seen a moment ago");
    marks_note(&m, false, 10, 2 * MARKS_AGE_MS);
    cr_expect_str_eq(json_of(&m), "{\"0\":149}", "the lowest of what was seen");
}

Test(marks, each_priority_has_its_own_and_the_highest_comes_first)
{
    struct marks m = {.n = 0};

    marks_saw(&m, -3, 30);
    marks_saw(&m, 10, 20);
    marks_saw(&m, 0, 10);
    marks_note(&m, true, 10, MARKS_AGE_MS);
    cr_expect_str_eq(json_of(&m), "{\"10\":19,\"0\":9,\"-3\":29}");
}

Test(marks, more_priorities_than_fit_leave_the_lowest_to_full_looks)
{
    struct marks m = {.n = 0};

    for (int i = 0; i < MARKS_MAX + 8; i++)
        marks_saw(&m, i, 100 + i);
    cr_expect_eq(m.n, MARKS_MAX);
    cr_expect_eq(m.mark[0].priority, MARKS_MAX + 7);
    marks_saw(&m, -1, 5);
    for (int i = 1; i < m.n; i++)
        cr_expect_gt(m.mark[i - 1].priority, m.mark[i].priority);
}

Test(marks, a_full_look_is_made_as_often_as_it_is_cheap)
{
    struct marks m = {.n = 0};

    marks_saw(&m, 0, 1);
    marks_note(&m, true, 1000, 5000);
    cr_expect(marks_want_full(&m, 5000), "1 ms is nothing to avoid");
    marks_note(&m, true, 50000, 5000);
    cr_expect_not(marks_want_full(&m, 5999));
    cr_expect(marks_want_full(&m, 6000), "50 ms: 20 times as long without");
    marks_note(&m, true, 3000000, 5000);
    cr_expect(marks_want_full(&m, 9000), "and never later than after 4 s");
}
