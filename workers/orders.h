/* orders: open receipts, read from the database, as requests to stop jobs. */
#ifndef BELAY_WORKERS_ORDERS_H
#define BELAY_WORKERS_ORDERS_H

#include "db/db.h"
#include "workers/node.h"

/* A row of abort_poll.sql. Its texts are the rows'. */
struct abort_order order_of_row(const struct db_rows *rows, int row, int64_t worker_id);

#endif
