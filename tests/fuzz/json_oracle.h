/* json_oracle: jansson's opinion of a text, against ours.
 *
 *     const char *what = json_disagreement(text, len);
 *     cr_assert_null(what, "%s", what);
 *
 * Where we differ on purpose: jansson goes 2,048 levels deep, we 64; it refuses numbers
 * that a double or an int64_t cannot hold, we keep them as text; and for it a NUL between
 * values is the end of the text. */
#ifndef BELAY_TESTS_FUZZ_JSON_ORACLE_H
#define BELAY_TESTS_FUZZ_JSON_ORACLE_H

#include "server/http/json.h"

#include <stdlib.h>
#include <string.h>

/* jansson has some names of our enum json_type for its own. */
#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY  JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_TRUE   JANSSON_TRUE
#define JSON_FALSE  JANSSON_FALSE
#define JSON_NULL   JANSSON_NULL
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL

static inline bool types_agree(enum json_type ours, json_type theirs)
{
    static const json_type same[] = {
        [JSON_NULL] = JANSSON_NULL,   [JSON_FALSE] = JANSSON_FALSE,
        [JSON_TRUE] = JANSSON_TRUE,   [JSON_STRING] = JANSSON_STRING,
        [JSON_ARRAY] = JANSSON_ARRAY, [JSON_OBJECT] = JANSSON_OBJECT,
    };

    if (ours == JSON_NUMBER)
        return theirs == JSON_INTEGER || theirs == JSON_REAL;
    return theirs == same[ours];
}

/* malloc'd: as small as promised, so that a sanitizer sees one byte too many. */
static inline char *decode_text(const char *value, size_t len, size_t *out_len)
{
    struct json_member m = {.value = value, .value_len = len};
    char *decoded = malloc(len);

    if (decoded == NULL)
        abort();
    *out_len = json_decode(&m, decoded);
    return decoded;
}

static inline bool strings_agree(const struct json_member *m, json_t *theirs)
{
    size_t len;
    char *decoded = decode_text(m->value, m->value_len, &len);
    bool same = len == json_string_length(theirs) &&
                memcmp(decoded, json_string_value(theirs), len) == 0;

    free(decoded);
    return same;
}

static inline bool numbers_agree(const struct json_member *m, json_t *theirs)
{
    char text[512];
    int64_t value;
    bool is_int = json_int(m, INT64_MIN, INT64_MAX, &value);

    if (is_int || json_typeof(theirs) == JSON_INTEGER)
        return is_int && json_typeof(theirs) == JSON_INTEGER &&
               value == json_integer_value(theirs);
    if (m->value_len >= sizeof text)
        return true;
    memcpy(text, m->value, m->value_len);
    text[m->value_len] = '\0';
    return strtod(text, NULL) == json_real_value(theirs);
}

static inline json_t *value_at_key(const struct json_member *m, json_t *object)
{
    size_t len;
    char *key = decode_text(m->key - 1, m->key_len + 2, &len);
    json_t *value = json_object_get(object, key);

    free(key);
    return value;
}

static inline const char *values_disagree(const struct json_member *m, json_t *theirs)
{
    const char *what = NULL;
    struct json_member each;
    size_t n = 0;

    if (theirs == NULL || !types_agree(m->type, json_typeof(theirs)))
        return "a value of another type, or none";
    if (m->type == JSON_STRING)
        return strings_agree(m, theirs) ? NULL : "a string is decoded otherwise";
    if (m->type == JSON_NUMBER)
        return numbers_agree(m, theirs) ? NULL : "another number";
    if (m->type != JSON_OBJECT && m->type != JSON_ARRAY)
        return NULL;
    for (struct json_cursor c = json_members(m->value, m->value_len);
         what == NULL && json_next(&c, &each); n++)
        what = values_disagree(&each, m->type == JSON_OBJECT ? value_at_key(&each, theirs)
                                                             : json_array_get(theirs, n));
    if (what == NULL && n != (m->type == JSON_OBJECT ? json_object_size(theirs)
                                                     : json_array_size(theirs)))
        what = "more members, or fewer";
    return what;
}

/* What both have taken, walked as an array of one. */
static inline const char *trees_disagree(const char *text, size_t len, json_t *theirs)
{
    struct json_member m;
    char *array = malloc(len + 2);
    const char *what = "nothing in the text";

    if (array == NULL)
        abort();
    array[0] = '[';
    memcpy(array + 1, text, len);
    array[len + 1] = ']';
    struct json_cursor c = json_members(array, len + 2);
    if (json_next(&c, &m))
        what = values_disagree(&m, theirs);
    free(array);
    return what;
}

/* NULL, or what it is about. */
static inline const char *json_disagreement(const char *text, size_t len)
{
    struct json_error error = {.what = ""};
    json_error_t their_error;
    enum json_type type;
    enum err e = json_check(text, len, &type, &error);
    json_t *theirs =
        json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &their_error);
    const char *what = NULL;

    if (len > 0 && memchr(text, '\0', len) != NULL)
        what = e == ERR_OK ? "we take a NUL" : NULL;
    else if (e == ERR_OK && theirs != NULL)
        what = trees_disagree(text, len, theirs);
    else if (e == ERR_OK && json_error_code(&their_error) != json_error_numeric_overflow)
        what = "we take what they refuse";
    else if (e != ERR_OK && theirs != NULL && strstr(error.what, "nested deeper") == NULL)
        what = "they take what we refuse";
    else if (e != ERR_OK && (error.offset > len || strlen(error.pointer) > 255 ||
                             (e != ERR_BAD_REQUEST && e != ERR_INVALID)))
        what = "an error that makes no sense";
    json_decref(theirs);
    return what;
}

#endif
