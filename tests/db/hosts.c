#include "db/hosts.h"

#include "db/db.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/support/cluster.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(hosts, .timeout = 60);

enum { OPEN_MS = 2500, STOPPED_MS = 1500 };

/* A host of the network that is not PostgreSQL. */
static int open_host(int *out_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 16), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

/* As a forwarder does whose server is gone. */
static void *hang_up(void *arg)
{
    for (int fd; (fd = accept(*(int *)arg, NULL, NULL)) >= 0;)
        close(fd);
    return NULL;
}

/* The test's database, behind another host in the list. */
static void both(char *out, size_t size, int port, const char *more)
{
    const char *url = cluster_database();
    const char *host = strstr(url, "host='");

    cr_assert_not_null(host, "%s", url);
    host += strlen("host='");
    snprintf(out, size, "%s host=127.0.0.1,%.*s port=%d,5432 %s", url,
             (int)strcspn(host, "'"), host, port, more);
}

static enum err open_within(const char *url, int64_t *out_ms, char *why, int why_len)
{
    struct db_options options = {.url = url, .application_name = "belay hosts"};
    struct db *db = NULL;
    int64_t begin_ms = clock_ms();
    enum err e = db_open(&options, &db, why, why_len);

    *out_ms = clock_ms() - begin_ms;
    if (e == ERR_OK) {
        cr_assert_eq(db_run(db, "SELECT 1", NULL), ERR_OK);
        db_close(db);
    }
    return e;
}

Test(hosts, one_that_accepts_and_never_answers_does_not_keep_us_from_the_next)
{
    char url[512], why[512] = "";
    int port, fd = open_host(&port);
    int64_t ms;

    both(url, sizeof url, port, "target_session_attrs=read-write");
    cr_expect_eq(open_within(url, &ms, why, sizeof why), ERR_OK, "%s", why);
    cr_expect_leq(ms, OPEN_MS);
    close(fd);
}

Test(hosts, one_that_hangs_up_does_not_keep_us_from_the_next)
{
    char url[512], why[512] = "";
    int port, fd = open_host(&port);
    pthread_t thread;
    int64_t ms;

    cr_assert_eq(pthread_create(&thread, NULL, hang_up, &fd), 0);
    both(url, sizeof url, port, "target_session_attrs=read-write");
    cr_expect_eq(open_within(url, &ms, why, sizeof why), ERR_OK, "%s", why);
    cr_expect_leq(ms, OPEN_MS);
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fd);
}

Test(hosts, all_of_them_have_the_time_of_one)
{
    char url[256], why[512] = "";
    int ports[3], fds[3];
    int64_t ms;

    for (int i = 0; i < 3; i++)
        fds[i] = open_host(&ports[i]);
    snprintf(url, sizeof url,
             "postgresql://belay@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/x", ports[0],
             ports[1], ports[2]);
    cr_expect_eq(open_within(url, &ms, why, sizeof why), ERR_UNAVAILABLE);
    cr_expect(ms >= OPEN_MS - 100 && ms <= OPEN_MS + 500, "%d ms", (int)ms);
    cr_expect_neq(strstr(why, "did not answer"), NULL, "%s", why);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

Test(hosts, one_that_never_answers_does_not_keep_who_is_to_stop)
{
    char url[128], why[512] = "";
    int port, fd = open_host(&port), stop_fd = eventfd(1, EFD_CLOEXEC);
    struct db_options options = {
        .url = url, .application_name = "belay hosts", .stop_fd = stop_fd};
    struct db *db = NULL;

    snprintf(url, sizeof url, "postgresql://belay@127.0.0.1:%d/x", port);
    int64_t begin_ms = clock_ms();
    cr_expect_eq(db_open(&options, &db, why, sizeof why), ERR_UNAVAILABLE);
    cr_expect_leq(clock_ms() - begin_ms, STOPPED_MS);
    close(fd);
    close(stop_fd);
}

Test(hosts, of_several_the_one_that_takes_writes_is_meant)
{
    char url[512], why[512] = "";
    int port, fd = open_host(&port);
    int64_t ms;

    close(fd);
    both(url, sizeof url, port, "options='-c default_transaction_read_only=on'");
    cr_expect_eq(open_within(url, &ms, why, sizeof why), ERR_UNAVAILABLE);
    cr_expect_neq(strstr(why, "read-only"), NULL, "%s", why);
    both(url, sizeof url, port,
         "options='-c default_transaction_read_only=on' target_session_attrs=any");
    cr_expect_eq(open_within(url, &ms, why, sizeof why), ERR_OK, "%s", why);
}

static const char *picked(const char *url, int i)
{
    static char text[256];
    CLEANUP(host_release) struct host h = HOST_INIT;

    cr_assert_eq(host_pick(url, i, &h), ERR_OK);
    snprintf(text, sizeof text, "%s|%s|%s", h.name.text, h.address.text, h.port.text);
    return text;
}

Test(hosts, each_has_its_own_name_address_and_port)
{
    const char *lists = "host=a,b hostaddr=10.0.0.1,::1 port=1,2";

    cr_expect_eq(hosts_count(lists), 2);
    cr_expect_str_eq(picked(lists, 0), "a|10.0.0.1|1");
    cr_expect_str_eq(picked(lists, 1), "b|::1|2");
    cr_expect_eq(hosts_count("postgresql://x@a:5,b,c:7/d"), 3);
    cr_expect_eq(hosts_count("host=a,b,c port=5"), 3);
    cr_expect_str_eq(picked("host=a,b,c port=5", 2), "c||5");
    cr_expect_str_eq(picked("postgresql://x@a:5,b,c:7/d", 1), "b||5432");
    cr_expect_str_eq(picked("hostaddr=10.0.0.1,10.0.0.2", 1), "|10.0.0.2|");
}

/* What is no list, or none that we can take apart, is libpq's as it stands. */
Test(hosts, what_is_no_list_is_one)
{
    cr_expect_eq(hosts_count("host=a"), 1);
    cr_expect_eq(hosts_count(""), 1);
    cr_expect_eq(hosts_count("postgres"), 1);
    cr_expect_eq(hosts_count("host=a,,c"), 1);
    cr_expect_eq(hosts_count("host=a,b port=1,2,3"), 1);
    cr_expect_eq(hosts_count("host=a,b hostaddr=10.0.0.1"), 1);
}
