/* Which verb, and its help.
 *
 * `serve` and `migrate` are in the table, so that help and completion know them, but have
 * no function: main runs them, because only main may see the parts of the service. A
 * verb without a function therefore takes settings, and its help lists them. */
#include "server/cli/cli.h"

#include "server/cli/client.h"
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"
#include "server/core/config.h"
#include "server/core/nearest.h"

#include <curl/curl.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

/* To stdout when it was asked for, to stderr when it is the answer to wrong usage. */
static void print_overview(FILE *out)
{
    fputs("Belay runs jobs, and can really stop them.\n\nusage: belay VERB ...\n\n", out);
    for (const struct verb *const *v = verbs; *v != NULL; v++)
        fprintf(out, "  %-12s %s\n", (*v)->name, (*v)->summary);
    fputs("\n`belay VERB --help` says more, with examples. Verbs that ask a server find "
          "it\nwith --url, else BELAY_URL, else " CLIENT_URL ".\n",
          out);
}

static int run_help(const struct call *call)
{
    if (call->n_words > 0)
        return cli_help(call->words[0]);
    print_overview(stdout);
    return EXIT_SUCCESS;
}

const struct verb verb_help = {
    .name = "help",
    .synopsis = "[VERB]",
    .summary = "list the verbs, or explain one",
    .examples = "  belay help cancel\n",
    .most_words = 1,
    .run = run_help,
};

/* Like git: the nearest verb is named, never run. */
static int unknown_verb(const char *typed)
{
    const char *names[64], *meant;
    size_t n = 0;

    for (const struct verb *const *v = verbs; *v != NULL && n < 63; v++)
        names[n++] = (*v)->name;
    names[n] = NULL;
    meant = nearest(typed, names);
    fprintf(stderr, "belay: there is no verb %s; %s%s%s\n", typed,
            meant != NULL ? "did you mean " : "`belay help` lists them",
            meant != NULL ? meant : "", meant != NULL ? "?" : "");
    return EXIT_USAGE;
}

int cli_help(const char *name)
{
    const struct verb *verb = verb_find(name);

    if (verb == NULL)
        return unknown_verb(name);
    verb_print_help(verb, stdout);
    if (verb->run != NULL)
        return EXIT_SUCCESS;
    fputs("\nsettings (the flag wins over the environment, that over the file):\n",
          stdout);
    config_print_help(stdout);
    return EXIT_SUCCESS;
}

bool cli_wants_help(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

enum cli_mode cli_take_mode(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        bool print = strcmp(argv[i], "--print-config") == 0;
        if (!print && strcmp(argv[i], "--check-config") != 0)
            continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof *argv);
        --*argc;
        return print ? CLI_PRINT_CONFIG : CLI_CHECK_CONFIG;
    }
    return CLI_RUN;
}

/* Output that cannot be written (a full disk, a closed pipe) is a failure, too: a script
 * must not go on with half a list. */
static int run_verb(const struct verb *verb, int argc, char **argv)
{
    struct call call;

    if (!call_parse(&call, verb, argc, argv))
        return EXIT_USAGE;
    if (call_has(&call, "help"))
        return cli_help(verb->name);
    if (verb->is_client && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return EXIT_FAILURE;
    int code = verb->run(&call);
    if (verb->is_client)
        curl_global_cleanup();
    if (fflush(stdout) != 0 && code == EXIT_SUCCESS)
        code = EXIT_FAILURE;
    return code;
}

int cli_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct verb *verb;

    if (name == NULL) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    /* The two words that people try on any program. */
    if (strcmp(name, "--version") == 0)
        name = "version";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    verb = verb_find(name);
    return verb != NULL ? run_verb(verb, argc - 2, argv + 2) : unknown_verb(name);
}
