/* harness: runs a function of the test as the task of an async job, without a node.
 *
 *     static void body(struct job_ctx *ctx) { cr_expect_eq(await_sleep(ctx, 1, -1), 0); }
 *     Test(sleep, sleeps) { run_async(body); }
 *
 * The loop runs on the test's thread, and run_async() returns when the function and all
 * its children have ended. Assertions in the function are cr_expect(): an assertion that
 * jumps would jump to another stack. */
#ifndef BELAY_TESTS_ASYNC_HARNESS_H
#define BELAY_TESTS_ASYNC_HARNESS_H

#include "workers/async/scope.h"

void run_async(void (*body)(struct job_ctx *ctx));
/* Cancels the await of the running run_async()'s function: a request to abort the job. */
void test_cancel(void);
/* The same after so many milliseconds. */
void test_cancel_in(int64_t ms);
/* The loop that runs. */
struct loop *test_loop(void);
/* How many milliseconds it took since then, by clock_ms(). */
int64_t ms_since(int64_t then_ms);
/* A child that sleeps for ever; returns what its await returned. `arg` is not used. */
int sleep_for_ever(struct job_ctx *ctx, void *arg);

#endif
