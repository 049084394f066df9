/* A reader of forty lines instead of a table in C: one file a vector can be read, sent by
 * hand and taken over into another project. */
#include "tests/http/vector.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER    "tests/http/vectors"
#define IS_OLD    (MHD_VERSION < 0x00097701)
#define IS_ONE    (MHD_VERSION >= 0x01000000)
#define STARTS(p) (strncmp(line, (p), strlen(p)) == 0)

static struct vector vectors[VECTORS_MAX];

/* What stands behind "Key: ", up to the end of the line. */
static const char *value_of(const char *line)
{
    static char value[512];
    const char *from = strstr(line, ": ");

    cr_assert_not_null(from, "no key: %.60s", line);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(from + 2, "\n"), from + 2);
    return value;
}

static void read_answers(struct vector *v, const char *text)
{
    for (int i = 0; i < VECTOR_ANSWERS_MAX; i++)
        v->answers[i] = (int)strtol(text, NULL, 10);
    const char *other = strstr(text, " or ");
    if (other != NULL)
        v->answers[1] = (int)strtol(other + 4, NULL, 10);
    cr_assert(v->answers[0] != 0 || strncmp(text, "none", 4) == 0, "answer: %s", text);
}

static char unescape(const char **text)
{
    static const char names[] = "rnt\\", bytes[] = "\r\n\t\\";
    const char *at = *text;

    if (at[1] == 'x') {
        char hex[3] = {at[2], at[3], '\0'};
        *text += 4;
        return (char)strtoul(hex, NULL, 16);
    }
    const char *which = strchr(names, at[1]);
    cr_assert(at[1] != '\0' && which != NULL, "an escape: %.20s", at);
    *text += 2;
    return bytes[which - names];
}

static void read_bytes(struct vector *v, const char *text)
{
    while (*text != '\0') {
        cr_assert_lt(v->len, sizeof v->bytes);
        if (*text == '\\')
            v->bytes[v->len++] = unescape(&text);
        else if (*text != '\n')
            v->bytes[v->len++] = *text++;
        else
            text++;
    }
}

enum { SAYS_RFC = 1, SAYS_ASKS = 2, SAYS_ALL = 3, IS_FOR_ANOTHER = 4 };

/* What the line says beyond the vector. */
static unsigned read_line(struct vector *v, const char *line)
{
    if (STARTS("What: "))
        snprintf(v->name, sizeof v->name, "%.90s", value_of(line));
    else if (STARTS("Answer: ") || (IS_ONE && STARTS("Answer of libmicrohttpd 1: ")))
        read_answers(v, value_of(line));
    else if (STARTS("Then: "))
        v->closes = strcmp(value_of(line), "close") == 0;
    return STARTS("RFC: RFC ")                           ? SAYS_RFC
           : STARTS("Asks: ")                            ? SAYS_ASKS
           : IS_OLD && STARTS("Parser: libmicrohttpd 1") ? IS_FOR_ANOTHER
                                                         : 0;
}

/* False: it is for another parser. */
static bool read_vector(const char *file, const char *text, struct vector *v)
{
    const char *line = text;
    unsigned says = 0;

    *v = (struct vector){.answers = {-1, -1}};
    for (; *line != '\n'; line = strchr(line, '\n') + 1) {
        cr_assert_not_null(strchr(line, '\n'), "%s: no bytes", file);
        says |= read_line(v, line);
    }
    read_bytes(v, line);
    cr_assert((says & SAYS_ALL) == SAYS_ALL && v->answers[0] >= 0 && *v->name != '\0' &&
                  v->len > 0,
              "%s: something is missing", file);
    return (says & IS_FOR_ANOTHER) == 0;
}

static int is_vector(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

size_t vectors_load(const struct vector **out)
{
    char path[512], text[4 * VECTOR_BYTES_MAX];
    struct dirent **files;
    size_t count = 0;
    int n = scandir(FOLDER, &files, is_vector, alphasort);

    cr_assert_gt(n, 0, "nothing in " FOLDER);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, FOLDER "/%s", files[i]->d_name);
        FILE *f = fopen(path, "r");
        cr_assert_not_null(f, "%s", path);
        size_t len = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[len] = '\0';
        cr_assert_lt(count, (size_t)VECTORS_MAX);
        count += read_vector(path, text, &vectors[count]);
        free(files[i]);
    }
    free(files);
    *out = vectors;
    return count;
}
