/* The verbs as one table, made from verbs.def: help, completion and dispatch all walk
 * over it, so none of them can miss a verb. */
#include "server/cli/verbs.h"

#include <string.h>

const struct verb *const verbs[] = {
#define VERB(name) &verb_##name,
#include "server/cli/verbs.def"
#undef VERB
    NULL};

const struct verb *verb_find(const char *name)
{
    for (const struct verb *const *v = verbs; *v != NULL; v++) {
        if (strcmp((*v)->name, name) == 0)
            return *v;
    }
    return NULL;
}
