/* endpoint: tasks that are done elsewhere, by an HTTP server that belay.yaml names.
 *
 *     endpoints:
 *       - name: resize-image
 *         url: https://images.example/jobs
 *         secret_file: /run/secrets/resize
 *         cancel_url: https://images.example/jobs/cancel
 *
 * A job is one signed POST (webhook.h): a 2xx is its success, and a JSON body its result.
 * docs/http-tasks.md is the reference of keys and messages. Checked when the file is
 * read, never changed after that; any thread may look. */
#ifndef BELAY_WORKERS_ENDPOINT_H
#define BELAY_WORKERS_ENDPOINT_H

#include "server/core/buf.h"
#include "workers/declaration_retry.h"
#include "workers/task.h"
#include "workers/webhook.h"

#include <stdbool.h>
#include <stdint.h>

enum { ENDPOINT_TIMEOUT_S = 300 }; /* of an attempt, where none is declared */

struct endpoint {
    char *name, *description, *url;
    char *cancel_url;           /* NULL: nobody is told of an abort */
    char *secret, *secret_file; /* one of the two */
    char **headers;             /* "Name: value" */
    uint32_t headers_count;
    /* 0: the setting, the setting, ENDPOINT_TIMEOUT_S */
    int grace_seconds, max_attempts, timeout_seconds;
    enum delete_policy delete_policy;
    struct declared_retry *retry; /* NULL: the settings */
    int allow_private;
    struct webhook_key *key; /* made of the secret */
};

/* What a schema cannot say; reads the secret. A relative secret_file is one beside
 * `file`. False: `why` says what is wrong, or is empty when there was no memory. */
bool endpoint_check(struct endpoint *e, const char *file, struct buf *why);

/* The task of an endpoint, which is its `data`. */
struct task endpoint_task(const struct endpoint *e);

#endif
