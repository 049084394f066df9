/* fields: reads the members of a JSON object into C, and says what is wrong with each.
 *
 *     static const struct field fields[] = {{"abort", FIELD_BOOL, offsetof(struct
 * options, abort), 0, 0}, ...}; e = fields_read(req, "", text, len, fields, n, &options);
 *
 * Every wrong or unknown member is reported by req_fail_at() (at most 20), so that a
 * client sees all at once. null is the same as absent. Strings are decoded into the
 * request's memory. */
#ifndef BELAY_HANDLERS_FIELDS_H
#define BELAY_HANDLERS_FIELDS_H

#define STATUS_WORDS "todo, doing, succeeded, failed, cancelled, aborted"

#include "server/http/json.h"
#include "server/http/request.h"

enum field_type {
    FIELD_BOOL,     /* bool */
    FIELD_INT,      /* int64_t, from least to most */
    FIELD_NUMBER,   /* double, from least to most */
    FIELD_TEXT,     /* const char *, of least to most characters */
    FIELD_NAME,     /* the same, of letters, digits and _ . : / - */
    FIELD_TIME,     /* int64_t, microseconds since 1970 */
    FIELD_OBJECT,   /* struct span: the text as it came, at most `most` bytes */
    FIELD_STRINGS,  /* const char *: a PostgreSQL array literal of at most `most` strings
                       of 1..64 characters */
    FIELD_STATUSES, /* the same of at least one status of a job */
    FIELD_ARRAY,    /* struct span: the text of an array as it came */
    FIELD_IDS,      /* const char *: a JSON array of at most `most` ids, "[1,2]"; one id
                       may stand alone. NULL for an empty one */
};

struct span {
    const char *text;
    size_t len;
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset; /* of the member to fill */
    int64_t least, most;
};

/* `where` is the JSON pointer of the object. ERR_INVALID when anything was reported. */
enum err fields_read(struct request *req, const char *where, struct span object,
                     const struct field *fields, size_t n_fields, void *out) MUST_CHECK;

/* Whether it has only the characters of a FIELD_NAME. */
bool field_is_name(const char *text);

/* todo,doing -> {todo,doing}; NULL where a word is not a status. */
const char *status_list(struct request *req, const char *words);

/* The body is optional: without one nothing is read, and it is ERR_OK. */
enum err fields_read_options(struct request *req, const struct field *fields,
                             size_t n_fields, void *out) MUST_CHECK;

/* Checks the whole body; ERR_BAD_REQUEST or ERR_INVALID with the place. */
enum err fields_check_body(struct request *req, enum json_type wanted,
                           struct span *out) MUST_CHECK;

#endif
