#include "workers/reports.h"

#include "server/core/clock.h"
#include "workers/ends.h"

enum { STAGES_MOST = 256, PROGRESS_MOST = 256 };

void reports_write_stages(struct link *link, struct abort_table *aborts)
{
    struct abort_stage stages[STAGES_MOST];
    struct db_rows rows;
    int n;

    while ((n = abort_take_stages(aborts, stages, STAGES_MOST)) > 0) {
        if (ends_write_stages(link->db, stages, n, &rows) != ERR_OK) {
            link_complain(link, "abort_stages", db_errmsg(link->db));
            return; /* the receipt's end tells the times once more */
        }
        db_rows_free(&rows);
    }
}

void reports_write_progress(struct link *link, struct progress_board *board)
{
    static _Thread_local struct progress reports[PROGRESS_MOST];
    struct db_rows rows;
    int n;

    if (progress_due_ms(board) > clock_ms())
        return;
    while ((n = progress_take(board, reports, PROGRESS_MOST)) > 0) {
        if (ends_write_progress(link->db, reports, n, &rows) != ERR_OK) {
            link_complain(link, "job_progress", db_errmsg(link->db));
            return; /* the next report tells more */
        }
        db_rows_free(&rows);
    }
}
