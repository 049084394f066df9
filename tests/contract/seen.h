/* seen: requests whose answers are held against openapi.json and remembered.
 *
 *     struct seen *seen = seen_open("openapi/openapi.json");
 *     seen_ask(seen, s);
 *     see(seen, "GET", "/jobs/1", NULL, NULL, 404);
 *     seen_close(seen);                 fails for each documented code that never came
 *
 * see() finds the operation by method and path. It fails the test when the status is not
 * the one that was wanted, when the operation does not document it, when the body does
 * not fit its schema or has another content type, or when a documented header is missing.
 */
#ifndef BELAY_TESTS_CONTRACT_SEEN_H
#define BELAY_TESTS_CONTRACT_SEEN_H

#include "tests/support/service.h"

struct seen;

/* One operation of the document, with a path that has its parameters filled in. */
struct operation {
    const char *id, *method, *path;
    bool takes_body, changes, uses_database;
};

struct seen *seen_open(const char *file);
void seen_close(struct seen *seen);
int seen_operations(struct seen *seen, const struct operation **out);

/* Whom see() asks from now on. */
void seen_ask(struct seen *seen, struct service *s);
struct reply *see(struct seen *seen, const char *method, const char *path,
                  const char *headers, const char *body, int wanted);
/* An answer that was got in another way. */
void seen_judge(struct seen *seen, const char *method, const char *path,
                const struct reply *r, int wanted);
/* A code that cannot be provoked here, and why: it counts as seen. */
void seen_excuse(struct seen *seen, const char *operation_id, int status,
                 const char *why);

#endif
