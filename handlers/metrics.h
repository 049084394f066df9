/* metrics: what handlers count. On the HTTP thread. */
#ifndef BELAY_HANDLERS_METRICS_H
#define BELAY_HANDLERS_METRICS_H

#include "handlers/app.h"

/* A request to cancel or delete was answered with this result of its statement. */
void metrics_count_cancel(struct request *req, const char *result);

#endif
