/* server: a server of one answer, for tests of the client verbs.
 *
 *     answer_with(200, "{\"jobs\":[]}");
 *     run("list", "--limit", "3");
 *     cr_expect_str_eq(asked.line, "GET /jobs?limit=3");
 *
 * Each run() asks a server on a port of its own, which answers as many requests as there
 * were calls of answer_with(), in their order. It runs the verb in this process with
 * stdout and stderr in files, and keeps what came of it. One test a process. */
#ifndef BELAY_TESTS_CLI_SERVER_H
#define BELAY_TESTS_CLI_SERVER_H

/* The last request. */
extern struct asked {
    char line[2048]; /* "POST /jobs" */
    char head[4096], body[4096];
} asked;

/* What the verb wrote and answered. */
extern struct ran {
    int code;
    char out[8192], err[8192];
} ran;

void answer_with(int status, const char *body);

/* The same with a line of head, "Preference-Applied: wait=5". */
void answer_with_head(int status, const char *head, const char *body);

void run_verb_with(const char *const *args);
#define run(...) run_verb_with((const char *const[]){__VA_ARGS__, 0})

/* The same without a server: BELAY_URL stays as it is. */
void run_alone_with(const char *const *args);
#define run_alone(...) run_alone_with((const char *const[]){__VA_ARGS__, 0})

/* Expects the exit code, and parts of what was written; "" for nothing at all. */
void expect(int code, const char *out, const char *err);

#endif
