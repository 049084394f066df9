/* What cancel, delete and retry ask without an ID, and belay operations. */
#include "tests/cli/server.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(bulk, .timeout = 30);

Test(bulk, a_filter_goes_where_an_id_would_stand)
{
    answer_with(202, "{\"id\":7,\"status\":\"running\"}");
    run("cancel", "--queue", "mail", "--status", "todo,doing", "--created-before",
        "2026-11-01T00:00:00Z", "--abort", "--reason", "r");
    expect(0, "operation 7: goes on by itself\n", "");
    cr_expect_str_eq(asked.line, "POST /cancellations");
    cr_expect_str_eq(asked.body,
                     "{\"dry_run\":false,\"all\":false,\"filter\":{\"queue\":\"mail\","
                     "\"created_before\":\"2026-11-01T00:00:00Z\",\"status\":["
                     "\"todo\",\"doing\"]},\"abort\":true,\"reason\":\"r\"}");
    answer_with(200, "{\"dry_run\":true,\"matched\":5,\"exact\":false,\"sample\":[]}");
    run("delete", "--all", "--dry-run");
    expect(0, "at least 5 jobs match; nothing has changed\n", "");
    cr_expect_str_eq(asked.line, "POST /deletions");
    cr_expect_str_eq(asked.body, "{\"dry_run\":true,\"all\":true}");
    answer_with(202, "{\"id\":8,\"status\":\"running\"}");
    run("retry", "--tag", "x", "--actor", "ada");
    expect(0, "operation 8", "");
    cr_expect_str_eq(asked.line, "POST /retries");
    run_alone("cancel", "33", "--tag", "x");
    expect(2, "", "an ID and --tag do not go together");
}

Test(bulk, operations_are_shown_and_stopped)
{
    answer_with(200, "{\"operations\":[{\"id\":7,\"kind\":\"cancel\",\"status\":"
                     "\"done\",\"until\":null}],\"next_cursor\":null}");
    run("operations", "--standing");
    expect(0, "cancel", "");
    cr_expect_str_eq(asked.line, "GET /operations?standing=true");
    answer_with(200, "{\"id\":7,\"kind\":\"cancel\",\"status\":\"cancelled\"}");
    run("operations", "7", "--stop");
    expect(0, "cancelled", "");
    cr_expect_str_eq(asked.line, "POST /operations/7/cancel");
    run_alone("operations", "--stop");
    expect(2, "", "--stop needs the id of an operation");
}

Test(bulk, with_an_id_retry_says_what_the_job_shall_have)
{
    answer_with(200, "{\"result\":\"retried\",\"job\":{\"id\":33}}");
    run("retry", "33", "--delay", "1.5", "--queue", "slow", "--lock", "", "--priority",
        "-3");
    expect(0, "job 33: waits to start again\n", "");
    cr_expect_str_eq(asked.body, "{\"delay_seconds\":1.5,\"priority\":-3,\"queue\":"
                                 "\"slow\",\"lock\":\"\"}");
    run("retry", "33", "--queue", "slow", "--tag", "a");
    expect(2, "", "an ID and --tag do not go together");
}
