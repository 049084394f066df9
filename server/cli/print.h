/* print: answers of the server for people.
 *
 * Strings of the server are printed without their control characters, so that a job's
 * args cannot drive the terminal. Colour only on a terminal, and not with NO_COLOR. One
 * thread. */
#ifndef BELAY_CLI_PRINT_H
#define BELAY_CLI_PRINT_H

#include "server/cli/client.h"

/* The value as words: text as it is, "-" for null, "yes" for true, "a,b" for a list,
 * JSON for an object. */
void print_words(struct buf *out, const json_t *value);

struct column {
    const char *title, *key; /* of the row's object */
};

/* A line of titles and a line for each object of the array; columns end with a title of
 * NULL. */
void print_table(const json_t *rows, const struct column *columns);

/* The job as lines of "name value". */
void print_job(json_t *job);

/* The problem of the answer, on stderr. */
void print_problem(const struct call *call, const struct answer *a);

/* The text at the key, or "" when there is none. */
const char *json_text(const json_t *object, const char *key);

#endif
