/* Requests with an idempotency key, and cancels by one. */
#include "tests/cli/server.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(keys, .timeout = 30);

#define JOB(status) "{\"id\":33,\"status\":\"" status "\"}"
#define RESULT(result, job)                                                              \
    "{\"result\":\"" result "\",\"job\":" job ",\"cancellation\":{\"id\":1}}"

Test(keys, enqueue_sends_the_key_and_what_a_conflict_means)
{
    answer_with(200, JOB("todo"));
    run("enqueue", "t", "--idempotency-key", "order-4711", "--queueing-lock", "q",
        "--on-conflict", "ignore");
    expect(0, "33\n", "");
    cr_expect_not_null(strstr(asked.head, "Idempotency-Key: order-4711\r\n"));
    cr_expect_str_eq(
        asked.body,
        "{\"task\":\"t\",\"queueing_lock\":\"q\",\"on_conflict\":\"ignore\"}");
    answer_with(201, JOB("todo"));
    run("enqueue", "t");
    cr_expect_null(strstr(asked.head, "Idempotency-Key"));
}

Test(keys, enqueue_waits_for_a_job_that_was_there_already)
{
    answer_with(200, JOB("todo"));
    answer_with(200, JOB("succeeded"));
    run("enqueue", "t", "--queueing-lock", "q", "--on-conflict", "ignore", "--wait", "9");
    expect(0, "succeeded", "job 33 is in");
}

Test(keys, a_key_cannot_be_a_second_header)
{
    run_alone("enqueue", "t", "--idempotency-key", "a\r\nX-Evil: 1");
    expect(2, "", "1 to 255 visible ASCII");
    run_alone("enqueue", "t", "--idempotency-key", "");
    expect(2, "", "1 to 255 visible ASCII");
    run_alone("cancel", "--key", "a b");
    expect(2, "", "1 to 255 visible ASCII");
}

Test(keys, a_lost_answer_says_that_it_can_be_repeated)
{
    answer_with(0, "");
    run("enqueue", "t", "--idempotency-key", "k");
    expect(69, "", "with the same key it can be repeated");
}

Test(keys, a_cancel_waits_for_its_request)
{
    answer_with(201, "{\"result\":\"waiting\",\"by_key\":{\"key\":\"a?b\"}}");
    run("cancel", "--key", "a?b", "--ttl", "60", "--reason", "r", "--actor", "ada");
    expect(0, "key a?b: what comes with it will not start\n", "");
    cr_expect_str_eq(asked.line, "PUT /cancellations/by-key/a%3Fb");
    cr_expect_str_eq(asked.body,
                     "{\"ttl_seconds\":60,\"reason\":\"r\",\"actor\":\"ada\"}");
}

Test(keys, a_cancel_tells_what_it_met)
{
    answer_with(200, RESULT("cancelled", JOB("cancelled")));
    run("cancel", "--key", "k");
    expect(0, "job 33: cancelled; it will never start (receipt 1)\n", "");
    answer_with(202, RESULT("aborting", JOB("doing")));
    run("cancel", "--key", "k", "--abort");
    expect(0, "job 33: asked to stop, not stopped yet (receipt 1)\n", "");
    answer_with(200, "{\"dry_run\":false,\"results\":[{\"id\":7,\"result\":\"cancelled\","
                     "\"code\":null},{\"id\":8,\"result\":\"job-running\",\"code\":"
                     "\"job-running\"}]}");
    run("cancel", "--key", "k");
    expect(1, "job 7: cancelled; it will never start\njob 8: runs; without", "");
    answer_with(409, "{\"status\":409,\"code\":\"job-running\",\"detail\":\"it runs\"}");
    run("cancel", "--key", "k");
    expect(1, "", "it runs (job-running)");
}

Test(keys, a_key_stands_alone)
{
    run_alone("cancel", "33", "--key", "k");
    expect(2, "", "--key and an ID do not go together");
    run_alone("cancel", "--key", "k", "--queue", "q");
    expect(2, "", "--key and --queue do not go together");
    run_alone("cancel", "--key", "k", "--wait", "5");
    expect(2, "", "--key and --wait do not go together");
    run_alone("cancel", "33", "--ttl", "5");
    expect(2, "", "--ttl needs a --key");
}
