/* declaration: the commands that belay.yaml declares, and the endpoints (endpoint.h).
 *
 *     commands:
 *       - name: word-count
 *         description: counts the words of a file
 *         command: [/usr/bin/wc, -w, "{{args.path}}"]
 *         args:
 *           - name: path
 *             type: string
 *             required: true
 *             pattern: /srv/[a-z/]+
 *
 * docs/exec-tasks.md is the reference of its keys. All is checked when the file is read,
 * so that a mistake stops the start and not a job. Read once, by main, and never changed;
 * any thread may look. */
#ifndef BELAY_WORKERS_DECLARATION_H
#define BELAY_WORKERS_DECLARATION_H

#include "server/core/buf.h"
#include "server/core/err.h"
#include "workers/declaration_retry.h"
#include "workers/task.h"

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

enum argument_type {
    ARGUMENT_STRING,
    ARGUMENT_NUMBER,
    ARGUMENT_INTEGER,
    ARGUMENT_BOOLEAN
};

enum declared_stdin { STDIN_ARGS, STDIN_NONE };

/* What one member of the job's args must be. */
struct declared_argument {
    char *name;
    enum argument_type type;
    int required;
    char *pattern, *fallback; /* NULL: none */
    regex_t *compiled;        /* of the pattern, for the whole value; NULL: none */
};

struct declaration {
    char *name, *description;
    char **command; /* program and arguments, as templates */
    uint32_t command_count;
    enum declared_stdin stdin_from;
    char **env; /* as declared: NAME=value, or NAME to pass on */
    uint32_t env_count;
    char *directory; /* absolute after loading; NULL: where Belay was started */
    /* 0: the setting, the default, none */
    int grace_seconds, max_attempts, retry_seconds, timeout_seconds;
    enum delete_policy delete_policy;
    struct declared_retry *retry; /* NULL: the settings */
    int allow_dash;
    struct declared_argument *args;
    uint32_t args_count;

    char *
        *base_env; /* NAME=value, the part that is the same for each job; ends in NULL */
};

struct endpoint;

struct declarations {
    struct declaration *commands;
    struct endpoint *endpoints; /* endpoint.h */
    uint32_t commands_count, endpoints_count;
};

/* Reads the file. What is wrong is said with file, line where it is known, and what would
 * be right: ERR_CONFIG. Writes NULL when the file declares nothing. */
enum err declarations_load(const char *file, struct declarations **out,
                           struct buf *why) MUST_CHECK;
void declarations_free(struct declarations *all);

#endif
