/* fake_job: runs commands without a database, as a job that keeps what it is told.
 *
 *     struct fake_job job;
 *     fake_run_yaml(&job, "commands: [{name: a, command: [cat]}]", "{}");
 *     expect_succeeds(&job, "{}");
 *
 * fake_job.c compiles the sources of command.c and exec.c once more, with the runner's
 * functions replaced; so these tests stand beside those of the runner in one program. */
#ifndef BELAY_TESTS_WORKERS_FAKE_JOB_H
#define BELAY_TESTS_WORKERS_FAKE_JOB_H

#include "server/core/buf.h"
#include "workers/exec.h"
#include "workers/task.h"

struct fake_job {
    struct job_ctx_head head; /* first, as in every context */
    struct abort_cell cell;
    const struct task *task;
    const char *args;
    int abort_fd;
    int64_t abort_at_ms, kill_at_ms; /* 0: no abort */
    int grace_ms;                    /* of an abort that a line of the program asks for */
    void (*on_line)(struct fake_job *job, const char *line);

    int lines, heard;
    enum job_result result;
    char kind[64], message[4096];
    double seconds, percent;
    bool killed, deaf; /* deaf: it has no descriptor for its abort */
    struct buf log, json, progress;
};

/* For TestSuite(.init); its .fini is process_zygote_stop. */
void fake_start_zygote(void);

struct commands *fake_load(const char *yaml);
/* A command that runs a shell script; `more` are further lines of its YAML. */
struct commands *fake_load_script(const char *script, const char *more);
enum err fake_commands_load(const char *file, struct commands **out, struct buf *why);
const struct task *const *fake_commands_tasks(const struct commands *commands);
void fake_commands_free(struct commands *commands);

void fake_init(struct fake_job *job, const struct task *task, const char *args);
void fake_run(struct fake_job *job);
void fake_release(struct fake_job *job);
void fake_ask_to_abort(struct fake_job *job, int grace_ms);
/* An on_line: asks for an abort with the job's grace_ms when the program says "ready". */
void fake_abort_when_ready(struct fake_job *job, const char *line);

/* Each runs one job of the first command. */
void fake_run_yaml(struct fake_job *job, const char *yaml, const char *args);
void fake_run_script(struct fake_job *job, const char *script, const char *more);
void fake_run_and_abort(struct fake_job *job, const char *script, int grace_ms);

/* The three ways a run may be expected to end; they release the job. */
void expect_succeeds(struct fake_job *job, const char *result);
void expect_fails(struct fake_job *job, const char *kind, const char *words);
void expect_aborted(struct fake_job *job, const char *words, bool killed);

#endif
