/* meter: how many answers of each operation had which status, and how long they took.
 *
 * A request counts when its answer goes out, or when it is cut. One thread: HTTP's. A row
 * is made when it is first needed, and lives as long as the server. */
#ifndef BELAY_HTTP_METER_H
#define BELAY_HTTP_METER_H

#include "server/core/histogram.h"

struct meter_row {
    const char
        *operation; /* its operationId; "http" for what no operation has answered */
    int status;     /* 0: there was no answer */
    struct histogram took;
    struct meter_row *next;
};

/* All zero is empty. */
struct meter {
    struct meter_row *rows;
};

/* `operation` is borrowed for the meter's life. Without memory it is not counted. */
void meter_add(struct meter *m, const char *operation, int status, int64_t us);
void meter_release(struct meter *m);

#endif
