/* main: `belay serve` is belay_run(), `belay migrate` its schema; all other verbs ask a
 * running server. */
#include "server/belay.h"
#include "server/cli/cli.h"
#include "server/serve.h"

#include <string.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return belay_run(&(struct belay_options){.argc = argc - 1, .argv = argv + 1});
    if (argc > 1 && strcmp(argv[1], "migrate") == 0)
        return serve_migrate(argc - 1, argv + 1);
    return cli_main(argc, argv);
}
