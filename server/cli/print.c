/* Tables are measured first and printed second: a page is at most 200 rows, so all of it
 * is in memory anyway. Widths count bytes; names in the API are ASCII. Rejected: to print
 * through column(1) or a pager, which a client in a container does not have. */
#include "server/cli/print.h"

#include "server/core/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS_MAX = 16, NAME_WIDTH = 18 };

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* An escape character in a job's message would reach the terminal of whoever looks. So
 * would U+0080 to U+009F, two bytes in UTF-8 from 0xc2 0x80 on: U+009B is "ESC [" in one
 * character. */
static void add_plain(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        bool is_c1 = (unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0;
        if ((unsigned char)*text < ' ' || *text == 0x7f || is_c1)
            buf_addc(out, '?');
        else
            buf_addc(out, *text);
        text += is_c1 && text[1] != '\0';
    }
}

static void add_list(struct buf *out, const json_t *list)
{
    size_t i;
    const json_t *item;

    if (json_array_size(list) == 0)
        buf_addc(out, '-');
    json_array_foreach(list, i, item)
    {
        if (i > 0)
            buf_addc(out, ',');
        print_words(out, item);
    }
}

void print_words(struct buf *out, const json_t *value)
{
    CLEANUP(free_ptr) char *dumped = NULL;

    if (json_is_string(value)) {
        add_plain(out, json_string_value(value));
    } else if (json_is_integer(value)) {
        buf_addf(out, "%" PRId64, (int64_t)json_integer_value(value));
    } else if (json_is_real(value)) {
        buf_addf(out, "%.15g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        buf_adds(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_array(value)) {
        add_list(out, value);
    } else if (json_is_object(value)) {
        dumped = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
        add_plain(out, dumped != NULL ? dumped : "");
    } else {
        buf_addc(out, '-');
    }
}

/* -- colour -------------------------------------------------------------------------- */

/* https://no-color.org: any value but the empty one turns it off. */
static bool use_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return (no == NULL || no[0] == '\0') && isatty(STDOUT_FILENO) != 0 && term != NULL &&
           strcmp(term, "dumb") != 0;
}

/* The escape sequence of a status; "" for none. */
static const char *colour_of(const char *key, const char *text)
{
    static const char *const colours[][2] = {
        {"doing", "\033[36m"},   {"succeeded", "\033[32m"}, {"failed", "\033[31m"},
        {"aborted", "\033[33m"}, {"cancelled", "\033[33m"},
    };

    if (strcmp(key, "status") != 0 || !use_colour())
        return "";
    for (size_t i = 0; i < sizeof colours / sizeof *colours; i++) {
        if (strcmp(text, colours[i][0]) == 0)
            return colours[i][1];
    }
    return "";
}

/* Padded inside of the colour, so that the escape sequences do not count as width. */
static void put_cell(const char *key, const char *text, int width)
{
    const char *colour = colour_of(key, text);

    printf("%s%-*s%s", colour, width, text, colour[0] != '\0' ? "\033[0m" : "");
}

/* -- tables -------------------------------------------------------------------------- */

/* Times without their fraction: a table is for looking, --json for computing. */
static void cell_words(struct buf *out, const json_t *row, const struct column *column)
{
    size_t len = strlen(column->key);
    char *dot;

    buf_clear(out);
    print_words(out, json_object_get(row, column->key));
    if (len < 2 || strcmp(column->key + len - 2, "at") != 0)
        return;
    dot = strchr(out->text, '.');
    if (dot != NULL) {
        dot[0] = 'Z';
        dot[1] = '\0';
    }
}

/* The widest cell of a column; rows are in memory anyway. */
static int width_of(const json_t *rows, const struct column *column)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    size_t i, width = strlen(column->title);
    const json_t *row;

    json_array_foreach(rows, i, row)
    {
        cell_words(&text, row, column);
        if (strlen(text.text) > width)
            width = strlen(text.text);
    }
    return (int)width;
}

/* The titles when row is NULL. The last column is not padded: no line ends in blanks. */
static void print_row(const json_t *row, const struct column *columns, const int *widths)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;

    for (int i = 0; columns[i].title != NULL; i++) {
        if (row != NULL)
            cell_words(&text, row, &columns[i]);
        put_cell(columns[i].key, row != NULL ? text.text : columns[i].title,
                 columns[i + 1].title != NULL ? widths[i] : 0);
        fputs(columns[i + 1].title != NULL ? "  " : "\n", stdout);
    }
}

void print_table(const json_t *rows, const struct column *columns)
{
    int widths[COLUMNS_MAX] = {0};
    size_t i;
    const json_t *row;

    for (int k = 0; columns[k].title != NULL && k < COLUMNS_MAX; k++)
        widths[k] = width_of(rows, &columns[k]);
    print_row(NULL, columns, widths);
    json_array_foreach(rows, i, row) print_row(row, columns, widths);
}

/* -- one job ------------------------------------------------------------------------- */

/* A job has 22 members, and most say nothing most of the time; --json has them all. */
static bool says_nothing(const json_t *value)
{
    return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

void print_job(json_t *job)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    const char *key;
    json_t *value;

    json_object_foreach(job, key, value)
    {
        if (strcmp(key, "actions") == 0 || says_nothing(value))
            continue;
        buf_clear(&text);
        print_words(&text, value);
        printf("%-*s  ", NAME_WIDTH, key);
        put_cell(key, text.text, 0);
        putchar('\n');
    }
}

/* -- problems ------------------------------------------------------------------------ */

/* detail (code), as RFC 9457 means it: the detail is for people, the code for programs.
 * What is no problem document (a proxy answered) is told by its status. */
void print_problem(const struct call *call, const struct answer *a)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    const json_t *errors = json_object_get(a->json, "errors"), *error;
    const char *code = json_text(a->json, "code");
    size_t i;

    add_plain(&text, json_text(a->json, "detail"));
    if (text.len == 0)
        add_plain(&text, json_text(a->json, "title"));
    if (text.len == 0)
        buf_addf(&text, "%s answered with status %ld", call->url, a->status);
    fprintf(stderr, "belay %s: %s%s%s%s\n", call->verb->name, text.text,
            code[0] != '\0' ? " (" : "", code, code[0] != '\0' ? ")" : "");
    if (json_array_size(errors) < 2) /* the detail has said it */
        return;
    json_array_foreach(errors, i, error)
    {
        buf_clear(&text);
        add_plain(&text, json_text(error, "pointer"));
        buf_adds(&text, ": ");
        add_plain(&text, json_text(error, "detail"));
        fprintf(stderr, "  %s\n", text.text);
    }
}
