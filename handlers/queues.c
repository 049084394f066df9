/* listQueues, pauseQueue, resumeQueue, setQueueLimits: /queues. A queue is made when it
 * is first named, here as in a job. */
#include "build/gen/operations.h"
#include "handlers/gates.h"

static void reply_queues(struct request *req, const struct db_rows *rows)
{
    reply_list(req, rows, "queues", 1);
}

enum err list_queues(struct request *req)
{
    return submit(req, LANE_READ, SQL_queue_list, 1, NULL, reply_queues);
}

enum err pause_queue(struct request *req)
{
    const char *name;
    enum err e = gate_name(req, "queue", &name);

    return e == ERR_OK ? pause_gate(req, "queue", name) : e;
}

enum err resume_queue(struct request *req)
{
    const char *name;
    enum err e = gate_name(req, "queue", &name);

    return e == ERR_OK ? resume_gate(req, "queue", name) : e;
}

enum err set_queue_limits(struct request *req)
{
    const char *name;
    enum err e = gate_name(req, "queue", &name);

    return e == ERR_OK ? limit_gate(req, "queue", name) : e;
}
