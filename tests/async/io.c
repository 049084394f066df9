/* Descriptors, threads, channels and locks: what the table of every.c does not ask. */
#include "server/core/clock.h"
#include "tests/async/harness.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(io, .timeout = 60);

static int pair[2];

/* -- descriptors --------------------------------------------------------------------- */

static int echoes(struct job_ctx *ctx, void *arg)
{
    char buffer[1000];
    int64_t n;

    (void)arg;
    while ((n = await_read(ctx, pair[1], buffer, sizeof buffer, JOB_FOREVER)) > 0) {
        if (await_write(ctx, pair[1], buffer, (size_t)n, JOB_FOREVER) != n)
            return -EIO;
    }
    return (int)n;
}

enum { MUCH = 1 << 20 };

static int sends_much(struct job_ctx *ctx, void *arg)
{
    return (int)await_write(ctx, pair[0], arg, MUCH, JOB_FOREVER);
}

/* Three wait at both ends of one connection, for reading and for writing. */
static void reads_while_it_writes(struct job_ctx *ctx)
{
    static char sent[MUCH], got[MUCH];
    size_t at = 0;
    int n = 0;

    cr_expect_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    for (size_t i = 0; i < MUCH; i++)
        sent[i] = (char)(i * 31 >> 3);
    struct job_child *echo = await_spawn(ctx, echoes, NULL);
    struct job_child *writer = await_spawn(ctx, sends_much, sent);
    while (at < MUCH) {
        int64_t more = await_read(ctx, pair[0], got + at, MUCH - at, 10000);
        if (more <= 0)
            break;
        at += (size_t)more;
    }
    cr_expect_eq(at, MUCH);
    cr_expect_eq(memcmp(sent, got, MUCH), 0);
    cr_expect_eq(await_join(ctx, writer, &n, JOB_FOREVER), JOB_OK);
    cr_expect_eq(n, MUCH);
    shutdown(pair[0], SHUT_WR);
    cr_expect_eq(await_join(ctx, echo, &n, JOB_FOREVER), JOB_OK);
    cr_expect_eq(n, 0, "the end of the stream");
}
Test(io, one_connection_is_read_and_written_at_the_same_time)
{
    run_async(reads_while_it_writes);
}

static void errors_of_descriptors(struct job_ctx *ctx)
{
    char c = 0;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    cr_expect_eq(await_fd(ctx, -1, AWAIT_READABLE, JOB_FOREVER), -EBADF);
    cr_expect_eq(await_read(ctx, -1, &c, 1, JOB_FOREVER), -EBADF);
    cr_expect_eq(await_fd(ctx, file, AWAIT_READABLE, JOB_FOREVER), -EPERM);
    cr_expect_eq(await_read(ctx, file, &c, 1, JOB_FOREVER), 1, "a file does not wait");
    close(file);
    cr_expect_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    cr_expect_eq(await_write(ctx, pair[0], "x", 1, JOB_FOREVER), -EPIPE);
    cr_expect_eq(await_read(ctx, pair[0], &c, 1, JOB_FOREVER), 0);
    cr_expect(await_fd(ctx, pair[0], AWAIT_READABLE, JOB_FOREVER) & AWAIT_READABLE,
              "a hang-up is ready");
    close(pair[0]);
}
Test(io, errors_of_descriptors_are_returned)
{
    run_async(errors_of_descriptors);
}

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void leaves_no_descriptor(struct job_ctx *ctx)
{
    cr_expect_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int before = open_descriptors();
    for (int i = 0; i < 50; i++)
        cr_expect_eq(await_fd(ctx, pair[0], AWAIT_READABLE, 0), JOB_TIMEOUT);
    cr_expect_eq(await_sleep(ctx, 5, JOB_FOREVER), JOB_OK);
    cr_expect_eq(open_descriptors(), before);
}
Test(io, an_await_leaves_no_descriptor_behind)
{
    run_async(leaves_no_descriptor);
}

/* -- threads ------------------------------------------------------------------------- */

static atomic_int begun, ended;

static int takes_long(void *arg)
{
    (void)arg;
    atomic_fetch_add(&begun, 1);
    sleep_ms(100);
    atomic_fetch_add(&ended, 1);
    return 0;
}

static int calls(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    return await_blocking(ctx, takes_long, NULL, 0, JOB_FOREVER);
}

static void leaves_calls(struct job_ctx *ctx)
{
    for (int i = 0; i < 40; i++)
        await_spawn(ctx, calls, NULL);
    while (atomic_load(&begun) == 0)
        cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
}
Test(io, calls_that_have_not_begun_are_never_made_and_the_others_go_on)
{
    run_async(leaves_calls);
    cr_expect_gt(atomic_load(&begun), 0);
    cr_expect_lt(atomic_load(&begun), 40);
    cr_expect_eq(atomic_load(&ended), atomic_load(&begun), "the loop outlives them");
}

/* -- channels ------------------------------------------------------------------------ */

enum { ITEMS = 100 };

static int produces(struct job_ctx *ctx, void *arg)
{
    static char items[ITEMS];
    int e = JOB_OK;

    for (int i = 0; i < ITEMS && e == JOB_OK; i++)
        e = await_send(ctx, arg, &items[i], JOB_FOREVER);
    job_channel_close(arg);
    return e;
}

static void receives_in_order(struct job_ctx *ctx)
{
    struct job_channel *ch = job_channel_new(7);
    char *item = NULL, *first = NULL;
    void *got = NULL;
    int n = 0;

    await_spawn(ctx, produces, ch);
    while (await_receive(ctx, ch, &got, JOB_FOREVER) == JOB_OK) {
        item = got;
        if (n == 0)
            first = item;
        cr_expect_eq(item - first, n);
        n++;
        if (n % 30 == 0) /* so that it is full for a while */
            cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    }
    cr_expect_eq(n, ITEMS);
    cr_expect_eq(await_receive(ctx, ch, &got, JOB_FOREVER), JOB_CLOSED);
    cr_expect_eq(await_send(ctx, ch, NULL, JOB_FOREVER), JOB_CLOSED);
    job_channel_free(ch);
}
Test(io, a_channel_keeps_the_order_and_ends_when_it_is_closed)
{
    run_async(receives_in_order);
}

static int waits_for_item(struct job_ctx *ctx, void *arg)
{
    void *item;

    return await_receive(ctx, arg, &item, JOB_FOREVER);
}

static void close_wakes(struct job_ctx *ctx)
{
    struct job_channel *ch = job_channel_new(1);
    int result = 0;
    struct job_child *child = await_spawn(ctx, waits_for_item, ch);

    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    job_channel_close(ch);
    cr_expect_eq(await_join(ctx, child, &result, JOB_FOREVER), JOB_OK);
    cr_expect_eq(result, JOB_CLOSED);
    job_channel_free(ch);
}
Test(io, closing_a_channel_wakes_those_who_wait)
{
    run_async(close_wakes);
}

static void handed_over_though_cancelled(struct job_ctx *ctx)
{
    struct job_channel *ch = job_channel_new(1);
    struct job_child *child = await_spawn(ctx, waits_for_item, ch);
    int result = 1;

    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    cr_expect_eq(await_send(ctx, ch, ch, JOB_FOREVER), JOB_OK);
    await_cancel(ctx, child); /* it has the item, and has not run yet */
    cr_expect_eq(await_join(ctx, child, &result, JOB_FOREVER), JOB_OK);
    cr_expect_eq(result, JOB_OK, "no item is lost");
    job_channel_free(ch);
}
Test(io, an_item_that_was_handed_over_is_not_lost_by_a_cancel)
{
    run_async(handed_over_though_cancelled);
}

/* -- locks --------------------------------------------------------------------------- */

static struct job_semaphore two = {.free = 2};
static int inside, most, done;

static int enters(struct job_ctx *ctx, void *arg)
{
    if (await_acquire(ctx, &two, JOB_FOREVER) != JOB_OK)
        return -EIO;
    cr_expect_eq(done / 2, *(int *)arg / 2, "in the order of their coming");
    inside++;
    most = inside > most ? inside : most;
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    inside--;
    done++;
    job_release(&two);
    return 0;
}

static void enter_in_turn(struct job_ctx *ctx)
{
    struct job_child *children[10];
    static int numbers[10];

    for (int i = 0; i < 10; i++) {
        numbers[i] = i;
        children[i] = await_spawn(ctx, enters, &numbers[i]);
    }
    cr_expect_eq(await_all(ctx, children, 10, JOB_FOREVER), JOB_OK);
    cr_expect_eq(most, 2);
    cr_expect_eq(done, 10);
    cr_expect_eq(two.free, 2);
}
Test(io, a_semaphore_lets_so_many_in_and_the_first_first)
{
    run_async(enter_in_turn);
}

static struct job_mutex mutex;

static int locks(struct job_ctx *ctx, void *arg)
{
    (void)arg;
    int e = await_lock(ctx, &mutex, JOB_FOREVER);
    if (e == JOB_OK)
        job_unlock(&mutex);
    return e;
}

static void lock_is_not_lost(struct job_ctx *ctx)
{
    struct job_child *first, *second;
    int result = 1;

    cr_expect_eq(await_lock(ctx, &mutex, JOB_FOREVER), JOB_OK);
    first = await_spawn(ctx, locks, NULL);
    second = await_spawn(ctx, locks, NULL);
    cr_expect_eq(await_sleep(ctx, 1, JOB_FOREVER), JOB_OK);
    await_cancel(ctx, first);
    job_unlock(&mutex);
    cr_expect_eq(await_join(ctx, second, &result, JOB_FOREVER), JOB_OK);
    cr_expect_eq(result, JOB_OK);
    cr_expect_not(mutex.locked);
}
Test(io, a_lock_passes_over_who_was_cancelled)
{
    run_async(lock_is_not_lost);
}
