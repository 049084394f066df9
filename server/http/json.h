/* json: finds the members of a JSON object without rewriting any of it.
 *
 * args, result and metadata pass through Belay as the text that came, because every tree
 * of values loses something (1.10 becomes 1.1000000000000001). json_check() validates RFC
 * 8259 strictly: UTF-8, depth <= 64, no duplicate keys in an object (decoded), no \u0000
 * and no lone surrogate (PostgreSQL cannot keep them), and reports where.
 *
 *     struct json_member m;
 *     for (struct json_cursor c = json_members(text, len); json_next(&c, &m);)
 *         if (json_key_is(&m, "queue")) ...
 *
 * The text must have passed json_check() before the others see it. Nothing is allocated
 * that outlives a call. */
#ifndef BELAY_HTTP_JSON_H
#define BELAY_HTTP_JSON_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 64 };

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_error {
    size_t offset;     /* bytes from the start */
    const char *what;  /* "expected a colon"; static */
    char pointer[256]; /* JSON pointer of the value, cut */
};

/* The whole text is one value. ERR_BAD_REQUEST for text that is not JSON, ERR_INVALID for
 * JSON that we do not keep (duplicate key, \u0000, lone surrogate, too deep). */
enum err json_check(const char *text, size_t len, enum json_type *out_type,
                    struct json_error *out_error) MUST_CHECK;

struct json_member {
    const char *key; /* raw, without quotes; NULL in an array */
    size_t key_len;
    const char *value; /* raw: a string with its quotes */
    size_t value_len;
    enum json_type type;
};

struct json_cursor {
    const char *at, *end;
    bool in_object;
};

/* Walks the members of an object, or the elements of an array. */
struct json_cursor json_members(const char *text, size_t len);
bool json_next(struct json_cursor *c, struct json_member *out);

/* Compares the key as it is written; ours have no escapes. */
bool json_key_is(const struct json_member *m, const char *key);

/* Decodes a string value (escapes, surrogates) into `out`, which needs m->value_len
 * bytes; NUL-terminated. Returns the length. (json_string() is a function of jansson, and
 * a program's symbol takes the place of a library's.) */
size_t json_decode(const struct json_member *m, char *out);

/* A number that is an integer in [least, most], written without fraction or exponent.
 * False else. */
bool json_int(const struct json_member *m, int64_t least, int64_t most, int64_t *out);

#endif
