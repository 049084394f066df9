/* belay completion bash: the script is made from the verbs and their options, so it
 * cannot forget one. */
#include "server/cli/verbs.h"

#include <string.h>

/* serve's settings are left out: their names are too many to be of use after a TAB. */
static void print_options(const struct verb *verb)
{
    for (const struct verb_option *o = verb->options; o != NULL && o->name != NULL; o++)
        printf("--%s ", o->name);
    printf("--help%s", verb->is_client ? " --url --json" : "");
}

/* Written word by word as the shell will read it. No name of a verb or an option has a
 * character that a shell would act on. */
static int run(const struct call *call)
{
    if (strcmp(call->words[0], "bash") != 0)
        return usage_error(call, "%s: only bash is known", call->words[0]);
    puts("_belay() {\n"
         "    local current=${COMP_WORDS[COMP_CWORD]} words=\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "        words='");
    for (const struct verb *const *v = verbs; *v != NULL; v++)
        printf("%s ", (*v)->name);
    puts("'\n    else\n        case ${COMP_WORDS[1]} in");
    for (const struct verb *const *v = verbs; *v != NULL; v++) {
        printf("        %s) words='", (*v)->name);
        print_options(*v);
        puts("' ;;");
    }
    puts("        esac\n"
         "    fi\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -o default -F _belay belay");
    return 0;
}

const struct verb verb_completion = {
    .name = "completion",
    .synopsis = "bash",
    .summary = "print the completion script for a shell",
    .examples = "  source <(belay completion bash)\n",
    .least_words = 1,
    .most_words = 1,
    .run = run,
};
