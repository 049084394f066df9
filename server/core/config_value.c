/* One value of a setting: from its text, checked against its row. A wrong one is told
 * with what would be right; the value of a secret is never among the words. */
#include "server/core/config_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char name_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstu"
                                      "vwxyz0123456789_.:/-";

/* The words stand in the help of the row, so that what is shown is what is checked. */
const char *config_words(const struct setting *s)
{
    static const char *const closed[] = {"log_format", "log_level"};

    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        if (strcmp(s->key, closed[i]) == 0)
            return s->help;
    }
    return NULL;
}

/* True when `text` is one of "a, b or c". */
static bool is_word_of(const char *text, const char *words)
{
    size_t len = strlen(text);

    while (*words != '\0') {
        size_t n = strcspn(words, ", ");
        if (n == len && strncmp(words, text, n) == 0 && strcmp(text, "or") != 0)
            return true;
        words += n + strspn(words + n, ", ");
    }
    return false;
}

/* YAML 1.1 has these words; 1 and 0 are what people put into variables. */
static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        bool is_yes = strcmp(text, yes[i]) == 0;
        if (is_yes || strcmp(text, no[i]) == 0) {
            *out = is_yes;
            return true;
        }
    }
    return false;
}

/* strtoll() alone would take " 1" and "+1". */
static bool parse_int(const char *text, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    return *end == '\0' && strchr("-0123456789", text[0]) != NULL && text[0] != '\0' &&
           errno == 0;
}

static enum err set_int(struct config *c, const struct setting *s, const char *text,
                        const char *where, struct buf *why)
{
    int64_t value;

    if (!parse_int(text, &value) || value < s->least || value > s->most) {
        buf_addf(why,
                 "%s: %s is not right; it should be a whole number from %" PRId64
                 " to %" PRId64,
                 where, text[0] != '\0' ? text : "nothing", s->least, s->most);
        return ERR_CONFIG;
    }
    *(config_INT *)((char *)c + s->offset) = value;
    return ERR_OK;
}

/* A number and its unit, 7d, a hundred years at most; 0: for ever. */
static bool parse_age(const char *text, int64_t *out)
{
    static const char units[] = "smhd";
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] != '\0' ? strchr(units, text[digits]) : NULL;

    *out = strtoll(text, NULL, 10);
    if (digits == 0 || digits > 10 || unit == NULL || text[digits + 1] != '\0')
        return strcmp(text, "0") == 0;
    *out *= seconds[unit - units];
    return *out > 0 && *out <= 36500 * seconds[3];
}

static enum err set_age(struct config *c, const struct setting *s, const char *text,
                        const char *where, struct buf *why)
{
    if (parse_age(text, (config_AGE *)((char *)c + s->offset)))
        return ERR_OK;
    buf_addf(why, "%s: %s is not right; it should be as 90d, 12h, 30m or 45s, or 0",
             where, text[0] != '\0' ? text : "nothing");
    return ERR_CONFIG;
}

static enum err set_bool(struct config *c, const struct setting *s, const char *text,
                         const char *where, struct buf *why)
{
    if (parse_bool(text, (config_BOOL *)((char *)c + s->offset)))
        return ERR_OK;
    buf_addf(why, "%s: %s is not right; it should be true or false", where,
             text[0] != '\0' ? text : "nothing");
    return ERR_CONFIG;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
/* The copy is the setting's: the analyzer knows no member by its offset. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
/* The value of a secret is never in the words: only closed lists can be wrong. */
static enum err set_text(struct config *c, const struct setting *s, const char *text,
                         const char *where, struct buf *why)
{
    const char *words = config_words(s);
    char **at = (char **)((char *)c + s->offset), *copy;

    if (words != NULL && !is_word_of(text, words)) {
        buf_addf(why, "%s: %s is not right; it should be %s", where,
                 text[0] != '\0' ? text : "nothing", words);
        return ERR_CONFIG;
    }
    copy = strdup(text);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    free(*at);
    *at = copy;
    return ERR_OK;
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/* "name=3,other=1": each name once, with a number of the row's range. */
static bool is_map(const struct setting *s, const char *text)
{
    size_t name, item;
    int64_t number;

    for (const char *at = text; *at != '\0'; at += item + (at[item] == ',')) {
        char digits[32];
        item = strcspn(at, ",");
        name = strspn(at, name_characters);
        if (name == 0 || at[name] != '=' || item - name > sizeof digits)
            return false;
        snprintf(digits, sizeof digits, "%.*s", (int)(item - name - 1), at + name + 1);
        if (!parse_int(digits, &number) || number < s->least || number > s->most)
            return false;
        for (const char *p = text; p < at; p += strcspn(p, ",") + 1) {
            if (strncmp(p, at, name + 1) == 0)
                return false;
        }
    }
    return true;
}

static enum err set_map(struct config *c, const struct setting *s, const char *text,
                        const char *where, struct buf *why)
{
    if (is_map(s, text))
        return set_text(c, s, text, where, why);
    buf_addf(why,
             "%s: %s is not right; it should be as name=N, comma-separated, with N from "
             "%" PRId64 " to %" PRId64 ", each name once",
             where, text, s->least, s->most);
    return ERR_CONFIG;
}

enum err config_set(struct config *c, const struct setting *s, const char *text,
                    const char *where, struct buf *why)
{
    if (s->type == SETTING_INT)
        return set_int(c, s, text, where, why);
    if (s->type == SETTING_AGE)
        return set_age(c, s, text, where, why);
    if (s->type == SETTING_BOOL)
        return set_bool(c, s, text, where, why);
    if (s->type == SETTING_MAP)
        return set_map(c, s, text, where, why);
    return set_text(c, s, text, where, why);
}
