/* poisoned: the service with the plugin of tests/poison/tasks.c. */
#ifndef BELAY_TESTS_ISOLATE_POISONED_H
#define BELAY_TESTS_ISOLATE_POISONED_H

#include "tests/support/service.h"

/* As service_start(); retries come at once. */
struct service *poisoned_start(const char *database_url, const char *flags);

#endif
