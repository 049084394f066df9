/* config_table: the rows of config.def as data, and how a value gets into one.
 *
 * Private to config*.c: config.c merges the four sources, config_value.c reads one value,
 * config_file.c belay.yaml, config_print.c writes. One thread, before all others start.
 */
#ifndef BELAY_CORE_CONFIG_TABLE_H
#define BELAY_CORE_CONFIG_TABLE_H

#include "server/core/config.h"

#include <stddef.h>

enum setting_type {
    SETTING_INT,
    SETTING_AGE,
    SETTING_BOOL,
    SETTING_TEXT,
    SETTING_LIST,
    SETTING_MAP,
    SETTING_SECRET
};

struct setting {
    enum setting_type type;
    size_t offset; /* in struct config */
    const char *flag, *env, *key, *fallback;
    int64_t least, most; /* of an INT, of the numbers of a MAP */
    const char *help;
};

/* Whether its flag may be repeated. */
static inline bool setting_is_list(const struct setting *s)
{
    return s->type == SETTING_LIST || s->type == SETTING_MAP;
}

extern const struct setting config_settings[]; /* ends with a flag of NULL */

/* The words that a TEXT may be, "text, logfmt or json"; NULL when any text will do. */
const char *config_words(const struct setting *s);

/* Checks `text` and puts a copy of it into the setting. `where` is where it came from,
 * for `why`: "--port", "belay.yaml:3: port". ERR_CONFIG when it is not right. */
enum err config_set(struct config *c, const struct setting *s, const char *text,
                    const char *where, struct buf *why) MUST_CHECK;

/* The settings that the file c->file has. */
enum err config_read_file(struct config *c, struct buf *why) MUST_CHECK;

#endif
