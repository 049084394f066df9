/* web: a small HTTP server on a thread of the test, for tests of await_http().
 *
 *     web_open();
 *     ... web_url("/hello") ...
 *
 *     /hello        200, X-Name: Ada, "hello"
 *     /mirror       200, the request as it came, head and body
 *     /moved/N      302 to /moved/N-1, and at 0 to /hello
 *     /bytes/N      200, N bytes, chunked
 *     /drip         200, "drip", and never an end
 *     /hang         nothing
 *     /break        closes the connection
 *
 * A connection stays open for further requests. Any thread. */
#ifndef BELAY_TESTS_ASYNC_WEB_H
#define BELAY_TESTS_ASYNC_WEB_H

void web_open(void);
/* Lives as long as the test. */
const char *web_url(const char *path);
/* How many connections there have been, and how many are open. */
int web_connections(void);
int web_open_connections(void);

#endif
