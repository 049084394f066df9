/* strategy: the retry strategy that a client gives a job. */
#ifndef BELAY_HANDLERS_STRATEGY_H
#define BELAY_HANDLERS_STRATEGY_H

#include "handlers/fields.h"

/* Checks the object at the JSON pointer `where`. ERR_INVALID when anything was reported.
 */
enum err strategy_check(struct request *req, const char *where,
                        struct span object) MUST_CHECK;

#endif
