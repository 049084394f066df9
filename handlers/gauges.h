/* gauges: the figures that only the database knows, for GET /metrics.
 *
 *     gauges_wait(app->gauges, req, reply);    reply(req), now or within half a second
 *     gauges_text(app->gauges)                 their exposition, "" when there is none
 *
 * However often and by how many they are asked for, they are read at most once a second
 * and for a tenth of the time. When the database does not answer in time the last ones
 * stand; when it is away, there are none. Everything runs on the HTTP thread. */
#ifndef BELAY_HANDLERS_GAUGES_H
#define BELAY_HANDLERS_GAUGES_H

#include "handlers/app.h"

struct gauges;

enum err gauges_new(struct app *app, struct gauges **out_gauges) MUST_CHECK;
void gauges_free(struct gauges *g); /* after the lanes; NULL is fine */

typedef void gauges_fn(struct request *req);
void gauges_wait(struct gauges *g, struct request *req, gauges_fn *ready);

const char *gauges_text(const struct gauges *g);
/* How old they are; < 0: there are none. */
int64_t gauges_age_us(const struct gauges *g);

#endif
