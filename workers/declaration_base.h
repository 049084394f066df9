/* declaration_base: what is the same for each job of a declared command, worked out once
 * when the file is read: the environment, and paths that are relative to the file. */
#ifndef BELAY_WORKERS_DECLARATION_BASE_H
#define BELAY_WORKERS_DECLARATION_BASE_H

#include "workers/declaration.h"

/* Paths in a file are relative to the file, wherever Belay was started: makes one
 * absolute (NULL stays NULL). Whether it exists is seen when it is needed. False without
 * memory, or when the file's directory has gone. */
bool declaration_make_absolute(char **path, const char *file);

/* False as above. */
bool declaration_make_base(struct declaration *d, const char *file);

#endif
