/* client: one question to a Belay server over HTTP, and its answer.
 *
 *     CLEANUP(answer_release) struct answer a = ANSWER_INIT;
 *     int code = client_ask(call, &(struct question){"GET", "/tasks"}, &a);
 *     if (code != 0)
 *         return code;
 *
 * What went wrong has then been said on stderr: no server, no answer, or the server's own
 * words. With --json the server's document has been printed on stdout. Every question has
 * a deadline. One thread. */
#ifndef BELAY_CLI_CLIENT_H
#define BELAY_CLI_CLIENT_H

#include "server/cli/verb.h"

#include <jansson.h>

#define CLIENT_URL "http://127.0.0.1:8080"

struct question {
    const char *method, *path; /* path with its query */
    const char *body;          /* JSON, or NULL */
    const char *key;      /* Idempotency-Key, which client_is_key() has seen; or NULL */
    int64_t wait_seconds; /* Prefer: wait; 0: none */
    int64_t limit_ms;     /* deadline beside the wait; 0: half a minute */
};

struct answer {
    long status;
    struct buf document;
    json_t *json;           /* NULL: none */
    int64_t waited_seconds; /* as the server granted it; 0: not at all */
};

/* Whether the text can be an idempotency key: visible ASCII, so no line of a head. */
bool client_is_key(const char *text);

#define ANSWER_INIT ((struct answer){.document = {.text = buf_empty}})
void answer_release(struct answer *a);

/* Asks and says nothing; false when there is no answer, and then `why` says why. */
bool client_exchange(const struct call *call, const struct question *q,
                     struct answer *out, struct buf *why);
int client_say_no_answer(const struct call *call, const struct buf *why);

/* Says what the answer is: with --json the document, and the problem when it is one. 0
 * for a 2xx, else the exit code of the process. */
int client_report(const struct call *call, const struct answer *a);

/* Both; 0 when the answer is a 2xx, else the exit code of the process. */
int client_ask(const struct call *call, const struct question *q, struct answer *out);

/* The same about /jobs/ID and what follows, the ID being the first word of the call. */
int client_ask_job(const struct call *call, const char *rest, const struct question *q,
                   struct answer *out);

/* GET /jobs/ID until the job has ended or `seconds` are over, however little of that the
 * server grants at a time. */
int client_ask_end(const struct call *call, int64_t job_id, int64_t seconds,
                   struct answer *out);

/* Adds the text as it must stand in a query. */
void client_escape(struct buf *out, const char *text);

#endif
