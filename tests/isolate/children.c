/* Isolated tasks that behave: all of task.h works in a child, and children are used
 * again. */
#include "server/core/clock.h"
#include "tests/isolate/poisoned.h"
#include "tests/support/cluster.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

TestSuite(children, .timeout = 90, .fini = service_stop_all);

static pid_t pid_of_next(struct service *s)
{
    int64_t id = put_job(s, "{\"task\":\"pid\"}");

    return (pid_t)reply_int(wait_status(s, id, "succeeded"), "result.pid");
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static int64_t put_and_wait_for(struct service *s, const char *task, const char *progress)
{
    int64_t id = put_job(s, text_of("{\"task\":\"%s\",\"max_attempts\":5}", task));

    wait_status(s, id, "doing");
    if (progress != NULL)
        wait_until(strcmp(reply_text(look_at(s, id), "progress.message"), progress) == 0);
    return id;
}

Test(children, one_is_used_again_until_it_has_had_its_share)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 1");
    pid_t first = pid_of_next(s);

    cr_expect_neq(first, service_pid(s));
    cr_expect_eq(pid_of_next(s), first); /* max_jobs_per_child is 2 */
    pid_t second = pid_of_next(s);
    cr_expect_neq(second, first);
    wait_until(is_gone(first));
}

Test(children, one_that_died_while_it_waited_is_replaced)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 1");
    pid_t first = pid_of_next(s);

    kill(first, SIGKILL);
    wait_until(is_gone(first));
    cr_expect_neq(pid_of_next(s), first);
}

/* How many descriptors it has, and the highest. */
static int count_descriptors(struct service *s, int *out_highest)
{
    DIR *all = opendir(text_of("/proc/%d/fd", (int)service_pid(s)));
    const struct dirent *entry;
    int n = 0;

    cr_assert_not_null(all);
    *out_highest = 0;
    while ((entry = readdir(all)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        n += entry->d_name[0] != '.';
        *out_highest = fd > *out_highest ? fd : *out_highest;
    }
    closedir(all);
    return n;
}

/* It may have no more than it has, and connections take what is free among these, now or
 * a moment later: an answered connection may still be there. */
static void take_all_descriptors(struct service *s)
{
    int highest, unused;
    count_descriptors(s, &highest);
    struct rlimit limit = {.rlim_cur = (rlim_t)highest + 1,
                           .rlim_max = (rlim_t)highest + 1};

    cr_assert_eq(prlimit(service_pid(s), RLIMIT_NOFILE, &limit, NULL), 0);
    for (int looks = 0; looks < 3; looks++) {
        sleep_ms(100);
        if (count_descriptors(s, &unused) <= highest) {
            http_send_raw(s, "GET", 3);
            looks = -1;
        }
    }
}

Test(children, those_that_wait_give_way_to_a_program_that_needs_their_descriptors)
{
    const char *url = cluster_database(), *file = scratch_path("belay.yaml");
    int64_t ids[3];

    scratch_write(file, "commands: [{name: hello, command: [/bin/true]}]\n");
    struct service *s = poisoned_start(
        url, text_of("--concurrency 3 --isolate sleep --timeout-header-seconds 60"
                     " --config %s",
                     file));
    for (int i = 0; i < 3; i++)
        ids[i] = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":0.5}}");
    for (int i = 0; i < 3; i++)
        wait_status(s, ids[i], "succeeded");
    take_all_descriptors(s);
    int64_t id = cluster_int(url, "SELECT belay.enqueue('hello')");
    wait_until(strcmp(cluster_psql(url, text_of("SELECT status FROM"
                                                " belay.job_states('{%ld}')",
                                                (long)id)),
                      "succeeded") == 0);
}

Test(children, none_outlives_a_service_that_is_killed)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 2");
    pid_t idle = pid_of_next(s);

    put_and_wait_for(s, "spin", NULL);
    service_crash(s);
    wait_until(is_gone(idle));
}

Test(children, an_abort_reaches_the_task_with_all_that_was_said)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 1");
    int64_t id = put_and_wait_for(s, "ask_why", "still waiting");
    struct reply *r = http_post(s,
                                "{\"abort\":true,\"reason\":\"enough\",\"actor\":\"ada\","
                                "\"grace_seconds\":60}",
                                "/jobs/%ld/cancel?wait=20", id);

    expect_status(r, 200);
    expect_text(r, "job.status", "aborted");
    expect_text(r, "job.attempt", "1");
    expect_text(r, "cancellation.outcome", "aborted");
    expect_text(r, "cancellation.message", "ada says enough, no hurry");
    cr_expect_str_neq(reply_text(r, "cancellation.acknowledged_at"), "null");
    wait_until(service_logged(s, "on stderr"));
    cr_expect(service_logged(s, "and on stdout"));
    cr_expect(service_logged(s, "it waves"));
}

Test(children, a_task_that_only_looks_at_the_flag_sees_it)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 1");
    int64_t id = put_and_wait_for(s, "look", NULL);
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", id);

    expect_text(r, "cancellation.message", "seen");
}

Test(children, one_that_does_not_obey_is_killed_and_not_tried_again)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 1");
    int64_t id = put_job(s, "{\"task\":\"spin\",\"timeout_seconds\":0,"
                            "\"max_attempts\":5}");

    wait_status(s, id, "doing");
    struct reply *r =
        http_post(s, NULL, "/jobs/%ld/cancel?abort=true&grace_seconds=0&wait=20", id);
    expect_status(r, 200);
    expect_text(r, "result", "killed");
    expect_text(r, "job.status", "aborted");
    expect_text(r, "job.attempt", "1");
}

Test(children, results_of_every_kind_come_back)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 1");
    int64_t tired = put_job(s, "{\"task\":\"come_again\",\"max_attempts\":3,"
                               "\"queue\":\"q\"}");
    int64_t wrong = put_job(s, "{\"task\":\"not_json\"}");
    struct reply *r = wait_status(s, tired, "failed");

    expect_text(r, "attempt", "3");
    expect_text(r, "error.kind", "tired");
    expect_text(r, "error.message", "3 of 3 in q2");
    expect_text(r, "priority", "2");
    expect_text(r, "lock", "null");
    expect_text(wait_status(s, wrong, "failed"), "error.kind", "bad_result");
}

Test(children, what_is_large_arrives_as_it_was)
{
    struct service *s = poisoned_start(cluster_database(), "--concurrency 2");
    enum { LARGE = 250000 };
    char *text = calloc(LARGE + 1, 1);

    memset(text, 'x', LARGE);
    int64_t id = put_job(
        s, text_of("{\"task\":\"repeat\",\"args\":{\"price\":1.10,\"x\":\"%s\"}}", text));
    struct reply *r = wait_status(s, id, "succeeded");
    cr_expect_eq(strlen(reply_text(r, "result.x")), LARGE);
    cr_expect_not_null(strstr(r->body, "\"result\":{\"price\":1.10,"));
    free(text);
}

Test(children, the_setting_isolates_tasks_that_do_not_say_so)
{
    struct service *s =
        poisoned_start(cluster_database(), "--concurrency 1 --isolate echo,sleep");
    int64_t id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}");

    wait_status(s, id, "doing");
    struct reply *r = http_post(s, NULL, "/jobs/%ld/cancel?abort=true&wait=20", id);
    expect_text(r, "job.status", "aborted");
    id = put_job(s, "{\"task\":\"echo\",\"args\":{\"a\":1}}");
    expect_text(wait_status(s, id, "succeeded"), "result.a", "1");
}

Test(children, a_shutdown_gives_an_isolated_job_back)
{
    const char *url = cluster_database();
    struct service *s = poisoned_start(url, "--concurrency 1 --drain-seconds 0");

    put_and_wait_for(s, "ask_why", "still waiting");
    cr_expect_eq(service_stop(s), 0);
    cr_expect_str_eq(cluster_psql(url, "SELECT belay.job(1) ->> 'status'"), "todo");
}
