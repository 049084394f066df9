/* http: a small HTTP client for the drivers. One struct a thread; every call ends within
 * 20 s.
 *
 * An answer's status is 0 when none came (refused, cut, timed out): the outcome is then
 * unknown, which is not a failure of the driver but a fact for the ledger. */
#ifndef BELAY_TESTS_CHAOS_HTTP_H
#define BELAY_TESTS_CHAOS_HTTP_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>

struct http_client {
    CURL *curl;
    int port;
    char *text; /* the last answer's body */
    size_t len, room;
    bool retry_after; /* the last answer had this header */
    char key[64];     /* sent as Idempotency-Key; "": none */
};

void http_client_init(struct http_client *c, int port);
void http_client_release(struct http_client *c);

/* Sends, and returns the status. body NULL: none. The JSON is in http_json(). */
long http_send(struct http_client *c, const char *method, const char *path,
               const char *body);

/* The last answer as JSON (yours to json_decref), or NULL. */
json_t *http_json(const struct http_client *c);

/* What the last answer says happened: the problem's `code`, or its `result`, or "", and
 * the attempt of the job in it, or -1. */
void http_answer(const struct http_client *c, char *out_result, size_t size,
                 int *out_attempt);

/* The text of a member of the last answer, copied to out; "" when it is not there. */
void http_member(const struct http_client *c, const char *name, char *out, size_t size);

#endif
