/* arguments: a job's args in the arguments of a command.
 *
 * {{args.NAME}} in an argument of a declared command stands for that member of the job's
 * args: a string, a number as it was written, true or false. The value becomes the
 * argument, or a part of it; no shell ever reads it. The program itself cannot hold a
 * placeholder. A value may not turn a whole argument into an option: where an argument
 * begins with a placeholder, its value may not begin with "-", unless the declaration
 * says allow_dash. */
#ifndef BELAY_WORKERS_ARGUMENTS_H
#define BELAY_WORKERS_ARGUMENTS_H

#include "server/core/buf.h"
#include "workers/declaration.h"

#include <stdbool.h>

/* A name that a placeholder can have. */
bool arguments_name_is_fine(const char *name);

/* The placeholders of a declaration are well formed and declared. False, and `why` says
 * what is wrong. */
bool arguments_check(const struct declaration *d, struct buf *why);

/* argv for one job; `args` is its JSON text, which must be valid JSON. False, and `why`
 * says what is wrong with the args; without a word there, memory ran out. Release with
 * arguments_free(). */
bool arguments_make(const struct declaration *d, const char *args, char ***out_argv,
                    struct buf *why) MUST_CHECK;
void arguments_free(char **argv);

#endif
