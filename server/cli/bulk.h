/* bulk: cancel, delete and retry without an ID.
 *
 *     static const struct verb_option retry_options[] = {..., FILTER_OPTIONS, ...};
 *     return bulk_or_one(call, "/retries", own, retry_one);
 *
 * What other options say goes into the body as it does for one job; the server refuses
 * those that make no sense for many. One thread. */
#ifndef BELAY_CLI_BULK_H
#define BELAY_CLI_BULK_H

#include "server/cli/client.h"

#define FILTER_OPTIONS                                                                   \
    {"queue", "NAME", "without an ID: jobs of this queue", OPTION_TEXT, NULL},           \
        {"lock", "TEXT", "with this lock", OPTION_TEXT, NULL}, FILTER_MORE

#define FILTER_MORE                                                                      \
    {"task", "NAME", "of this task", OPTION_TEXT, NULL},                                 \
        {"tag", "TEXT", "with this tag", OPTION_TEXT, NULL},                             \
        {"status", "STATUS", "with this status; or some, as todo,doing", OPTION_TEXT,    \
         NULL},                                                                          \
        {"created-after", "TIME", "put in from then", OPTION_TEXT, NULL},                \
        {"created-before", "TIME", "put in before then", OPTION_TEXT, NULL},             \
        {"all", NULL, "every job there is", OPTION_YES, NULL},                           \
    {                                                                                    \
        "dry-run", NULL, "count them, and change nothing", OPTION_YES, NULL              \
    }

/* Asks for an operation where there is a filter, else calls `one`, which needs an ID.
 * Both, or neither, is wrong usage. `own` ends in NULL: options of the filter that say
 * something else with an ID. Answers the exit code. */
int bulk_or_one(const struct call *call, const char *path, const char *const *own,
                int (*one)(const struct call *call));

#endif
