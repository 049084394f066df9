/* relay: PostgreSQL of the tests, which listens on a unix socket, behind a TCP port.
 *
 *     relay_open(url);
 *     ... text_of("postgresql://localhost:%d/name", relay_port()) ...
 *     relay_freeze(true);      takes connections and bytes, and passes on nothing
 *
 * A thread for each direction of a connection. Any thread may call these. */
#ifndef BELAY_TESTS_ASYNC_RELAY_H
#define BELAY_TESTS_ASYNC_RELAY_H

#include <stdbool.h>

void relay_open(const char *url);
int relay_port(void);
void relay_freeze(bool frozen);
/* The same database by the relay's port, at a host; lives as long as the test. */
const char *relay_url(const char *host);

#endif
