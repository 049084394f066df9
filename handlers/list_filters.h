/* list_filters: the filters of GET /jobs that few lists ask for, as one JSON object for
 * the statement: job_list.sql has it as `more`. On the HTTP thread. */
#ifndef BELAY_HANDLERS_LIST_FILTERS_H
#define BELAY_HANDLERS_LIST_FILTERS_H

#include "db/db.h"
#include "server/http/request.h"

/* Their names, for the link to the next page. */
#define LIST_FILTERS                                                                     \
    "id", "queueing_lock", "worker", "metadata", "scheduled_after", "scheduled_before"

/* Null where the request has none of them. ERR_BAD_QUERY for one that is malformed. */
enum err list_filters_read(struct request *req, struct db_value *out_more) MUST_CHECK;

#endif
