/* declaration_schema: the keys of belay.yaml, for libcyaml, and what would be right where
 * one is wrong. A part of declaration.c. Constant; any thread. */
#ifndef BELAY_WORKERS_DECLARATION_SCHEMA_H
#define BELAY_WORKERS_DECLARATION_SCHEMA_H

#include <cyaml/cyaml.h>

/* Of a whole file: struct declarations. */
extern const cyaml_schema_value_t declaration_schema;

/* What a key should be, in words; NULL: its type says it. */
const char *declaration_right(const char *key);
/* The keys that are known where an unknown one was met: within which list of the file,
 * in the value of which key, and how deep. */
const char *declaration_keys(const char *list, const char *field, int depth);

#endif
