/* Options are rows of a table, and so are their checks: what can be seen without the
 * server (a number is a number, JSON is JSON) is checked here, before anything is sent;
 * what a value may be is the server's to say, and it says it with the same care.
 * Rejected: getopt_long(), which knows neither types nor which member an option is. */
#include "server/cli/client.h"
#include "server/cli/verb.h"
#include "server/core/cleanup.h"
#include "server/core/nearest.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

/* The options that stand in no table of a verb: the first is for all, the others are for
 * the verbs that ask a server. */
static const struct verb_option common[] = {
    {"help", NULL, "this text", OPTION_YES, NULL},
    {"url", "URL", "the server; else BELAY_URL, else " CLIENT_URL, OPTION_TEXT, NULL},
    {"json", NULL, "print the server's JSON as it comes", OPTION_YES, NULL},
    {.name = NULL}};

int usage_error(const struct call *call, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "belay %s: ", call->verb->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nusage: belay %s %s\n", call->verb->name, call->verb->synopsis);
    return 2;
}

/* -- reading ------------------------------------------------------------------------- */

static const struct verb_option *find_in(const struct verb_option *o, const char *name,
                                         size_t len)
{
    for (; o != NULL && o->name != NULL; o++) {
        if (strlen(o->name) == len && strncmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

static const struct verb_option *find_option(const struct verb *verb, const char *name,
                                             size_t len)
{
    const struct verb_option *o = find_in(verb->options, name, len);

    if (o != NULL)
        return o;
    o = find_in(common, name, len);
    return verb->is_client || o == &common[0] ? o : NULL;
}

/* The nearest among its own options and the common ones. */
static bool unknown_option(const struct call *call, const char *name, size_t len)
{
    const char *words[GIVEN_MAX];
    char typed[64];
    size_t n = 0;

    for (const struct verb_option *o = call->verb->options; o != NULL && o->name != NULL;
         o++)
        words[n++] = o->name;
    for (const struct verb_option *o = common; o->name != NULL; o++)
        words[n++] = o->name;
    words[n] = NULL;
    snprintf(typed, sizeof typed, "%.*s", (int)len, name);
    const char *meant = nearest(typed, words);
    usage_error(call, "--%s: there is no such option%s%s%s", typed,
                meant != NULL ? "; did you mean --" : "", meant != NULL ? meant : "",
                meant != NULL ? "?" : "");
    return false;
}

/* JSON's numbers and no others: strtod() would also take "inf", "0x10", "1." and "01",
 * and the server would answer that the body is not JSON. A parser of JSON takes blanks
 * around it. */
static bool is_number(const char *text, bool whole)
{
    json_t *number = json_loads(text, JSON_DECODE_ANY, NULL);
    bool good = (whole ? json_is_integer(number) : json_is_number(number)) &&
                text[strspn(text, "-0123456789.eE+")] == '\0';

    json_decref(number);
    return good;
}

/* NULL when the value is of its type, else what it should be. */
static const char *wrong_type(const struct verb_option *o, const char *value)
{
    json_error_t error;

    if (o->type == OPTION_INT || o->type == OPTION_IDS)
        return is_number(value, true) ? NULL : "a whole number";
    if (o->type == OPTION_NUMBER)
        return is_number(value, false) ? NULL : "a number";
    if (o->type != OPTION_OBJECT)
        return NULL;
    json_t *parsed = json_loads(value, JSON_DECODE_INT_AS_REAL, &error);
    bool is_object = json_is_object(parsed);
    json_decref(parsed);
    return is_object ? NULL : "a JSON object, as '{\"seconds\":60}'";
}

static bool add_given(struct call *call, const struct verb_option *o, const char *value)
{
    const char *right = value != NULL ? wrong_type(o, value) : NULL;

    if (right != NULL) {
        usage_error(call, "--%s: \"%s\" is not right; it should be %s", o->name, value,
                    right);
        return false;
    }
    if (call->n_given == GIVEN_MAX) {
        usage_error(call, "more than %d options", GIVEN_MAX);
        return false;
    }
    call->given[call->n_given++] = (struct given){.option = o, .value = value};
    return true;
}

/* --name VALUE, --name=VALUE or --name; *i moves on when the value is the next argument,
 * whatever it begins with, so that --priority -5 works. */
static bool take_option(struct call *call, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *value = NULL;
    size_t len = strcspn(name, "=");
    const struct verb_option *o = find_option(call->verb, name, len);

    if (o == NULL)
        return unknown_option(call, name, len);
    if (name[len] == '=')
        value = name + len + 1;
    if (o->value == NULL && value != NULL) {
        usage_error(call, "--%s takes no value", o->name);
        return false;
    }
    if (o->value != NULL && value == NULL) {
        if (*i + 1 >= argc) {
            usage_error(call, "--%s needs a value: --%s %s", o->name, o->name, o->value);
            return false;
        }
        value = argv[++*i];
    }
    return add_given(call, o, value);
}

/* What is no option: ids, names, args. */
static bool take_word(struct call *call, const char *word)
{
    if (call->n_words < call->verb->most_words && call->n_words < WORDS_MAX) {
        call->words[call->n_words++] = word;
        return true;
    }
    usage_error(call, "%s: nothing more was expected here", word);
    return false;
}

static const char *server_url(const struct call *call)
{
    const char *url = call_text(call, "url");

    if (url == NULL)
        url = getenv("BELAY_URL");
    return url != NULL && url[0] != '\0' ? url : CLIENT_URL;
}

/* "-" alone is a word: it stands for stdin. */
static bool take_argument(struct call *call, int argc, char **argv, int *i)
{
    if (strcmp(argv[*i], "-h") == 0)
        return add_given(call, &common[0], NULL);
    if (strncmp(argv[*i], "--", 2) == 0)
        return take_option(call, argc, argv, i);
    if (argv[*i][0] == '-' && argv[*i][1] != '\0') {
        usage_error(call, "%s: there is no such option", argv[*i]);
        return false;
    }
    return take_word(call, argv[*i]);
}

bool call_parse(struct call *call, const struct verb *verb, int argc, char **argv)
{
    bool good = true, only_words = false;

    *call = (struct call){.verb = verb};
    for (int i = 0; i < argc && good; i++) {
        if (only_words)
            good = take_word(call, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            only_words = true;
        else
            good = take_argument(call, argc, argv, &i);
    }
    call->url = server_url(call);
    call->json = call_has(call, "json");
    if (!good || call->n_words >= verb->least_words || call_has(call, "help"))
        return good;
    usage_error(call, "%.*s is missing", (int)strcspn(verb->synopsis, " "),
                verb->synopsis);
    return false;
}

/* -- what was given ------------------------------------------------------------------ */

/* The last one wins, so that an alias can set what the call then overrides. */
static const struct given *last_given(const struct call *call, const char *option)
{
    for (int i = call->n_given - 1; i >= 0; i--) {
        if (strcmp(call->given[i].option->name, option) == 0)
            return &call->given[i];
    }
    return NULL;
}

const char *call_text(const struct call *call, const char *option)
{
    const struct given *g = last_given(call, option);

    return g != NULL ? g->value : NULL;
}

bool call_has(const struct call *call, const char *option)
{
    return last_given(call, option) != NULL;
}

int64_t call_int(const struct call *call, const char *option, int64_t otherwise)
{
    const char *text = call_text(call, option);

    return text != NULL ? strtoll(text, NULL, 10) : otherwise;
}

bool call_job_id(const struct call *call, int64_t *out)
{
    const char *word = call->words[0];

    errno = 0;
    *out = strtoll(word, NULL, 10);
    if (word[0] != '\0' && word[strspn(word, "0123456789")] == '\0' && errno == 0)
        return true;
    usage_error(call, "\"%s\" is not the id of a job; it should be a number", word);
    return false;
}

/* Every value of an option that may be given more than once. */
static void add_list(const struct call *call, const struct verb_option *o,
                     struct buf *out)
{
    char before = '[';

    for (int i = 0; i < call->n_given; i++) {
        if (call->given[i].option != o)
            continue;
        buf_addc(out, before);
        if (o->type == OPTION_IDS)
            buf_adds(out, call->given[i].value);
        else
            buf_add_json_string(out, call->given[i].value, strlen(call->given[i].value));
        before = ',';
    }
    buf_addc(out, ']');
}

void call_body(const struct call *call, struct buf *out)
{
    for (int i = 0; i < call->n_given; i++) {
        const struct given *g = &call->given[i];
        if (g->option->param == NULL || g != last_given(call, g->option->name))
            continue;
        buf_addf(out, ",\"%s\":", g->option->param);
        if (g->option->type == OPTION_YES)
            buf_adds(out, "true");
        else if (g->option->type == OPTION_LIST || g->option->type == OPTION_IDS)
            add_list(call, g->option, out);
        else if (g->option->type == OPTION_TEXT)
            buf_add_json_string(out, g->value, strlen(g->value));
        else
            buf_adds(out, g->value);
    }
}

void call_query(const struct call *call, struct buf *out)
{
    char before = '?';

    for (int i = 0; i < call->n_given; i++) {
        const struct given *g = &call->given[i];
        if (g->option->param == NULL || g != last_given(call, g->option->name))
            continue;
        buf_addf(out, "%c%s=", before, g->option->param);
        client_escape(out, g->value != NULL ? g->value : "true");
        before = '&';
    }
}

/* -- help ---------------------------------------------------------------------------- */

static void option_help(const struct verb_option *o, FILE *out)
{
    char left[40];

    snprintf(left, sizeof left, "--%s%s%s", o->name, o->value != NULL ? " " : "",
             o->value != NULL ? o->value : "");
    fprintf(out, "  %-26s %s\n", left, o->help);
}

void verb_print_help(const struct verb *verb, FILE *out)
{
    fprintf(out, "usage: belay %s %s\n\n%s\n\noptions:\n", verb->name, verb->synopsis,
            verb->summary);
    for (const struct verb_option *o = verb->options; o != NULL && o->name != NULL; o++)
        option_help(o, out);
    for (const struct verb_option *o = common; o->name != NULL; o++) {
        if (verb->is_client || o == &common[0])
            option_help(o, out);
    }
    fprintf(out, "\nexamples:\n%s", verb->examples);
}
