/* createJob: what comes in, what is refused, and what arrives at the task. */
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <string.h>

TestSuite(create_job, .timeout = 90, .fini = service_stop_all);

static struct service *start_idle(void)
{
    return service_start(cluster_database(), "--concurrency 0");
}

Test(create_job, a_job_has_every_field_that_was_given)
{
    struct service *s = start_idle();
    struct reply *r = http(
        s, "POST", "/jobs", NULL,
        "{\"task\":\"echo\",\"queue\":\"mail/out\",\"priority\":-7,\"args\":{\"a\":[1]},"
        "\"max_attempts\":4,\"tags\":[\"x\",\"y \\\"z\\\"\",\"a,b{}\\\\\"],"
        "\"metadata\":{\"who\":\"me\"},\"scheduled_at\":\"2099-01-02T03:04:05.678901+02:"
        "00\","
        "\"lock\":\"l\\u00e4\",\"queueing_lock\":\"q\"}");

    expect_status(r, 201);
    expect_text(r, "queue", "mail/out");
    expect_text(r, "priority", "-7");
    expect_text(r, "args", "{\"a\":[1]}");
    expect_text(r, "max_attempts", "4");
    expect_text(r, "tags.1", "y \"z\"");
    expect_text(r, "tags.2", "a,b{}\\");
    expect_text(r, "metadata.who", "me");
    expect_text(r, "scheduled_at", "2099-01-02T01:04:05.678901Z");
    expect_text(r, "lock", "l\xc3\xa4");
    expect_text(r, "queueing_lock", "q");
    expect_text(r, "status", "todo");
    expect_text(r, "attempt", "0");
    struct reply *later = http_get(s, "%s", reply_header(r, "Location"));
    expect_status(later, 200);
    cr_expect_str_eq(later->body, r->body);
    cr_expect_str_eq(reply_header(later, "ETag"), reply_header(r, "ETag"));
}

Test(create_job, what_is_not_given_has_its_default)
{
    struct service *s =
        service_start(cluster_database(), "--concurrency 0 --max-attempts 3");
    struct reply *r = http(s, "POST", "/jobs", NULL, "{\"task\":\"echo\"}");

    expect_status(r, 201);
    expect_text(r, "queue", "default");
    expect_text(r, "priority", "0");
    expect_text(r, "args", "{}");
    expect_text(r, "max_attempts", "3");
    expect_text(r, "tags", "[]");
    expect_text(r, "metadata", "{}");
    expect_text(r, "scheduled_at", "null");
    expect_text(r, "lock", "null");
    r = http(s, "POST", "/jobs", NULL,
             "{\"task\":\"echo\",\"lock\":null,\"args\":null,\"delay_seconds\":null}");
    expect_status(r, 201);
}

struct wrong {
    const char *members; /* beside a good task */
    const char *pointer, *code;
};

Test(create_job, each_wrong_field_is_named_by_its_pointer)
{
    struct service *s = start_idle();
    const struct wrong wrong[] = {
        {"\"queue\":\"\"", "/queue", "invalid"},
        {"\"queue\":\"a b\"", "/queue", "invalid"},
        {text_of("\"queue\":\"%0129d\"", 0), "/queue", "invalid"},
        {"\"queue\":7", "/queue", "invalid"},
        {"\"priority\":1.5", "/priority", "invalid"},
        {"\"priority\":2147483648", "/priority", "invalid"},
        {"\"priority\":-2147483649", "/priority", "invalid"},
        {"\"priority\":\"1\"", "/priority", "invalid"},
        {"\"args\":[1]", "/args", "invalid"},
        {"\"args\":\"{}\"", "/args", "invalid"},
        {text_of("\"args\":{\"a\":\"%0262144d\"}", 0), "/args", "invalid"},
        {"\"max_attempts\":0", "/max_attempts", "invalid"},
        {"\"max_attempts\":1001", "/max_attempts", "invalid"},
        {"\"tags\":\"a\"", "/tags", "invalid"},
        {"\"tags\":[\"\"]", "/tags", "invalid"},
        {"\"tags\":[1]", "/tags", "invalid"},
        {text_of("\"tags\":[\"%065d\"]", 0), "/tags", "invalid"},
        {"\"tags\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\","
         "\"12\",\"13\",\"14\",\"15\",\"16\",\"17\",\"18\",\"19\",\"20\",\"21\"]",
         "/tags", "invalid"},
        {"\"metadata\":3", "/metadata", "invalid"},
        {text_of("\"metadata\":{\"a\":\"%016384d\"}", 0), "/metadata", "invalid"},
        {"\"scheduled_at\":\"tomorrow\"", "/scheduled_at", "invalid"},
        {"\"scheduled_at\":\"2026-11-23T20:00:00\"", "/scheduled_at", "invalid"},
        {"\"scheduled_at\":\"2026-02-30T20:00:00Z\"", "/scheduled_at", "invalid"},
        {"\"scheduled_at\":5", "/scheduled_at", "invalid"},
        {"\"delay_seconds\":-1", "/delay_seconds", "invalid"},
        {"\"delay_seconds\":\"5\"", "/delay_seconds", "invalid"},
        {"\"delay_seconds\":1e400", "/delay_seconds", "invalid"},
        {"\"delay_seconds\":1,\"scheduled_at\":\"2099-01-01T00:00:00Z\"",
         "/delay_seconds", "invalid"},
        {"\"lock\":\"\"", "/lock", "invalid"},
        {text_of("\"lock\":\"%0256d\"", 0), "/lock", "invalid"},
        {"\"queueing_lock\":1", "/queueing_lock", "invalid"},
        {"\"prio\":1", "/prio", "invalid"},
        {"\"queue\":\"a\",\"queue\":\"b\"", "/queue", "invalid"},
        {"\"args\":{\"b\":{\"c\":1,\"c\":2}}", "/args/b/c", "invalid"},
        {"\"lock\":\"a\\u0000b\"", "/lock", "invalid"},
        {"\"args\":{\"a\":\"\\ud800\"}", "/args/a", "invalid"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct wrong *w = &wrong[i];
        struct reply *r =
            http_post(s, text_of("{\"task\":\"echo\",%s}", w->members), "/jobs");
        cr_expect_eq(r->status, 422, "%.100s: %.600s", w->members, r->raw);
        cr_expect_str_eq(reply_text(r, "errors.0.pointer"), w->pointer, "%.100s: %s",
                         w->members, r->body);
        cr_expect_str_eq(reply_text(r, "code"), w->code);
    }
    expect_text(http_get(s, "/jobs"), "jobs", "[]");
}

Test(create_job, all_that_is_wrong_is_told_at_once)
{
    struct service *s = start_idle();
    struct reply *r = http_post(
        s, "{\"queue\":\"\",\"priority\":\"x\",\"nonsense\":1,\"task\":\"echo\"}",
        "/jobs");

    expect_status(r, 422);
    cr_expect_eq(json_array_size(reply_at(r, "errors")), 3, "%s", r->body);
}

Test(create_job, a_task_that_nobody_knows_is_refused_with_the_names_of_those_there_are)
{
    struct service *s = start_idle();
    struct reply *r = http_post(s, "{\"task\":\"ecko\"}", "/jobs");

    expect_status(r, 422);
    expect_text(r, "code", "unknown-task");
    expect_text(r, "errors.0.pointer", "/task");
    cr_expect_not_null(strstr(r->body, "echo"));
    r = http_post(s, "{\"args\":{}}", "/jobs");
    expect_status(r, 422);
    expect_text(r, "errors.0.pointer", "/task");
}

Test(create_job, what_is_not_json_is_400_with_the_place)
{
    struct service *s = start_idle();
    static const char *const bodies[] = {
        "{\"task\":}",     "{\"task\":\"echo\"",   "{\"task\":\"echo\"} x", "nope",
        "{'task':'echo'}", "{\"task\":\"echo\",}", "{\"task\":\"\xff\"}"};

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct reply *r = http_post(s, bodies[i], "/jobs");
        cr_expect_eq(r->status, 400, "%s: %s", bodies[i], r->raw);
        expect_text(r, "code", "bad-request");
        cr_expect_not_null(strstr(reply_text(r, "detail"), "byte"), "%s", r->body);
    }
    expect_status(http_post(s, NULL, "/jobs"), 400);
    expect_status(http_post(s, "[]", "/jobs"), 422);
    expect_status(http(s, "POST", "/jobs", "Content-Type: text/plain\r\n", "{}"), 415);
}

Test(create_job, args_come_out_byte_for_byte)
{
    struct service *s = service_start(cluster_database(), "--concurrency 2");
    static const char *const all[] = {
        "{\"n\":0.10}",
        "{\"n\":1e400,\"m\":-0.0,\"k\":12345678901234567890123456789}",
        "{ \"spaced\" : [ 1 ,\t2 ] }",
        "{\"u\":\"\\u00e4\\ud83d\\ude00 \xc3\xa4\xf0\x9f\x98\x80\"}",
        "{\"\":{\"\":[[[[[[{}]]]]]]},\"b\":null,\"a\":true}",
        "{\"html\":\"</script>\",\"slash\":\"\\/\"}",
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *body = text_of("{\"task\":\"echo\",\"args\":%s}", all[i]);
        struct reply *r = http_post(s, body, "/jobs?wait=20");
        expect_status(r, 201);
        cr_expect_not_null(strstr(r->body, "\"status\":\"succeeded\""), "%s", r->body);
        cr_expect_not_null(strstr(r->body, text_of("\"args\":%s,", all[i])), "%s",
                           r->body);
        cr_expect_not_null(strstr(r->body, text_of("\"result\":%s,", all[i])), "%s",
                           r->body);
    }
}

Test(create_job, a_queueing_lock_lets_one_job_wait)
{
    const char *url = cluster_database();
    struct service *s = service_start(url, "--concurrency 0");
    const char *body = "{\"task\":\"echo\",\"queueing_lock\":\"nightly\"}";
    int64_t first = put_job(s, body);
    struct reply *r = http_post(s, body, "/jobs");

    expect_status(r, 409);
    expect_text(r, "code", "already-enqueued");
    cr_expect_eq(reply_int(r, "existing_id"), first);
    expect_status(http_post(s, NULL, "/jobs/%ld/cancel", first), 200);
    int64_t second = put_job(s, body);
    r = http_post(s, NULL, "/jobs/%ld/retry", first);
    expect_status(r, 409);
    expect_text(r, "code", "already-enqueued");
    struct service *worker = service_start(url, NULL);
    wait_status(s, second, "succeeded");
    wait_status(worker, put_job(s, body), "succeeded");
}

Test(create_job, wait_answers_201_with_the_job_as_it_ended)
{
    struct service *s = service_start(cluster_database(), NULL);
    struct reply *r = http(s, "POST", "/jobs", "Prefer: wait=20\r\n",
                           "{\"task\":\"echo\",\"args\":{\"a\":1}}");

    expect_status(r, 201);
    expect_text(r, "status", "succeeded");
    expect_text(r, "result.a", "1");
    cr_expect_str_eq(reply_header(r, "Preference-Applied"), "wait=20");
    cr_expect_not_null(reply_header(r, "Location"));
    r = http_post(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}", "/jobs?wait=1");
    expect_status(r, 201);
    expect_text(r, "status", "doing");
    expect_status(http_post(s, "{\"task\":\"echo\"}", "/jobs?wait=soon"), 400);
    r = http(s, "POST", "/jobs", "Prefer: wait=soon\r\n", "{\"task\":\"echo\"}");
    expect_status(r, 201);
}

Test(create_job, one_that_is_removed_while_the_client_waits_was_created_all_the_same)
{
    struct service *s = start_idle();
    struct pending *p =
        http_send(s, "POST", "/jobs?wait=30", NULL, "{\"task\":\"echo\"}");

    wait_until(http_get(s, "/jobs/1")->status == 200);
    expect_status(http_delete(s, "/jobs/1"), 204);
    struct reply *r = http_receive(p);
    expect_status(r, 201);
    cr_expect_str_eq(reply_header(r, "Location"), "/jobs/1");
    expect_text(r, "id", "1");
}

Test(create_job, one_is_created_though_the_database_goes_away_while_the_client_waits)
{
    struct cluster *c = cluster_new();
    struct service *s = service_start(cluster_url(c), "--concurrency 0");
    struct pending *p = http_send(s, "POST", "/jobs?wait=2", NULL, "{\"task\":\"echo\"}");

    wait_until(http_get(s, "/jobs/1")->status == 200);
    cluster_stop(c);
    struct reply *r = http_receive(p);
    expect_status(r, 201);
    cr_expect_str_eq(reply_header(r, "Location"), "/jobs/1");
    expect_text(r, "status", "todo");
    cr_expect_eq(service_stop(s), 0);
    cluster_free(c);
}
