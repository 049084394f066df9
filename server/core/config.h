/* config: the settings of one process, from flags, environment, file and defaults. The
 * rows are config.def.
 *
 * config_load() reads all four, checks each value against its row, and fills one struct
 * that nobody changes afterwards; any thread may read it. The parts of the file that are
 * not settings (the declared commands) are read by the part of the program that owns
 * them, from config->file. */
#ifndef BELAY_CORE_CONFIG_H
#define BELAY_CORE_CONFIG_H

#include "server/core/buf.h"
#include "server/core/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef int64_t config_INT;
typedef int64_t config_AGE; /* seconds; 0: for ever */
typedef bool config_BOOL;
typedef char *config_TEXT;
typedef char *config_LIST; /* "a,b" */
typedef char *config_MAP;  /* "a=1,b=2" */
typedef char *config_SECRET;

struct config {
#define SETTING(field, type, flag, env, key, def, least, most, help) config_##type field;
#include "server/core/config.def"
#undef SETTING
    char *file; /* path of belay.yaml (--config, BELAY_CONFIG), or NULL when there is none
                 */
};

/* Reads the settings. argv[0] is the verb and is skipped; flags are --flag VALUE,
 * --flag=VALUE, --flag and --no-flag for BOOL, and --config FILE; the last one holds, but
 * those of a LIST or MAP add up. What is wrong is said
 * in `why` (what, where, what would be right), and the error is ERR_USAGE for a flag and
 * ERR_CONFIG for the rest. Release with config_release(), also after an error. */
enum err config_load(struct config *c, int argc, char **argv, struct buf *why) MUST_CHECK;
void config_release(struct config *c);

/* The settings as YAML that config_load() would read back; secrets are masked. */
void config_print(const struct config *c, FILE *out);

/* The options for --help; the table of docs/configuration.md. */
void config_print_help(FILE *out);
void config_print_markdown(FILE *out);

#endif
