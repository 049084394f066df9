/* reports: writes what is told of jobs that still run: how far aborts have got, and how
 * far the jobs have.
 *
 * Each is written by itself, outside of the transaction of ends and claims, because it
 * locks rows in another order. What cannot be written is complained of, and told again by
 * the next report or by the end. Threads: the link's. */
#ifndef BELAY_WORKERS_REPORTS_H
#define BELAY_WORKERS_REPORTS_H

#include "db/link.h"
#include "workers/abort.h"
#include "workers/progress.h"

void reports_write_stages(struct link *link, struct abort_table *aborts);
/* Only when the next report is due. */
void reports_write_progress(struct link *link, struct progress_board *board);

#endif
