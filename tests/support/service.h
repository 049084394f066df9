/* service: the real program over real HTTP, for one test.
 *
 *     struct service *s = service_start(cluster_database(), "--concurrency 2");
 *     struct reply *r = http(s, "POST", "/jobs", NULL, "{\"task\":\"echo\"}");
 *     expect_status(r, 201);
 *     cr_expect_str_eq(reply_text(r, "status"), "todo");
 *
 * The program is $BELAY_BINARY, or build/belay; its port is a free one. It dies with the
 * test's process, so nothing survives a test that fails; service_stop_all(), for
 * TestSuite(.fini), ends it as a supervisor would and expects that it goes in order.
 * Several services of one test share a database by its URL.
 *
 * Replies and texts live as long as the test. One thread. */
#ifndef BELAY_TESTS_SUPPORT_SERVICE_H
#define BELAY_TESTS_SUPPORT_SERVICE_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct service;

/* Starts it with these flags (words between blanks; NULL: none) and waits until it is
 * ready. Unless a flag says otherwise it does not wait for jobs when it is stopped. */
struct service *service_start(const char *database_url, const char *flags);
/* The same without waiting for /readyz: the database may be away. */
struct service *service_start_unready(const char *database_url, const char *flags);

void service_signal(struct service *s, int sig);
/* SIGTERM, and the exit code; the log is shown when it is not 0. */
int service_stop(struct service *s);
/* SIGKILL: what a crash looks like to everybody else. */
void service_crash(struct service *s);
void service_stop_all(void);

/* True once it has ended. */
bool service_has_ended(struct service *s);
pid_t service_pid(const struct service *s);
/* All that it has logged so far; valid until the next call. */
const char *service_log(struct service *s);
bool service_logged(struct service *s, const char *words);

/* -- HTTP ---------------------------------------------------------------------------- */

struct reply {
    int status;      /* 0: the connection was closed without an answer */
    const char *raw; /* head and body */
    const char *body;
    size_t len;
    json_t *json; /* NULL: the body is not JSON */
};

/* One request on a connection of its own. `headers` are lines that end in \r\n, or NULL;
 * a body is sent as JSON unless they say what it is. */
struct reply *http(struct service *s, const char *method, const char *path,
                   const char *headers, const char *body);
/* The same in two halves, so that something can happen while the server waits. */
struct pending;
struct pending *http_send(struct service *s, const char *method, const char *path,
                          const char *headers, const char *body);
/* Any bytes. */
struct pending *http_send_raw(struct service *s, const char *bytes, size_t len);
struct reply *http_receive(struct pending *p);
/* True when the whole answer is there. */
bool http_is_answered(struct pending *p);
/* The client hangs up. */
void http_hang_up(struct pending *p);

/* A header's value, or NULL. */
const char *reply_header(const struct reply *r, const char *name);
/* What is at "job.actions.cancel" or "errors.0.pointer"; NULL: nothing. */
const json_t *reply_at(const struct reply *r, const char *path);
/* The same as text: of a string, number, true, false or null; "" where nothing is. */
const char *reply_text(const struct reply *r, const char *path);
int64_t reply_int(const struct reply *r, const char *path);

#define expect_status(r, wanted)                                                         \
    cr_assert_eq((r)->status, (wanted), "%d instead of %d: %s", (r)->status, (wanted),   \
                 (r)->raw)
#define expect_text(r, path, wanted)                                                     \
    cr_expect_str_eq(reply_text((r), (path)), (wanted), "%s is %s, not %s: %s", (path),  \
                     reply_text((r), (path)), (wanted), (r)->body)

/* -- jobs ---------------------------------------------------------------------------- */

/* Creates a job and returns its id. */
int64_t put_job(struct service *s, const char *body);
/* GET /jobs/{id}, and any path made as by printf. */
struct reply *look_at(struct service *s, int64_t id);
struct reply *http_get(struct service *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct reply *http_post(struct service *s, const char *body, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* DELETE. */
struct reply *http_delete(struct service *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Looks until the job has this status and answers it; fails the test after 20 s. */
struct reply *wait_status(struct service *s, int64_t id, const char *status);

/* -- conditions ---------------------------------------------------------------------- */

/* Looks until the expression is true; fails the test after 20 s. */
#define wait_until(condition)                                                            \
    do {                                                                                 \
        for (int looks = 0; !(condition); looks++)                                       \
            look_again_or_fail(looks, #condition, __FILE__, __LINE__);                   \
    } while (0)
void look_again_or_fail(int looks, const char *what, const char *file, int line);

/* Text that lives as long as the test. */
char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A path of this test's own in a directory that goes with it; nothing is there yet. */
const char *scratch_path(const char *name);
void scratch_write(const char *path, const char *text);

#endif
