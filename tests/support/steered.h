/* steered: declared commands that a test can steer, for services of its own.
 *
 *     struct service *s = service_start(url, steered("--concurrency 2"));
 *     const char *gate = scratch_path("gate");
 *     int64_t id = put_job(s, text_of("{\"task\":\"deaf\",\"args\":{\"file\":\"%s\"}}",
 * gate));
 *     ...
 *     scratch_write(gate, "");            the job goes on to its end
 *
 *     deaf      ignores SIGTERM; succeeds once its file is there, and FILE.runs is gone
 *     failing   ignores SIGTERM; exits with 3 once its file is there
 *     stubborn  ignores SIGTERM and never ends; grace_seconds is 1
 *     hasty     never ends; timeout_seconds is 1
 *     traced    writes the trace that it was given
 *     polite    exits with 4 on SIGTERM
 *     daemons   leaves a daemon behind, whose process id is in its file, and is polite
 *
 * deaf and failing have a grace of 100 s. */
#ifndef BELAY_TESTS_SUPPORT_STEERED_H
#define BELAY_TESTS_SUPPORT_STEERED_H

#include "tests/support/service.h"

/* The flags, with those that declare the commands. */
const char *steered(const char *flags);

/* Puts in a job of such a task and waits until its program runs. */
int64_t put_steered(struct service *s, const char *task, const char *file);
int64_t put_sleeper(struct service *s); /* the built-in sleep, 600 s */

#endif
