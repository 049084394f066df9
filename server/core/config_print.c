/* What config.def says, in three forms: a configuration file, --help, and the page
 * docs/configuration.md. A secret is masked as a whole: connection strings hold passwords
 * in more places than a mask could know. */
#include "server/core/cleanup.h"
#include "server/core/config_table.h"

#include <inttypes.h>
#include <string.h>

static void print_value(const struct config *c, const struct setting *s, FILE *out)
{
    CLEANUP(buf_release) struct buf quoted = BUF_INIT;
    const void *at = (const char *)c + s->offset;

    if (s->type == SETTING_INT) {
        fprintf(out, "%" PRId64, *(const config_INT *)at);
        return;
    }
    if (s->type == SETTING_AGE) {
        int64_t seconds = *(const config_AGE *)at;
        fprintf(out, "%" PRId64 "%s", seconds, seconds > 0 ? "s" : "");
        return;
    }
    if (s->type == SETTING_BOOL) {
        fputs(*(const config_BOOL *)at ? "true" : "false", out);
        return;
    }
    const char *text = *(char *const *)at;
    if (s->type == SETTING_SECRET && text[0] != '\0')
        text = "********";
    buf_add_json_string(&quoted, text, strlen(text)); /* is a YAML string, too */
    fputs(quoted.text, out);
}

void config_print(const struct config *c, FILE *out)
{
    if (c->file != NULL)
        fprintf(out, "# with the file %s\n", c->file);
    for (const struct setting *s = config_settings; s->flag != NULL; s++) {
        fprintf(out, "%s: ", s->key);
        print_value(c, s, out);
        fputc('\n', out);
    }
}

/* -- --help -------------------------------------------------------------------------- */

static const char *value_name(const struct setting *s)
{
    static const char *const names[] = {
        [SETTING_INT] = " N",     [SETTING_AGE] = " AGE",   [SETTING_BOOL] = "",
        [SETTING_TEXT] = " TEXT", [SETTING_LIST] = " FILE", [SETTING_MAP] = " NAME=N",
        [SETTING_SECRET] = " URL"};

    return names[s->type];
}

void config_print_help(FILE *out)
{
    fprintf(out, "  --config FILE (BELAY_CONFIG)\n"
                 "      file with settings and the declared commands, belay.yaml\n");
    for (const struct setting *s = config_settings; s->flag != NULL; s++) {
        fprintf(out, "  --%s%s%s (%s)\n      %s", s->type == SETTING_BOOL ? "[no-]" : "",
                s->flag, value_name(s), s->env, s->help);
        if (s->type == SETTING_INT)
            fprintf(out, " [%s; %" PRId64 " to %" PRId64 "]\n", s->fallback, s->least,
                    s->most);
        else if (s->fallback[0] != '\0')
            fprintf(out, " [%s]\n", s->fallback);
        else
            fputc('\n', out);
    }
}

/* -- docs/configuration.md ----------------------------------------------------------- */

static const char page_head[] =
    "# Configuration\n"
    "\n"
    "<!-- Written by `make docs` from server/core/config.def. -->\n"
    "\n"
    "Each setting can be given in four ways. The first that is there wins:\n"
    "\n"
    "1. a flag of `belay serve`: `--port 8080`, `--port=8080`; for yes or no\n"
    "   `--listen-notify` and `--no-listen-notify` (or `--no-listen`)\n"
    "2. an environment variable; one that is set to nothing counts as not set\n"
    "3. the file that `--config FILE` or `BELAY_CONFIG` names, in YAML. It may also\n"
    "   declare [commands](exec-tasks.md)\n"
    "4. the default\n"
    "\n"
    "A secret can also be in a file whose path is in the variable of that name with\n"
    "`_FILE` at its end, such as `DATABASE_URL_FILE=/run/secrets/database_url`.\n"
    "\n"
    "An unknown flag, an unknown key and a value out of its range end the start with a\n"
    "message that says where it is and what would be right (exit code 2 for a flag, 78\n"
    "for the rest).\n"
    "\n"
    "```sh\n"
    "belay serve --check-config                   # is all of it right?\n"
    "belay serve --print-config --port 9090       # what would hold, secrets masked\n"
    "```\n"
    "\n"
    "| setting and key in the file | flag | environment | default | range | what it is "
    "|\n"
    "|---|---|---|---|---|---|\n";

/* What may stand there, for the table. */
static void print_range(const struct setting *s, FILE *out)
{
    const char *words = config_words(s);

    if (s->type == SETTING_INT)
        fprintf(out, "%" PRId64 " to %" PRId64, s->least, s->most);
    else if (s->type == SETTING_AGE)
        fputs("as 90d, 12h, 30m, 45s; 0: for ever", out);
    else if (s->type == SETTING_BOOL)
        fputs("true or false", out);
    else if (s->type == SETTING_MAP)
        fprintf(out, "name=N, N from %" PRId64 " to %" PRId64, s->least, s->most);
    else
        fputs(words != NULL ? words : "text", out);
}

void config_print_markdown(FILE *out)
{
    fputs(page_head, out);
    for (const struct setting *s = config_settings; s->flag != NULL; s++) {
        fprintf(out, "| `%s` | `--%s%s` | `%s`%s | %s%s%s | ", s->key,
                s->type == SETTING_BOOL ? "[no-]" : "", s->flag, s->env,
                s->type == SETTING_SECRET ? ", `…_FILE`" : "",
                s->fallback[0] != '\0' ? "`" : "", s->fallback,
                s->fallback[0] != '\0' ? "`" : "none");
        print_range(s, out);
        fprintf(out, " | %s |\n", s->help);
    }
}
