/* The verbs that ask no server, and those that main runs. `belay config` reads the
 * settings as `belay serve` would, here and now; it takes no flags of serve but --config,
 * because `belay serve --print-config` is there for the whole command line. */
#include "server/cli/verbs.h"
#include "server/core/cleanup.h"
#include "server/core/config.h"

#include <sysexits.h>

/* -- main's -------------------------------------------------------------------------- */

static const struct verb_option serve_options[] = {
    {"print-config", NULL, "print the settings that would hold, and end", OPTION_YES,
     NULL},
    {"check-config", NULL, "check settings and commands, and end", OPTION_YES, NULL},
    {.name = NULL}};

const struct verb verb_serve = {
    .name = "serve",
    .synopsis = "[--flag VALUE ...]",
    .summary = "serve the API and run jobs",
    .options = serve_options,
    .examples = "  belay serve\n"
                "  DATABASE_URL=postgresql://db/belay belay serve --listen 0.0.0.0\n"
                "  belay serve --config belay.yaml --concurrency 16 --check-config\n",
};

const struct verb verb_migrate = {
    .name = "migrate",
    .synopsis = "[--flag VALUE ...]",
    .summary = "bring the database's schema up to date, and end",
    .examples = "  DATABASE_URL=postgresql://db/belay belay migrate\n",
};

/* -- config -------------------------------------------------------------------------- */

static const struct verb_option config_options[] = {
    {"markdown", NULL, "the page docs/configuration.md instead", OPTION_YES, NULL},
    {"config", "FILE", "the file to read; else BELAY_CONFIG", OPTION_TEXT, NULL},
    {.name = NULL}};

static int run_config(const struct call *call)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    const char *file = call_text(call, "config");
    struct config c;
    int code = 0;

    if (call_has(call, "markdown")) {
        config_print_markdown(stdout);
        return 0;
    }
    if (file != NULL && setenv("BELAY_CONFIG", file, 1) != 0)
        return EXIT_FAILURE;
    if (config_load(&c, 0, NULL, &why) == ERR_OK) {
        config_print(&c, stdout);
    } else {
        fprintf(stderr, "belay config: %s\n", why.text);
        code = EX_CONFIG;
    }
    config_release(&c);
    return code;
}

const struct verb verb_config = {
    .name = "config",
    .synopsis = "[--config FILE] [--markdown]",
    .summary = "print the settings that `belay serve` would have here",
    .options = config_options,
    .examples = "  belay config --config belay.yaml\n"
                "  PORT=9090 belay config | grep port\n",
    .run = run_config,
};
