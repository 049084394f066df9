/* Lists of jobs, and what a job's end says. */
#include "workers/job.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(job);

static void expect_order(const struct job_list *l, const int64_t *ids, int n)
{
    const struct job *job = l->first, *last = NULL;

    cr_expect_eq(l->n, n);
    for (int i = 0; i < n; i++, last = job, job = job->next) {
        cr_assert_not_null(job);
        cr_expect_eq(job->id, ids[i]);
        cr_expect_eq(job->previous, last);
    }
    cr_expect_null(job);
    cr_expect_eq(l->last, last);
}

#define EXPECT_ORDER(l, ...)                                                             \
    expect_order(l, (const int64_t[]){__VA_ARGS__},                                      \
                 sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

Test(job, a_list_keeps_its_order_whatever_is_taken_out)
{
    struct job a = {.id = 1}, b = {.id = 2}, c = {.id = 3}, d = {.id = 4};
    struct job_list l = {.n = 0}, other = {.n = 0};

    cr_expect_null(job_list_take(&l));
    job_list_add(&l, &a);
    job_list_add(&l, &b);
    job_list_add(&l, &c);
    EXPECT_ORDER(&l, 1, 2, 3);
    job_list_remove(&l, &b);
    EXPECT_ORDER(&l, 1, 3);
    job_list_add(&other, &d);
    job_list_add(&other, &b);
    job_list_move(&l, &other);
    EXPECT_ORDER(&l, 1, 3, 4, 2);
    cr_expect(other.n == 0 && other.first == NULL && other.last == NULL);
    job_list_move(&l, &other);
    EXPECT_ORDER(&l, 1, 3, 4, 2);
    job_list_remove(&l, &b);
    cr_expect_eq(job_list_take(&l), &a);
    EXPECT_ORDER(&l, 3, 4);
    job_list_move(&other, &l);
    EXPECT_ORDER(&other, 3, 4);
    job_list_take(&other);
    job_list_take(&other);
    cr_expect(other.n == 0 && other.first == NULL && other.last == NULL);
}

Test(job, an_error_replaces_the_result_and_is_json_whatever_it_says)
{
    struct job *job = calloc(1, sizeof *job);

    cr_assert_not_null(job);
    job->result = strdup("{}");
    job_set_error(job, "a \"kind\"", "line\nbreak");
    cr_expect_null(job->result);
    cr_expect_str_eq(job->error,
                     "{\"kind\":\"a \\\"kind\\\"\",\"message\":\"line\\nbreak\"}");
    job_set_error(job, "b", "");
    cr_expect_str_eq(job->error, "{\"kind\":\"b\",\"message\":\"\"}");
    job_free(job);
    job_free(NULL);
}
