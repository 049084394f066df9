/* The end of the loop, while other parts of the node still have something to tell it. */
#include "workers/parts.h"

#include <criterion/criterion.h>
#include <pthread.h>

enum { ROUNDS = 300 };

static struct config config = {.async_concurrency = 1};
static struct node node = {.options.config = &config};
static atomic_bool over;

TestSuite(close, .timeout = 60);

static void *poke(void *arg)
{
    while (!atomic_load(&over))
        async_poke(arg);
    return NULL;
}

/* The janitor does when it hears of the database, and is closed later. */
Test(close, a_loop_that_has_ended_can_be_poked)
{
    struct async *a;

    cr_assert_eq(async_open(&node, &a), ERR_OK);
    cr_assert(async_close(a));
    async_poke(a);
    async_free(a);
}

Test(close, a_loop_can_be_poked_while_it_ends)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        struct async *a;
        cr_assert_eq(async_open(&node, &a), ERR_OK);
        atomic_store(&over, false);
        cr_assert_eq(pthread_create(&thread, NULL, poke, a), 0);
        cr_assert(async_close(a));
        atomic_store(&over, true);
        pthread_join(thread, NULL);
        async_free(a);
    }
}
