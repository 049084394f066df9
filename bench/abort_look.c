/* abort_look: the cost of job_should_abort(), in nanoseconds a call, beside an empty loop
 * of the same shape. */
#include "workers/task.h"

#include <stdio.h>
#include <time.h>

enum { LOOKS = 400000000 };

/* All that the look needs of a context. */
struct job_ctx {
    struct job_ctx_head head;
};

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

int main(void)
{
    static struct abort_cell cell;
    struct job_ctx ctx = {.head = {.cell = &cell}};
    long stops = 0;

    double start = now_ns();
    for (int i = 0; i < LOOKS; i++)
        __asm__ volatile("" : "+r"(stops));
    double empty = now_ns() - start;
    start = now_ns();
    for (int i = 0; i < LOOKS; i++) {
        stops += job_should_abort(&ctx);
        __asm__ volatile("" : "+r"(stops));
    }
    double looking = now_ns() - start;
    printf("{\"ns\":%.2f,\"empty_loop_ns\":%.2f}\n", looking / (double)LOOKS,
           empty / (double)LOOKS);
    return stops != 0;
}
