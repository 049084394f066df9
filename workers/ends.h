/* ends: the statements with which a node writes what became of its jobs.
 *
 * Each takes a connection of the calling thread. Every row names the job's lease: one
 * that was taken away takes nothing (the fence), and the answer says so. */
#ifndef BELAY_WORKERS_ENDS_H
#define BELAY_WORKERS_ENDS_H

#include "db/db.h"
#include "workers/abort.h"
#include "workers/job.h"
#include "workers/progress.h"

enum ends_status {
    ENDS_SUCCEEDED,
    ENDS_FAILED,
    ENDS_CANCELLED,
    ENDS_ABORTED,
    ENDS_AGAIN
};

struct ends_answer {
    bool written;            /* PostgreSQL has said the rest */
    bool taken;              /* false: stale, the lease was not ours any more */
    bool terminal;           /* the job has ended; else it is todo again */
    bool scheduled;          /* todo, and not before its time */
    enum ends_status status; /* where taken */
};

/* Writes the ends of all jobs of the list (possibly none) and makes the claim where it is
 * not NULL: in one transaction, or, where some have ended and some go back, in two.
 * out_answers are in the order of the list; the rows of the claim are the caller's to
 * free. On error those that are not `written` have not happened, or the connection is
 * broken and it is not known: then write them again, which is safe. */
enum err ends_write(struct db *db, const struct job_list *jobs,
                    const struct db_call *claim, struct db_rows *out_claimed,
                    struct ends_answer *out_answers) MUST_CHECK;

/* PostgreSQL refuses what the job's end says: it fails with error.kind bad_result. */
void ends_replace(struct job *job, const char *why);

enum err ends_write_stages(struct db *db, const struct abort_stage *stages, int n,
                           struct db_rows *out_rows) MUST_CHECK;
enum err ends_write_progress(struct db *db, const struct progress *reports, int n,
                             struct db_rows *out_rows) MUST_CHECK;

#endif
