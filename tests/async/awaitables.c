/* For each awaitable, one that completes and one that hangs. */
#include "tests/async/awaitables.h"

#include "server/core/cleanup.h"
#include "server/core/clock.h"
#include "tests/async/harness.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- sleep --------------------------------------------------------------------------- */

static int sleep_completes(struct job_ctx *ctx)
{
    return await_sleep(ctx, 1, JOB_FOREVER);
}

static int sleep_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    return await_sleep(ctx, INT64_MAX, timeout_ms);
}

/* -- join ---------------------------------------------------------------------------- */

static int quick(struct job_ctx *ctx, void *arg)
{
    (void)ctx, (void)arg;
    return 42;
}

static int join_completes(struct job_ctx *ctx)
{
    int result = 0;
    int e = await_join(ctx, await_spawn(ctx, quick, NULL), &result, JOB_FOREVER);

    return e == JOB_OK && result != 42 ? -EIO : e;
}

static int join_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    return await_join(ctx, await_spawn(ctx, sleep_for_ever, NULL), NULL, timeout_ms);
}

/* -- all, any, a shield -------------------------------------------------------------- */

static int all_complete(struct job_ctx *ctx)
{
    struct job_child *children[3];

    for (int i = 0; i < 3; i++)
        children[i] = await_spawn(ctx, quick, NULL);
    return await_all(ctx, children, 3, JOB_FOREVER);
}

static int all_hang(struct job_ctx *ctx, int64_t timeout_ms)
{
    struct job_child *children[3] = {await_spawn(ctx, quick, NULL),
                                     await_spawn(ctx, sleep_for_ever, NULL),
                                     await_spawn(ctx, sleep_for_ever, NULL)};

    return await_all(ctx, children, 3, timeout_ms);
}

static int any_completes(struct job_ctx *ctx)
{
    struct job_child *children[3] = {await_spawn(ctx, sleep_for_ever, NULL),
                                     await_spawn(ctx, quick, NULL),
                                     await_spawn(ctx, sleep_for_ever, NULL)};

    return await_any(ctx, children, 3, JOB_FOREVER) == 1 ? JOB_OK : -EIO;
}

static int any_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    struct job_child *children[2] = {await_spawn(ctx, sleep_for_ever, NULL),
                                     await_spawn(ctx, sleep_for_ever, NULL)};

    return await_any(ctx, children, 2, timeout_ms);
}

static int shield_completes(struct job_ctx *ctx)
{
    return await_shielded(ctx, await_spawn(ctx, quick, NULL), "part", JOB_FOREVER);
}

static int shield_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    return await_shielded(ctx, await_spawn(ctx, sleep_for_ever, NULL), "part",
                          timeout_ms);
}

/* -- descriptors --------------------------------------------------------------------- */

enum { FILLER = 4 << 20 }; /* more than any socket takes at once */

static char filler[FILLER];

/* Two sockets that are one another's other side. */
struct pair {
    int a, b;
};

static struct pair pair_open(void)
{
    int fds[2] = {-1, -1};

    cr_expect_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){.a = fds[0], .b = fds[1]};
}

static void pair_close(struct pair *p)
{
    close(p->a);
    close(p->b);
}

static int fd_completes(struct job_ctx *ctx)
{
    CLEANUP(pair_close) struct pair p = pair_open();

    cr_expect_eq(await_fd(ctx, p.a, AWAIT_READABLE | AWAIT_WRITABLE, 1000),
                 AWAIT_WRITABLE);
    cr_expect_eq(write(p.b, "x", 1), 1);
    return await_fd(ctx, p.a, AWAIT_READABLE, JOB_FOREVER) == AWAIT_READABLE ? JOB_OK
                                                                             : -EIO;
}

static int fd_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    CLEANUP(pair_close) struct pair p = pair_open();

    return await_fd(ctx, p.a, AWAIT_READABLE, timeout_ms);
}

static int says_hello(struct job_ctx *ctx, void *arg)
{
    const struct pair *p = arg;

    return (int)await_write(ctx, p->b, "hello", 5, JOB_FOREVER);
}

static int read_completes(struct job_ctx *ctx)
{
    CLEANUP(pair_close) struct pair p = pair_open();
    char text[16] = "";
    struct job_child *writer = await_spawn(ctx, says_hello, &p);

    cr_expect_eq(await_read(ctx, p.a, text, sizeof text, JOB_FOREVER), 5);
    int e = await_join(ctx, writer, NULL, JOB_FOREVER);
    return strcmp(text, "hello") == 0 ? e : -EIO;
}

static int read_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    CLEANUP(pair_close) struct pair p = pair_open();
    char c;

    return (int)await_read(ctx, p.a, &c, 1, timeout_ms);
}

static int reads_all(struct job_ctx *ctx, void *arg)
{
    static char buffer[64 << 10];
    const struct pair *p = arg;
    int64_t n = 1;
    int sum = 0;

    while (sum < FILLER && n > 0)
        sum += (int)(n = await_read(ctx, p->a, buffer, sizeof buffer, JOB_FOREVER));
    return sum;
}

static int write_completes(struct job_ctx *ctx)
{
    CLEANUP(pair_close) struct pair p = pair_open();
    int sum = 0;
    struct job_child *reader = await_spawn(ctx, reads_all, &p);

    cr_expect_eq(await_write(ctx, p.b, filler, FILLER, JOB_FOREVER), FILLER);
    int e = await_join(ctx, reader, &sum, JOB_FOREVER);
    return sum == FILLER ? e : -EIO;
}

static int write_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    CLEANUP(pair_close) struct pair p = pair_open();

    return (int)await_write(ctx, p.b, filler, FILLER, timeout_ms);
}

/* -- a thread ------------------------------------------------------------------------ */

static int doubles(void *arg)
{
    *(int *)arg *= 2;
    return 7;
}

static int blocking_completes(struct job_ctx *ctx)
{
    int n = 21;
    int e = await_blocking(ctx, doubles, &n, sizeof n, JOB_FOREVER);

    return e == 7 && n == 42 ? JOB_OK : -EIO;
}

static int blocks(void *arg)
{
    *(int *)arg = 1; /* its copy: the await may be long over */
    for (int i = 0; i < 10; i++)
        sleep_ms(20);
    return 0;
}

static int blocking_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    int unchanged = 0;
    int e = await_blocking(ctx, blocks, &unchanged, sizeof unchanged, timeout_ms);

    cr_expect_eq(unchanged, 0);
    return e;
}

/* -- channels and locks -------------------------------------------------------------- */

static int sends_one(struct job_ctx *ctx, void *arg)
{
    return await_send(ctx, arg, arg, JOB_FOREVER);
}

static int receive_completes(struct job_ctx *ctx)
{
    struct job_channel *ch = job_channel_new(1);
    void *item = NULL;

    await_spawn(ctx, sends_one, ch);
    int e = await_receive(ctx, ch, &item, JOB_FOREVER);
    cr_expect_eq(item, ch);
    job_channel_free(ch);
    return e;
}

static int receive_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    struct job_channel *ch = job_channel_new(1);
    void *item;
    int e = await_receive(ctx, ch, &item, timeout_ms);

    job_channel_free(ch);
    return e;
}

static int send_completes(struct job_ctx *ctx)
{
    struct job_channel *ch = job_channel_new(1);
    int e = await_send(ctx, ch, NULL, JOB_FOREVER);

    job_channel_free(ch);
    return e;
}

static int send_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    struct job_channel *ch = job_channel_new(1);

    int e = await_send(ctx, ch, NULL, 0);
    if (e == JOB_OK)
        e = await_send(ctx, ch, NULL, timeout_ms);
    job_channel_free(ch);
    return e;
}

static int lock_completes(struct job_ctx *ctx)
{
    struct job_mutex m = {.locked = false};

    return await_lock(ctx, &m, JOB_FOREVER);
}

static int lock_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    struct job_mutex m = {.locked = true};
    int e = await_lock(ctx, &m, timeout_ms);

    cr_expect_null(m.waiting.first);
    return e;
}

static int acquire_completes(struct job_ctx *ctx)
{
    struct job_semaphore s = {.free = 1};

    return await_acquire(ctx, &s, JOB_FOREVER);
}

static int acquire_hangs(struct job_ctx *ctx, int64_t timeout_ms)
{
    struct job_semaphore s = {.free = 0};
    int e = await_acquire(ctx, &s, timeout_ms);

    cr_expect_null(s.waiting.first);
    return e;
}

/* -- the table ----------------------------------------------------------------------- */

const struct awaitable awaitables[] = {
    {"await_sleep", sleep_completes, sleep_hangs},
    {"await_join", join_completes, join_hangs},
    {"await_all", all_complete, all_hang},
    {"await_any", any_completes, any_hangs},
    {"await_shielded", shield_completes, shield_hangs},
    {"await_fd", fd_completes, fd_hangs},
    {"await_read", read_completes, read_hangs},
    {"await_write", write_completes, write_hangs},
    {"await_blocking", blocking_completes, blocking_hangs},
    {"await_receive", receive_completes, receive_hangs},
    {"await_send", send_completes, send_hangs},
    {"await_lock", lock_completes, lock_hangs},
    {"await_acquire", acquire_completes, acquire_hangs},
    {"await_exec", exec_completes, exec_hangs},
    {"await_http", http_completes, http_hangs},
    {"await_query", query_completes, query_hangs},
};

const size_t n_awaitables = sizeof awaitables / sizeof *awaitables;
