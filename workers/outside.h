/* outside: programs that an async task may wait for. Included by await.h.
 *
 *     struct exec_answer answer;
 *     int e = await_exec(ctx, &(struct exec_request){.argv = argv}, &answer, 60000);
 *     if (e == JOB_OK && answer.status == 0)
 *         job_log(ctx, "it said %s", answer.out);
 *     exec_answer_release(&answer);
 *
 * Requests are borrowed until the call returns; all that is not named in one has its
 * default. An answer is written by every call, whatever it returns, and has to be
 * released after it. It may be kept beyond the job. */
#ifndef BELAY_OUTSIDE_H
#define BELAY_OUTSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct job_ctx;

/* -- programs ------------------------------------------------------------------------ */

struct exec_request {
    const char *const *argv; /* ends in NULL; argv[0] without a slash is looked for in the
                                service's PATH */
    const char *const *env;  /* NAME=value, ends in NULL; beside these the program gets
                                PATH, HOME and LANG as the service has them, only */
    const char *directory;   /* NULL: where the service was started */
    const void *input;       /* its stdin; NULL: empty */
    size_t input_len;
    size_t output_most; /* bytes kept of the end of stdout and of stderr; 0: 64 KiB */
    int64_t grace_ms;   /* from SIGTERM to SIGKILL; 0: 10 s */
};

struct exec_answer {
    int status;      /* exit code; -1: it has none */
    int signal;      /* that ended it; 0: none did */
    char *out, *err; /* what it wrote, with a NUL behind; never NULL */
    size_t out_len, err_len;
    bool out_cut, err_cut; /* there was more before it */
};

/* Runs a program to its end and to that of all that it started: what it leaves behind is
 * killed. JOB_OK: it has ended, somehow; see status. A cancel, or the deadline, is
 * SIGTERM to all of them and SIGKILL after the grace, or at once with a further cancel;
 * then JOB_CANCELLED or JOB_TIMEOUT, not before the last of them is gone, and the answer
 * has what was written until then. -ENOENT, -EACCES, ...: it cannot be run. -E2BIG: argv
 * and env have more than 160 KiB. -EIO: nothing can be run here. */
int await_exec(struct job_ctx *ctx, const struct exec_request *request,
               struct exec_answer *out, int64_t timeout_ms);
void exec_answer_release(struct exec_answer *answer);

#ifdef __cplusplus
}
#endif

#endif
