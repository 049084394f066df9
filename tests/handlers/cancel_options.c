/* cancellation.md, section 4: preconditions, bad options, and a database that is away. */
#include "tests/support/cluster.h"
#include "tests/support/steered.h"

#include <string.h>

TestSuite(cancel_options, .timeout = 90, .fini = service_stop_all);

static struct reply *cancel_if(struct service *s, int64_t id, const char *etag)
{
    return http(s, "POST", text_of("/jobs/%ld/cancel", id),
                text_of("If-Match: %s\r\n", etag), NULL);
}

static void expect_precondition_failed(struct service *s, struct reply *r, int64_t id)
{
    expect_status(r, 412);
    expect_text(r, "code", "precondition-failed");
    expect_text(r, "result", "not_cancelled");
    cr_expect_str_eq(reply_header(r, "ETag"), reply_header(look_at(s, id), "ETag"));
}

Test(cancel_options, what_does_not_hold_is_412_with_the_current_etag_and_changes_nothing)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    static const char *const wrong[] = {"?only_if=doing", "?only_if=doing,aborted",
                                        "?attempt=1", "?only_if=todo&attempt=7"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_precondition_failed(
            s, http_post(s, NULL, "/jobs/%ld/cancel%s", id, wrong[i]), id);
    expect_precondition_failed(
        s, http_post(s, "{\"only_if\":[\"doing\"]}", "/jobs/%ld/cancel", id), id);
    expect_precondition_failed(s, http_post(s, "{\"attempt\":3}", "/jobs/%ld/cancel", id),
                               id);
    expect_precondition_failed(s, cancel_if(s, id, "\"0123abc\""), id);
    expect_text(look_at(s, id), "status", "todo");
    expect_text(http_get(s, "/jobs/%ld/cancellations", id), "cancellations", "[]");
}

Test(cancel_options, what_holds_lets_the_cancel_through)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t a = put_job(s, "{\"task\":\"echo\"}"), b = put_job(s, "{\"task\":\"echo\"}");
    int64_t c = put_job(s, "{\"task\":\"echo\"}"), d = put_job(s, "{\"task\":\"echo\"}");

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?only_if=doing,todo&attempt=0", a),
                  200);
    expect_status(
        http_post(s, "{\"only_if\":[\"todo\"],\"attempt\":0}", "/jobs/%ld/cancel", b),
        200);
    expect_status(cancel_if(s, c, reply_header(look_at(s, c), "ETag")), 200);
    expect_status(cancel_if(s, d, "*"), 200);
}

Test(cancel_options, an_etag_among_several_holds)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    const char *etag = reply_header(look_at(s, id), "ETag");

    expect_precondition_failed(s, cancel_if(s, id, "\"aa\", \"bb\""), id);
    expect_status(cancel_if(s, id, text_of("\"aa\", %s", etag)), 200);
}

Test(cancel_options, the_body_wins_over_the_query)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    struct reply *r = http_post(s, "{\"reason\":\"of the body\"}",
                                "/jobs/%ld/cancel?reason=of-the-query&actor=me", id);

    expect_status(r, 200);
    expect_text(r, "cancellation.reason", "of the body");
    expect_text(r, "cancellation.actor", "me");
}

struct wrong {
    const char *query, *body;
    int status;
    const char *pointer;
};

Test(cancel_options, a_bad_option_is_named_and_nothing_happens)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    const struct wrong wrong[] = {
        {"?abort=maybe", NULL, 400, ""},
        {"?abort", NULL, 400, ""},
        {"?force=true", NULL, 400, ""},
        {"?grace_seconds=-1", NULL, 400, ""},
        {"?grace_seconds=86401", NULL, 400, ""},
        {"?attempt=x", NULL, 400, ""},
        {"?undo_seconds=0", NULL, 400, ""},
        {"?wait=x", NULL, 400, ""},
        {"?only_if=running", NULL, 400, ""},
        {"?only_if=", NULL, 400, ""},
        {"?only_if=todo,,doing", NULL, 400, ""},
        {"?only_if=todo,", NULL, 400, ""},
        {"?only_if=todo%7D", NULL, 400, ""},
        {"?only_if=todo%22", NULL, 400, ""},
        {text_of("?reason=%01025d", 0), NULL, 400, ""},
        {text_of("?actor=%0256d", 0), NULL, 400, ""},
        {"", "{", 400, ""},
        {"", "[]", 422, ""},
        {"", "null", 422, ""},
        {"", "{\"abort\":\"yes\"}", 422, "/abort"},
        {"", "{\"abort\":1}", 422, "/abort"},
        {"", "{\"delete\":\"\"}", 422, "/delete"},
        {"", "{\"force\":true}", 422, "/force"},
        {"", "{\"grace_seconds\":1.5}", 422, "/grace_seconds"},
        {"", "{\"grace_seconds\":86401}", 422, "/grace_seconds"},
        {"", "{\"attempt\":-1}", 422, "/attempt"},
        {"", "{\"only_if\":\"todo\"}", 422, "/only_if"},
        {"", "{\"only_if\":[]}", 422, "/only_if"},
        {"", "{\"only_if\":[\"todo\",\"sleeping\"]}", 422, "/only_if"},
        {"", "{\"only_if\":[\"todo,doing\"]}", 422, "/only_if"},
        {"", "{\"only_if\":[1]}", 422, "/only_if"},
        {"", "{\"reason\":7}", 422, "/reason"},
        {"", text_of("{\"reason\":\"%01025d\"}", 0), 422, "/reason"},
        {"", text_of("{\"actor\":\"%0256d\"}", 0), 422, "/actor"},
        {"", "{\"abort\":true,\"abort\":false}", 422, "/abort"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct wrong *w = &wrong[i];
        struct reply *r = http_post(s, w->body, "/jobs/%ld/cancel%s", id, w->query);
        cr_expect_eq(r->status, w->status, "%s %s: %s", w->query,
                     w->body != NULL ? w->body : "", r->raw);
        cr_expect_str_eq(reply_text(r, "errors.0.pointer"), w->pointer, "%s: %s", w->body,
                         r->body);
    }
    expect_text(look_at(s, id), "status", "todo");
}

Test(cancel_options, limits_count_characters_and_the_longest_is_taken)
{
    struct service *s = service_start(cluster_database(), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");
    char reason[1024 * 2 + 1];

    for (size_t i = 0; i < sizeof reason - 1; i += 2)
        memcpy(reason + i, "\xc3\xa4", 2);
    reason[sizeof reason - 1] = '\0';
    struct reply *r =
        http_post(s, text_of("{\"reason\":\"%s\"}", reason), "/jobs/%ld/cancel", id);
    expect_status(r, 200);
    expect_text(r, "cancellation.reason", reason);
}

Test(cancel_options, a_stronger_call_makes_the_same_receipt_stronger)
{
    struct service *s = service_start(cluster_database(), steered("--concurrency 1"));
    int64_t id = put_steered(s, "deaf", scratch_path("never"));

    expect_status(http_post(s, NULL, "/jobs/%ld/cancel?abort=true", id), 202);
    struct reply *r = http_post(
        s, NULL, "/jobs/%ld/cancel?abort=true&grace_seconds=0&delete=true&wait=30", id);
    expect_status(r, 200);
    expect_text(r, "result", "killed");
    expect_text(r, "cancellation.id", "1");
    expect_text(r, "cancellation.grace_seconds", "0");
    expect_text(r, "cancellation.delete_requested", "true");
    expect_status(look_at(s, id), 404);
}

/* -- the database is away ------------------------------------------------------------ */

Test(cancel_options, without_the_database_it_is_503_and_safe_to_repeat)
{
    struct cluster *c = cluster_new();
    struct service *s = service_start(cluster_url(c), "--concurrency 0");
    int64_t id = put_job(s, "{\"task\":\"echo\"}");

    cluster_stop(c);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel", id);
    expect_status(r, 503);
    cr_expect(strcmp(reply_text(r, "code"), "database-unavailable") == 0 ||
                  strcmp(reply_text(r, "code"), "outcome-unknown") == 0,
              "%s", r->body);
    cr_expect_not_null(reply_header(r, "Retry-After"));
    r = http(s, "DELETE", text_of("/jobs/%ld", id), NULL, NULL);
    expect_status(r, 503);
    expect_text(r, "code", "database-unavailable");
    cr_expect_not_null(reply_header(r, "Retry-After"));
    cluster_start(c);
    wait_until(http_get(s, "/readyz")->status == 200);
    expect_text(look_at(s, id), "status", "todo");
    expect_text(http_post(s, NULL, "/jobs/%ld/cancel", id), "result", "cancelled");
    cr_expect_eq(service_stop(s), 0);
    cluster_free(c);
}
