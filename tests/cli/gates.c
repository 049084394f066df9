/* pause, resume, limit, hold, release: what they ask and say. */
#include "tests/cli/server.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(gates, .timeout = 30);

Test(gates, what_may_start_is_said_of_a_queue_a_task_or_a_key)
{
    answer_with(200, "{}");
    run("pause", "queue", "mails", "--reason", "down", "--until", "2126-01-01T00:00:00Z");
    expect(0, "queue mails: paused; what runs goes on\n", "");
    cr_expect_str_eq(asked.line, "POST /queues/mails/pause");
    cr_expect_str_eq(asked.body,
                     "{\"reason\":\"down\",\"until\":\"2126-01-01T00:00:00Z\"}");
    answer_with(200, "{}");
    run("resume", "task", "resize");
    expect(0, "task resize: may start again\n", "");
    cr_expect_str_eq(asked.line, "POST /tasks/resize/resume");
    answer_with(200, "{}");
    run("limit", "key", "a:7", "--max-running", "3", "--rate", "0.5");
    expect(0, "key a:7: limited\n", "");
    cr_expect_str_eq(asked.line, "PUT /limit-keys/a%3A7");
    cr_expect_str_eq(asked.body, "{\"max_running\":3,\"rate_per_second\":0.5}");
    answer_with(200, "{}");
    run("limit", "queue", "mails");
    expect(0, "queue mails: without limits\n", "");
    cr_expect_str_eq(asked.line, "PUT /queues/mails/limits");
    run_alone("pause", "key", "a");
    expect(2, "", "key is none of queue, task\n");
}

Test(gates, a_job_is_held_and_released)
{
    answer_with(200, "{\"result\":\"held\",\"job\":{\"id\":33}}");
    run("hold", "33", "--actor", "ada");
    expect(0, "job 33: held\n", "");
    cr_expect_str_eq(asked.line, "POST /jobs/33/hold");
    cr_expect_str_eq(asked.body, "{\"actor\":\"ada\"}");
    answer_with(200, "{\"result\":\"not_held\",\"job\":{\"id\":33}}");
    run("release", "33", "--actor", "ada");
    expect(0, "job 33: was not held\n", "");
    cr_expect_str_eq(asked.line, "POST /jobs/33/release?actor=ada");
}
