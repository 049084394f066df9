/* sleep: the example of a task that can be stopped.
 *
 *     {"seconds": 2.5}
 *
 * It shows the three things that a good task does. It reads its args and refuses bad ones
 * in words. It asks whether it is still wanted between two pieces of work that are short
 * (here a tenth of a second of sleep, of which job_sleep() wakes it at once when an abort
 * comes). And it says how far it is, so that people who watch need not guess.
 *
 * When it is asked to stop it does not just return: it says what it has done, which goes
 * into the receipt that the caller of the abort reads. A task that has something to clean
 * up does so before it returns job_aborted(). */
#include "workers/task.h"

#include <jansson.h>

enum { PIECE_MS = 100 };

static enum job_result sleep_well(struct job_ctx *ctx)
{
    json_error_t error;
    json_t *args = json_loads(job_args(ctx), 0, &error);
    const json_t *seconds = json_object_get(args, "seconds");
    double wanted = seconds != NULL ? json_number_value(seconds) : 1;
    bool good = seconds == NULL || (json_is_number(seconds) && wanted >= 0);
    double slept = 0;

    json_decref(args);
    if (!good)
        return job_failed(ctx, "bad_args", "seconds must be a number, 0 or more");
    while (slept < wanted) {
        double left_ms = (wanted - slept) * 1000;
        int64_t piece_ms = left_ms < (double)PIECE_MS ? (int64_t)left_ms + 1 : PIECE_MS;
        if (!job_sleep(ctx, piece_ms)) /* the same as asking job_should_abort() */
            return job_aborted(ctx, "slept %.1f of %.1f seconds", slept, wanted);
        slept += (double)piece_ms / 1000;
        if (slept < wanted)
            job_progress(ctx, 100 * slept / wanted, "%.1f of %.1f seconds", slept,
                         wanted);
    }
    return job_ok_json(ctx, "{\"slept_seconds\":%.3f}", slept < wanted ? slept : wanted);
}

const struct task task_sleep = {
    .name = "sleep",
    .kind = TASK_SYNC,
    .run = sleep_well,
    .description = "sleeps {\"seconds\": 1}; reports progress; stops when asked",
};
