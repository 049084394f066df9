/* cli: the command line of the binary; all but what `serve` and `migrate` do.
 *
 * The verbs are a table (verbs.c). Those that talk to a server do it over HTTP, as any
 * other client would. Data goes to stdout, the rest to stderr. Exit codes: 0; 1 the
 * server refused; 2 wrong usage; 69 (EX_UNAVAILABLE) no server, or it cannot at present;
 * 78 (EX_CONFIG) wrong configuration. One thread. */
#ifndef BELAY_CLI_CLI_H
#define BELAY_CLI_CLI_H

#include <stdbool.h>

/* Runs the verb argv[1] and answers the exit code of the process. */
int cli_main(int argc, char **argv);

/* True when --help or -h is among the arguments. */
bool cli_wants_help(int argc, char *const *argv);

/* What `belay serve` was asked for. */
enum cli_mode { CLI_RUN, CLI_PRINT_CONFIG, CLI_CHECK_CONFIG };

/* Takes the word that asks for it (--print-config, --check-config) out of the arguments,
 * so that config_load() sees settings only. */
enum cli_mode cli_take_mode(int *argc, char **argv);

/* The help of a verb on stdout, settings included where it takes them; answers the exit
 * code. */
int cli_help(const char *name);

#endif
