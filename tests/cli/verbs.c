/* What each verb asks, says and answers; the server's words are given. */
#include "tests/cli/server.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(verbs, .timeout = 30);

#define JOB(status)                                                                      \
    "{\"id\":33,\"queue\":\"default\",\"task\":\"sleep\",\"priority\":0,\"args\":"       \
    "{\"seconds\":60},\"status\":\"" status "\",\"attempt\":1,\"max_attempts\":3,"       \
    "\"tags\":[\"a\",\"b\"],\"created_at\":\"2026-11-23T20:00:00.123456Z\","             \
    "\"error\":null,\"actions\":{}}"

static const char running[] =
    "{\"status\":409,\"code\":\"job-running\",\"title\":\"The job is running\","
    "\"detail\":\"job 33 is running; with abort=true it is asked to stop\"}";

/* -- enqueue ------------------------------------------------------------------------- */

Test(verbs, enqueue_prints_the_id_and_nothing_else)
{
    answer_with(201, JOB("todo"));
    run("enqueue", "sleep", "{\"seconds\": 0.10}");
    expect(0, "33\n", "");
    cr_expect_str_eq(ran.out, "33\n");
    cr_expect_str_eq(asked.line, "POST /jobs");
    cr_expect_str_eq(asked.body, "{\"task\":\"sleep\",\"args\":{\"seconds\": 0.10}}");
    cr_expect_not_null(strstr(asked.head, "Content-Type: application/json"));
}

Test(verbs, enqueue_puts_each_option_where_it_belongs)
{
    answer_with(201, JOB("todo"));
    run("enqueue", "t", "--args", "{}", "--queue", "q\"", "--priority", "-5",
        "--max-attempts=3", "--delay", "1.5", "--timeout", "0.5", "--deadline-in", "9",
        "--lock", "l", "--queueing-lock", "m", "--tag", "a", "--tag", "b", "--metadata",
        "{\"x\": 1}", "--parent", "7", "--on-parent-cancel", "cascade", "--depends-on",
        "8", "--depends-on", "9");
    expect(0, "33", "");
    cr_expect_str_eq(asked.body,
                     "{\"task\":\"t\",\"args\":{},\"queue\":\"q\\\"\",\"priority\":-5,"
                     "\"max_attempts\":3,\"delay_seconds\":1.5,"
                     "\"timeout_seconds\":0.5,\"deadline_seconds\":9,\"lock\":\"l\","
                     "\"queueing_lock\":\"m\",\"tags\":[\"a\",\"b\"],"
                     "\"metadata\":{\"x\": 1},\"parent_id\":7,"
                     "\"on_parent_cancel\":\"cascade\",\"depends_on\":[8,9]}");
}

Test(verbs, enqueue_reads_args_from_stdin)
{
    FILE *in = tmpfile();

    fputs("{\"big\":[1,2]}\n", in);
    fflush(in);
    lseek(fileno(in), 0, SEEK_SET);
    dup2(fileno(in), STDIN_FILENO);
    answer_with(201, JOB("todo"));
    run("enqueue", "t", "-");
    expect(0, "33", "");
    cr_expect_str_eq(asked.body, "{\"task\":\"t\",\"args\":{\"big\":[1,2]}\n}");
}

Test(verbs, enqueue_that_waits_tells_how_it_ended)
{
    answer_with(201, JOB("todo"));
    answer_with_head(200, "Preference-Applied: wait=5", JOB("doing"));
    answer_with_head(200, "Preference-Applied: wait=5", JOB("succeeded"));
    run("enqueue", "sleep", "--wait", "30");
    expect(0, "status              succeeded\n", "job 33 is in");
    cr_expect_str_eq(asked.line, "GET /jobs/33");
    cr_expect_not_null(strstr(asked.head, "Prefer: wait="));
    answer_with(201, JOB("todo"));
    answer_with(200, JOB("aborted"));
    run("enqueue", "sleep", "--wait", "30");
    expect(1, "status              aborted\n", "the job is aborted");
}

Test(verbs, a_message_of_a_job_cannot_drive_the_terminal)
{
    answer_with(201, JOB("todo"));
    answer_with(200, "{\"id\":33,\"status\":\"failed\",\"error\":{\"message\":"
                     "\"a\\u001b[2J\\u009b2J\\u00e4\"}}");
    run("enqueue", "sleep", "--wait", "30");
    expect(1, "status", "the job is failed: a?[2J?2J\303\244\n");
    cr_expect_null(strchr(ran.err, '\033'));
    cr_expect_null(strstr(ran.out, "\302\233"));
}

Test(verbs, enqueue_checks_what_can_be_seen_without_a_server)
{
    run_alone("enqueue");
    expect(2, "", "TASK is missing");
    run_alone("enqueue", "t", "[1]");
    expect(2, "", "not a JSON object");
    run_alone("enqueue", "t", "{\"a\":");
    expect(2, "", "not a JSON object: ");
    run_alone("enqueue", "t", "{}", "--args", "{}");
    expect(2, "", "given twice");
    run_alone("enqueue", "t", "--priority", "high");
    expect(2, "", "--priority: \"high\" is not right; it should be a whole number");
    static const char *const no_numbers[] = {"01",  "1.", "-.5", ".5", "1e",
                                             "0x1", " 1", "+1",  "",   "1e999"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++) {
        run_alone("enqueue", "t", "--delay", no_numbers[i]);
        expect(2, "", "is not right; it should be a number");
    }
    run_alone("enqueue", "t", "--metadata", "1");
    expect(2, "", "it should be a JSON object");
    run_alone("enqueue", "t", "{}", "more");
    expect(2, "", "more: nothing more was expected here");
}

Test(verbs, what_the_server_refuses_is_said_in_its_words)
{
    answer_with(422,
                "{\"status\":422,\"code\":\"invalid\",\"detail\":\"/queue: may not\","
                "\"errors\":[{\"pointer\":\"/queue\",\"detail\":\"may not\"},"
                "{\"pointer\":\"/tags\",\"detail\":\"too many\"}]}");
    run("enqueue", "t", "--queue", "?");
    expect(1, "", "belay enqueue: /queue: may not (invalid)\n");
    expect(1, "", "  /tags: too many\n");
}

/* -- cancel and delete --------------------------------------------------------------- */

#define ANSWER(result, receipt)                                                          \
    "{\"result\":\"" result "\",\"job\":null,\"cancellation\":" receipt "}"

Test(verbs, cancel_asks_as_it_was_told)
{
    answer_with(200, ANSWER("cancelled", "{\"id\":1}"));
    run("cancel", "33");
    expect(0, "job 33: cancelled; it will never start (receipt 1)\n", "");
    cr_expect_str_eq(asked.line, "POST /jobs/33/cancel");
    cr_expect_str_eq(asked.body, "{}");
    answer_with(200, ANSWER("aborted", "{\"id\":1,\"message\":\"at\\u001b[2J 7\"}"));
    run("cancel", "33", "--abort", "--wait", "10", "--reason", "wrong \"x\"", "--actor",
        "ada", "--grace", "5", "--delete", "--only-if", "todo", "--only-if", "doing");
    expect(0, "job 33: aborted; it has stopped (receipt 1): at?[2J 7\n", "");
    cr_expect_str_eq(asked.body,
                     "{\"abort\":true,\"reason\":\"wrong \\\"x\\\"\",\"actor\":"
                     "\"ada\",\"grace_seconds\":5,\"delete\":true,"
                     "\"only_if\":[\"todo\",\"doing\"]}");
    cr_expect_not_null(strstr(asked.head, "Prefer: wait=10"));
}

Test(verbs, cancel_never_says_stopped_of_what_still_runs)
{
    answer_with(202, ANSWER("aborting", "{\"id\":2}"));
    run("cancel", "33", "--abort");
    expect(0, "job 33: asked to stop, not stopped yet (receipt 2)\n", "");
    answer_with_head(202, "Preference-Applied: wait=60",
                     ANSWER("aborting", "{\"id\":2}"));
    run("cancel", "33", "--abort", "--wait", "600");
    expect(1, "asked to stop, not stopped yet (receipt 2)\n", "not stopped after 60 s");
}

Test(verbs, cancel_of_a_running_job_is_refused_and_json_is_printed_all_the_same)
{
    answer_with(409, running);
    run("cancel", "33");
    expect(1, "",
           "belay cancel: job 33 is running; with abort=true it is asked to stop "
           "(job-running)\n");
    answer_with(409, running);
    run("cancel", "33", "--json");
    expect(1, running, "(job-running)");
}

Test(verbs, delete_asks_in_the_query)
{
    answer_with(204, "");
    run("delete", "33");
    expect(0, "job 33: deleted\n", "");
    cr_expect_str_eq(asked.line, "DELETE /jobs/33");
    answer_with(202, ANSWER("aborting", "{\"id\":1}"));
    run("delete", "33", "--abort", "--reason", "a b&c");
    expect(0, "job 33: asked to stop, not stopped yet (receipt 1)\n", "");
    cr_expect_str_eq(asked.line, "DELETE /jobs/33?abort=true&reason=a%20b%26c");
}

Test(verbs, an_id_is_a_number)
{
    static const char *const names[] = {"get",     "cancel", "delete",   "retry",
                                        "explain", "events", "children", "restore"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run_alone(names[i], "33/cancel");
        expect(2, "", "\"33/cancel\" is not the id of a job; it should be a number");
        run_alone(names[i]);
        expect(2, "", "ID is missing\nusage: belay ");
    }
}

/* -- reading ------------------------------------------------------------------------- */

Test(verbs, get_shows_a_job)
{
    answer_with(200, JOB("doing"));
    run("get", "33");
    expect(0, "id                  33\n", "");
    expect(0, "tags                a,b\n", "");
    expect(0, "args                {\"seconds\":60}\n", "");
    cr_expect_null(strstr(ran.out, "error"));
    answer_with(200,
                "{\"id\":33,\"args\":{\"n\":123456789012345678901234567890,\"x\":0.10}}");
    run("get", "33", "--json");
    expect(0, "{\"id\":33,\"args\":{\"n\":123456789012345678901234567890,\"x\":0.10}}\n",
           "");
}

Test(verbs, list_is_a_table_and_says_that_there_is_more)
{
    answer_with(
        200, "{\"jobs\":[" JOB("doing") "," JOB("failed") "],\"next_cursor\":\"c+1\"}");
    run("list", "--status", "doing,failed", "--limit", "2");
    expect(0,
           "ID  STATUS  QUEUE    TASK   PRIORITY  ATTEMPT  CREATED               TAGS\n"
           "33  doing   default  sleep  0         1        2026-11-23T20:00:00Z  a,b\n",
           "There is more: --cursor c+1, or --all\n");
    cr_expect_str_eq(asked.line, "GET /jobs?status=doing%2Cfailed&limit=2");
}

Test(verbs, list_all_follows_the_cursor)
{
    answer_with(200, "{\"jobs\":[" JOB("doing") "],\"next_cursor\":\"c+1\"}");
    answer_with(200, "{\"jobs\":[" JOB("failed") "],\"next_cursor\":null}");
    run("list", "--all", "--queue", "q");
    expect(0, "failed", "");
    cr_expect_str_eq(asked.line, "GET /jobs?queue=q&cursor=c%2B1");
    run_alone("list", "--all", "--cursor", "c");
    expect(2, "", "do not go together");
}

Test(verbs, children_is_the_list_of_a_job)
{
    answer_with(200, "{\"jobs\":[" JOB("doing") "],\"next_cursor\":\"c1\"}");
    run("children", "33", "--status", "doing");
    expect(0, "33  doing   default", "There is more: --cursor c1, or --all\n");
    cr_expect_str_eq(asked.line, "GET /jobs/33/children?status=doing");
    answer_with(200, "{\"jobs\":[],\"next_cursor\":null}");
    run("list", "--parent", "33");
    cr_expect_str_eq(asked.line, "GET /jobs?parent_id=33");
}

Test(verbs, explain_is_one_sentence)
{
    answer_with(200, "{\"job_id\":33,\"sentence\":\"It has not started: so.\"}");
    run("explain", "33");
    expect(0, "It has not started: so.\n", "");
    cr_expect_str_eq(asked.line, "GET /jobs/33/explain");
    answer_with(200, "{\"job_id\":33,\"sentence\":\"It is so.\"}");
    run("explain", "33", "--json");
    expect(0, "{\"job_id\":33,\"sentence\":\"It is so.\"}\n", "");
}

Test(verbs, events_retry_and_the_tables)
{
    answer_with(200,
                "{\"events\":[{\"id\":1,\"at\":\"2026-11-23T20:00:00.5Z\",\"type\":"
                "\"deferred\",\"attempt\":null,\"actor\":null,\"detail\":{\"a\":1}}]}");
    run("events", "33", "--after", "0");
    expect(0, "1   2026-11-23T20:00:00Z  deferred  -        -      {\"a\":1}\n", "");
    cr_expect_str_eq(asked.line, "GET /jobs/33/events?after=0");
    answer_with(200, "{\"result\":\"retried\",\"job\":" JOB("todo") "}");
    run("retry", "33", "--actor", "ada");
    expect(0, "job 33: waits to start again\n", "");
    cr_expect_str_eq(asked.line, "POST /jobs/33/retry");
    cr_expect_str_eq(asked.body, "{\"actor\":\"ada\"}");
    answer_with(200,
                "{\"tasks\":[{\"name\":\"echo\",\"kind\":\"sync\",\"max_attempts\":1}]}");
    run("tasks");
    expect(0,
           "TASK  KIND  ATTEMPTS  TIMEOUT  GRACE  DESCRIPTION\n"
           "echo  sync  1         -        -      -\n",
           "");
    answer_with(200, "{\"queues\":[{\"name\":\"q\",\"paused\":false,\"todo\":3}]}");
    run("queues");
    expect(0, "q      no      3", "");
    answer_with(200, "{\"workers\":[{\"id\":1,\"name\":\"w\",\"alive\":true}]}");
    run("workers");
    expect(0, "1   w       yes", "");
}

Test(verbs, schedule_asks_as_it_was_told)
{
    static const char document[] =
        "{\"name\":\"n\",\"cron\":\"0 3 * * *\",\"lock\":null,\"id\":33}";

    answer_with(201, document);
    run("schedule", "put", "n", "0 3 * * *", "t", "--timezone", "Europe/Berlin", "--args",
        "{\"x\": 0.10}", "--max-delay", "1.5", "--paused", "--tag", "a");
    expect(0, "cron", "");
    cr_expect_str_eq(asked.line, "PUT /schedules/n");
    cr_expect_str_eq(asked.body,
                     "{\"cron\":\"0 3 * * *\",\"task\":\"t\",\"timezone\":"
                     "\"Europe/Berlin\",\"args\":{\"x\": 0.10},"
                     "\"max_delay_seconds\":1.5,\"paused\":true,\"tags\":[\"a\"]}");
    answer_with(200, document);
    run("schedule", "get", "a/b c");
    cr_expect_str_eq(asked.line, "GET /schedules/a%2Fb%20c");
    answer_with(201, document);
    run("schedule", "run", "n");
    cr_expect_str_eq(asked.line, "POST /schedules/n/run");
    cr_expect_str_eq(ran.out, "33\n");
    answer_with(200, document);
    run("schedule", "pause", "n");
    cr_expect_str_eq(ran.out, "schedule n: is paused\n");
    run("schedule", "stop", "n");
    expect(2, "", "stop is not known; put, get, delete, pause, resume, run");
    run("schedule", "put", "n", "0 3 * * *");
    expect(2, "", "it is: belay schedule put NAME CRON TASK");
    run("schedule", "pause", "n", "--queue", "q");
    expect(2, "", "--queue goes with put");
}

Test(verbs, schedules_are_a_table)
{
    answer_with(200, "{\"schedules\":[{\"name\":\"n\",\"cron\":\"@daily\","
                     "\"paused\":true}],\"next_cursor\":\"nn\"}");
    run("schedules", "--limit", "1");
    expect(0, "n         @daily  -     -     yes", "There is more: --cursor nn\n");
    cr_expect_str_eq(asked.line, "GET /schedules?limit=1");
}

/* -- the service --------------------------------------------------------------------- */

Test(verbs, healthcheck_is_silent_when_all_is_well)
{
    answer_with(200, "{\"status\":\"ok\"}");
    run("healthcheck");
    expect(0, "", "");
    cr_expect_str_eq(asked.line, "GET /readyz");
    answer_with(503, "{\"status\":\"unavailable\",\"database\":false}");
    run("healthcheck");
    expect(1, "",
           "answers with status 503: {\"status\":\"unavailable\",\"database\":false}");
    setenv("BELAY_URL", "http://127.0.0.1:1", 1);
    run_alone("healthcheck");
    expect(1, "", "no answer from http://127.0.0.1:1");
    unsetenv("BELAY_URL");
    setenv("PORT", "2", 1);
    run_alone("healthcheck");
    expect(1, "", "no answer from http://127.0.0.1:2");
}

Test(verbs, version_is_that_of_the_program_or_the_server)
{
    run_alone("version");
    expect(0, "belay " BELAY_VERSION "\n", "");
    run_alone("--version");
    expect(0, "belay " BELAY_VERSION "\n", "");
    answer_with(200, "{\"name\":\"belay\",\"version\":\"9.9\",\"schema\":5}");
    run("version", "--server");
    expect(0, "belay 9.9, schema 5\n", "");
}

Test(verbs, without_a_server_the_exit_code_is_69)
{
    setenv("BELAY_URL", "http://127.0.0.1:1/", 1);
    run_alone("list");
    expect(69, "", "belay list: no answer from http://127.0.0.1:1/: ");
    expect(69, "", "--url or BELAY_URL");
    run_alone("list", "--url", "gopher://x");
    expect(69, "", "no answer from gopher://x");
    answer_with(503,
                "{\"code\":\"draining\",\"detail\":\"This server is shutting down\"}");
    run("list");
    expect(69, "", "belay list: This server is shutting down (draining)\n");
}

Test(verbs, an_answer_that_was_lost_is_not_called_a_failure)
{
    answer_with(0, ""); /* closes the connection */
    run("cancel", "33");
    expect(69, "", "Whether it was done is not known");
}

Test(verbs, an_answer_that_is_no_json_is_said)
{
    answer_with(502, "<html>");
    run("tasks");
    expect(1, "", " answered with status 502\n");
}

/* -- help and wrong usage ------------------------------------------------------------ */

Test(verbs, each_verb_has_help_with_examples)
{
    static const char *const names[] = {
#define VERB(name) #name,
#include "server/cli/verbs.def"
#undef VERB
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run_alone("help", names[i]);
        expect(0, "\nexamples:\n  ", "");
        expect(0, names[i], "");
    }
    run_alone("cancel", "--help");
    expect(0, "usage: belay cancel [ID | --key KEY] ", "");
    run_alone("help");
    expect(0, "healthcheck", "");
    run_alone("--help");
    expect(0, "healthcheck", "");
}

Test(verbs, wrong_usage_is_answered_with_what_was_meant)
{
    run_alone("canel", "33");
    expect(2, "", "belay: there is no verb canel; did you mean cancel?\n");
    run_alone("help", "wat");
    expect(2, "", "there is no verb wat; `belay help` lists them");
    run_alone("cancel", "33", "--abrot");
    expect(2, "", "--abrot: there is no such option; did you mean --abort?");
    run_alone("cancel", "33", "-a");
    expect(2, "", "-a: there is no such option");
    run_alone("cancel", "33", "--abort=yes");
    expect(2, "", "--abort takes no value");
    run_alone("cancel", "33", "--reason");
    expect(2, "", "--reason needs a value: --reason TEXT");
    run_alone("completion", "fish");
    expect(2, "", "only bash is known");
}

Test(verbs, config_prints_what_would_hold)
{
    unsetenv("BELAY_CONFIG");
    setenv("DATABASE_URL", "postgresql://u:hush@h/d", 1);
    run_alone("config");
    expect(0, "database_url: \"********\"\n", "");
    run_alone("config", "--markdown");
    expect(0, "# Configuration\n", "");
    run_alone("config", "--config", "/nowhere.yaml");
    expect(78, "", "belay config: /nowhere.yaml: No such file");
}

Test(verbs, the_completion_knows_verbs_and_options)
{
    run_alone("completion", "bash");
    expect(0, "cancel) words='--abort ", "");
    expect(0, "complete -o default -F _belay belay\n", "");
}
