/* listTaskCounts: /tasks/counts. What the database has of tasks: apart from listTasks,
 * which answers what can run here also where there are a million jobs to look at. */
#include "build/gen/operations.h"
#include "handlers/submit.h"
#include "server/core/cleanup.h"

#include <string.h>

enum { COUNTS_TASK, COUNTS_JOBS };

static void reply_counts(struct request *req, const struct db_rows *rows)
{
    CLEANUP(buf_release) struct buf b = BUF_INIT;

    buf_adds(&b, "{\"tasks\":[");
    for (int i = 0; i < rows->count; i++) {
        const char *name = row_text(rows, i, COUNTS_TASK);
        bool here = node_task(req_app(req)->node, name) != NULL;
        buf_adds(&b, i > 0 ? ",{\"name\":" : "{\"name\":");
        buf_add_json_string(&b, name, strlen(name));
        buf_addf(&b, ",\"here\":%s,\"jobs\":%s}", here ? "true" : "false",
                 row_text(rows, i, COUNTS_JOBS));
    }
    buf_adds(&b, "]}");
    req_reply_buf(req, 200, &b);
}

enum err list_task_counts(struct request *req)
{
    return submit(req, LANE_READ, SQL_task_counts, 1, NULL, reply_counts);
}
