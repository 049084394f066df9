/* verbs: the declarations of the rows of verbs.def. */
#ifndef BELAY_CLI_VERBS_H
#define BELAY_CLI_VERBS_H

#include "server/cli/verb.h"

#define VERB(name) extern const struct verb verb_##name;
#include "server/cli/verbs.def"
#undef VERB

#endif
