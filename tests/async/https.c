/* await_http() over TLS, with a server that openssl brings. */
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/async/harness.h"
#include "tests/support/service.h"
#include "workers/process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct process *server;
static const char *certificate;
static int port;

/* openssl s_server with a certificate of its own for localhost. */
static const char script[] =
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    " -addext subjectAltName=DNS:localhost -keyout $1.key -out $1 2>/dev/null &&"
    " exec openssl s_server -accept 127.0.0.1:0 -www -key $1.key -cert $1 2>/dev/null";

/* "ACCEPT 127.0.0.1:43210" */
static int read_port(void)
{
    static const char mark[] = "ACCEPT 127.0.0.1:";
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    const char *found;

    while ((found = strstr(text.text, mark)) == NULL || strchr(found, '\n') == NULL) {
        struct pollfd p = {.fd = process_out_fd(server), .events = POLLIN};
        char chunk[256];
        cr_assert_eq(poll(&p, 1, 20000), 1, "openssl says nothing");
        ssize_t n = read(p.fd, chunk, sizeof chunk);
        cr_assert_gt(n, 0, "openssl has ended");
        buf_add(&text, chunk, (size_t)n);
    }
    return (int)strtol(found + sizeof mark - 1, NULL, 10);
}

static void set_up(void)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;

    certificate = scratch_path("certificate");
    const char *argv[] = {"sh", "-c", script, "sh", certificate, NULL};
    const char *env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", NULL};
    struct process_spec spec = {.argv = argv, .env = env, .stdin_fd = -1};
    cr_assert_eq(process_zygote_start(), ERR_OK);
    cr_assert_eq(process_start(&spec, &server, &why), ERR_OK, "%s", why.text);
    port = read_port();
}

static void tear_down(void)
{
    process_close(server); /* which kills it */
    process_zygote_stop();
}

TestSuite(https, .init = set_up, .fini = tear_down, .timeout = 60);

static void verifies(struct job_ctx *ctx)
{
    struct http_request request = {.url = text_of("https://localhost:%d/", port)};
    struct http_answer answer;

    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EPROTO);
    cr_expect(strstr(answer.why, "certificate") != NULL, "%s", answer.why);
    http_answer_release(&answer);
    request.ca_file = certificate;
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), JOB_OK, "%s", answer.why);
    cr_expect_eq(answer.status, 200);
    http_answer_release(&answer);
    request.url = text_of("https://127.0.0.1:%d/", port);
    cr_expect_eq(await_http(ctx, &request, &answer, 10000), -EPROTO, "another's name");
    http_answer_release(&answer);
}
Test(https, a_server_whose_certificate_is_not_trusted_is_not_asked)
{
    run_async(verifies);
}
