/* outside: programs, HTTP servers and databases that an async task may wait for. Included
 * by await.h.
 *
 *     struct exec_answer answer;
 *     int e = await_exec(ctx, &(struct exec_request){.argv = argv}, &answer, 60000);
 *     if (e == JOB_OK && answer.status == 0)
 *         job_log(ctx, "it said %s", answer.out);
 *     exec_answer_release(&answer);
 *
 * Requests are borrowed until the call returns; all that is not named in one has its
 * default. An answer is written by every call, whatever it returns, and has to be
 * released after it. It may be kept beyond the job. */
#ifndef BELAY_OUTSIDE_H
#define BELAY_OUTSIDE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct job_ctx;

/* -- programs ------------------------------------------------------------------------ */

/* Every struct has room for what later versions add: NULL means what was before. */
struct exec_request {
    const char *const *argv; /* ends in NULL; argv[0] without a slash is looked for in the
                                service's PATH */
    const char *const *env;  /* NAME=value, ends in NULL; beside these the program gets
                                PATH, HOME and LANG as the service has them, only */
    const char *directory;   /* NULL: where the service was started */
    const void *input;       /* its stdin; NULL: empty */
    size_t input_len;
    size_t output_most; /* bytes kept of the end of stdout and of stderr; 0: 64 KiB */
    int64_t grace_ms;   /* from SIGTERM to SIGKILL; 0: 10 s */
    void *later[4];
};

struct exec_answer {
    int status;      /* exit code; -1: it has none */
    int signal;      /* that ended it; 0: none did */
    char *out, *err; /* what it wrote, with a NUL behind; never NULL */
    size_t out_len, err_len;
    bool out_cut, err_cut; /* there was more before it */
    void *later[4];
};

/* Runs a program to its end and to that of all that it started: what it leaves behind is
 * killed. JOB_OK: it has ended, somehow; see status. A cancel, or the deadline, is
 * SIGTERM to all of them and SIGKILL after the grace, or at once with a further cancel;
 * then JOB_CANCELLED or JOB_TIMEOUT, not before the last of them is gone, and the answer
 * has what was written until then. -ENOENT, -EACCES, ...: it cannot be run. -E2BIG: argv
 * and env have more than 160 KiB. -EIO: nothing can be run here. */
int await_exec(struct job_ctx *ctx, const struct exec_request *request,
               struct exec_answer *out, int64_t timeout_ms);
void exec_answer_release(struct exec_answer *answer);

/* -- HTTP ---------------------------------------------------------------------------- */

struct http_request {
    const char *url;            /* http: or https: */
    const char *method;         /* NULL: GET, or POST where there is a body */
    const char *const *headers; /* "Name: value", ends in NULL; NULL: none */
    const void *body;           /* application/json, unless a header says otherwise */
    size_t body_len;
    int redirects_most; /* 0: none is followed, so 301 may be the answer */
    size_t body_most; /* bytes of the answer's body; 0: 1 MiB, or with on_body no limit */
    /* NULL: the body is kept. Else it is called for each piece, on the loop: it must
     * neither await nor block. False: that is enough; the call returns JOB_OK. */
    bool (*on_body)(void *arg, const char *bytes, size_t len);
    void *arg;           /* of on_body */
    const char *ca_file; /* certificates to trust; NULL: the system's */
    /* Where the url comes from others: a server on this host or in a private network is
     * not asked (-EACCES), by whatever name. */
    bool public_only;
    void *later[4];
};

struct http_answer {
    int status; /* 0: there is none */
    char *body; /* with a NUL behind; never NULL */
    size_t body_len;
    char *head; /* for http_answer_header() */
    size_t head_len;
    char why[256]; /* words for people where there was an error, or "" */
    void *later[4];
};

/* A request over HTTP. JOB_OK: there is an answer, whatever its status. The certificate
 * of an https server is verified, and so is its name. Connections are kept and used
 * again; a cancel closes the one that it finds at work. Names are looked up on threads.
 * -EMSGSIZE: the body is larger than body_most; -ECONNREFUSED, -EHOSTUNREACH: no
 * connection, no such name; -ECONNRESET: it broke; -EPROTO: TLS or HTTP went wrong;
 * -ELOOP: more redirects than redirects_most; -EACCES: not public; -EINVAL: not a
 * request. */
int await_http(struct job_ctx *ctx, const struct http_request *request,
               struct http_answer *out, int64_t timeout_ms);
/* The value of the first header of that name, in any case of letters; NULL: none. */
const char *http_answer_header(const struct http_answer *answer, const char *name);
void http_answer_release(struct http_answer *answer);

/* -- PostgreSQL ---------------------------------------------------------------------- */

#define JOB_SQL_ERROR (-EBADMSG)

struct query_request {
    const char *url;           /* postgresql://..., or a libpq connection string */
    const char *sql;           /* one statement, with $1, $2, ... for its parameters */
    const char *const *params; /* texts; NULL among them: SQL NULL */
    int n_params;
    int rows_most;     /* of the result; 0: 10,000 */
    size_t bytes_most; /* of the result's texts; 0: 16 MiB */
    void *later[4];
};

struct query_answer {
    int n_rows, n_columns; /* see query_value() */
    int64_t affected;      /* rows that the statement has returned or changed */
    char sqlstate[6];      /* of an error, or "" */
    char why[256];         /* words for people where there was an error, or "" */
    const char **cells;    /* for the functions below */
    char *bytes;
    void *later[4];
};

/* A statement on a database of the task's own, in a transaction of its own. JOB_OK: it
 * was carried out. JOB_SQL_ERROR: the server refused it, see sqlstate. -EMSGSIZE: more
 * rows or bytes than may be. -ECONNREFUSED, -EHOSTUNREACH: no connection within 10 s, no
 * such name; -ECONNRESET: it broke, and nobody knows whether the statement was carried
 * out; -EINVAL: not a connection string.
 *
 * A cancel, or the deadline, is passed on to the server, whose word is waited for, 5 s at
 * most: JOB_CANCELLED or JOB_TIMEOUT when the statement was given up, and JOB_OK when it
 * had been carried out by then; a further cancel closes the connection at once.
 * Connections are kept for some seconds for the next statement, without anything that the
 * last one has left in the session: no transaction, setting or lock outlives a call. */
int await_query(struct job_ctx *ctx, const struct query_request *request,
                struct query_answer *out, int64_t timeout_ms);
/* Text; NULL: SQL NULL. Both count from 0, and both must be in the answer. */
const char *query_value(const struct query_answer *answer, int row, int column);
const char *query_column(const struct query_answer *answer, int column); /* its name */
void query_answer_release(struct query_answer *answer);

#ifdef __cplusplus
}
#endif

#endif
