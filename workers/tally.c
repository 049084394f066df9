#include "workers/tally.h"

static enum tally_outcome outcome_of(const struct job *job, enum ends_status status)
{
    static const enum tally_outcome outcomes[] = {[ENDS_SUCCEEDED] = TALLY_SUCCEEDED,
                                                  [ENDS_FAILED] = TALLY_FAILED,
                                                  [ENDS_CANCELLED] = TALLY_CANCELLED,
                                                  [ENDS_ABORTED] = TALLY_ABORTED};

    if (status == ENDS_AGAIN)
        return job->fate == FATE_SHUTDOWN ? TALLY_RELEASED : TALLY_RETRIED;
    return outcomes[status];
}

void tally_start(struct task_tally *t, const struct job *job)
{
    histogram_add(&t->waited, job->waited_us + job->started_us - job->claimed_us);
}

void tally_end(struct task_tally *t, const struct job *job,
               const struct ends_answer *answer)
{
    if (t == NULL || !answer->taken)
        return;
    if (job->fate == FATE_UNSTARTED && !answer->terminal)
        return; /* claimed ahead, and not needed here: nothing has happened */
    atomic_fetch_add_explicit(&t->ended[outcome_of(job, answer->status)], 1,
                              memory_order_relaxed);
    if (job->started_us != 0)
        histogram_add(&t->run, job->ended_us - job->started_us);
}

void tally_abort(struct task_tally *t, const struct job *job)
{
    int64_t asked_us = job->watch.asked_us;

    if (job->delivered_us == 0)
        return;
    histogram_add(&t->delivered, job->delivered_us - asked_us);
    if (job->acknowledged_us != 0)
        histogram_add(&t->acknowledged, job->acknowledged_us - asked_us);
    histogram_add(&t->stopped, job->ended_us - asked_us);
}
