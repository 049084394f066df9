/* verb: one verb of the command line, and one call of it.
 *
 *     static const struct verb_option options[] = {
 *         {"actor", "NAME", "who asks", OPTION_TEXT, "actor"}, {.name = NULL}};
 *
 *     const struct verb verb_retry = {.name = "retry", .synopsis = "ID", ...};
 *
 * A verb is a const struct in the file that runs it, and one row in verbs.def. Options
 * say which member of the API's request they are, so most verbs do not read their own
 * options: call_body() and call_query() put them where they belong. One thread; what a
 * call points to is argv's. */
#ifndef BELAY_CLI_VERB_H
#define BELAY_CLI_VERB_H

#include "server/core/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum option_type {
    OPTION_YES, /* takes no value; is true */
    OPTION_TEXT,
    OPTION_INT,
    OPTION_NUMBER,
    OPTION_OBJECT, /* a JSON object, sent as it was written */
    OPTION_LIST,   /* TEXT that may be given more than once */
    OPTION_IDS     /* the same of whole numbers */
};

struct verb_option {
    const char *name, *value, *help; /* value: "SECONDS"; NULL: takes none */
    enum option_type type;
    const char *param; /* the API's name of it; NULL: the verb reads it */
};

struct call;

struct verb {
    const char *name, *synopsis, *summary;
    const struct verb_option *options;   /* ends with a name of NULL; NULL: none */
    const char *examples;                /* lines */
    int least_words, most_words;         /* that stand after the verb */
    bool is_client;                      /* also takes --url and --json */
    int (*run)(const struct call *call); /* answers the exit code; NULL: main runs it */
};

enum { GIVEN_MAX = 64, WORDS_MAX = 8 };

struct call {
    const struct verb *verb;
    struct given {
        const struct verb_option *option;
        const char *value; /* NULL: takes none */
    } given[GIVEN_MAX];
    int n_given;
    const char *words[WORDS_MAX];
    int n_words;
    const char
        *url; /* of the server, without a slash at its end when it is the default */
    bool json;
};

#define WAIT_OPTION(what)                                                                \
    {                                                                                    \
        "wait", "SECONDS", what, OPTION_INT, NULL                                        \
    }

/* All verbs, as they stand in help; ends in NULL. */
extern const struct verb *const verbs[];
const struct verb *verb_find(const char *name);

/* Reads the arguments after the verb. False: wrong, and said so on stderr. */
bool call_parse(struct call *call, const struct verb *verb, int argc, char **argv);

/* The last value of the option, or NULL when it was not given. */
const char *call_text(const struct call *call, const char *option);
bool call_has(const struct call *call, const char *option);
int64_t call_int(const struct call *call, const char *option, int64_t otherwise);

/* The first word as the id of a job; false: it is none, and that was said. */
bool call_job_id(const struct call *call, int64_t *out);

/* Adds ,"param":value for each option that has a param; and ?param=value&... */
void call_body(const struct call *call, struct buf *out);
void call_query(const struct call *call, struct buf *out);

/* The help of a verb. */
void verb_print_help(const struct verb *verb, FILE *out);

/* Says on stderr what is wrong with the call; answers the exit code of wrong usage. */
int usage_error(const struct call *call, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
