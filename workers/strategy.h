/* strategy: when a job whose attempt has failed is tried again.
 *
 *     int64_t ms = strategy_wait_ms(config, job, "timeout");
 *     if (ms < 0)
 *         ... this failure is for good
 *
 * The job's own strategy counts, else that of its task, else the settings; what the one
 * that counts does not say is the setting's. docs/retries.md has the formula. No state;
 * any thread. */
#ifndef BELAY_WORKERS_STRATEGY_H
#define BELAY_WORKERS_STRATEGY_H

#include "server/core/buf.h"
#include "server/core/config.h"
#include "workers/job.h"
#include "workers/task.h"

enum { STRATEGY_KINDS_MAX = 20, STRATEGY_SECONDS_MAX = 604800 };

/* "fixed", "linear" or "exponential"; false: it is no such word. */
bool strategy_kind(const char *word, enum retry_kind *out);

/* The wait after so many failures (from 1), before chance has its part: in seconds. */
double strategy_seconds(const struct config *c, const struct retry_strategy *s,
                        int failures);

/* How long this job waits after an attempt that failed with this error.kind, or -1: it is
 * one of those that are not tried again. */
int64_t strategy_wait_ms(const struct config *c, const struct job *job, const char *kind);

/* {"kind":...}, as it counts with these settings; s may be NULL. */
void strategy_add_json(struct buf *b, const struct config *c,
                       const struct retry_strategy *s);

/* What is wrong with a task's own, or NULL. */
const char *strategy_fault(const struct retry_strategy *s);

#endif
