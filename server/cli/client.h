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
    int64_t wait_seconds;      /* Prefer: wait; 0: none */
    int64_t limit_ms;          /* deadline beside the wait; 0: half a minute */
    bool quiet;                /* print nothing, not even with --json */
};

struct answer {
    long status;
    struct buf text;
    json_t *json; /* NULL: none */
};

#define ANSWER_INIT ((struct answer){.text = BUF_INIT})
void answer_release(struct answer *a);

/* Asks; 0 when the answer is a 2xx, else the exit code of the process. */
int client_ask(const struct call *call, const struct question *q, struct answer *out);

/* The same about /jobs/ID and what follows, the ID being the first word of the call. */
int client_ask_job(const struct call *call, const char *rest, const struct question *q,
                   struct answer *out);

/* Adds the text as it must stand in a query. */
void client_escape(struct buf *out, const char *text);

#endif
