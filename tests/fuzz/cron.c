/* Cron expressions: what PostgreSQL makes of one, against a reader of the letter of the
 * documentation. It refuses what this one refuses, in words, and nothing else; what it
 * takes has the same bits, and a next time that can be found or is none. DATABASE_URL
 * names a database for it. */
#include "db/migrate.h"

#include <ctype.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { FIELDS = 6, DAY = 3, WEEKDAY = 5, CRON_MAX = 200 };

static const char *const months[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                     "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const days[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};
static const struct field {
    int least, most;
    const char *const *names;
} fields[FIELDS] = {{0, 59, NULL}, {0, 59, NULL},   {0, 23, NULL},
                    {1, 31, NULL}, {1, 12, months}, {0, 7, days}};

static PGconn *db;

static void must(bool truth, const char *text, const char *what)
{
    if (!truth) {
        fprintf(stderr, "%s: %s%s\n", text, what, PQerrorMessage(db));
        abort();
    }
}

/* -- the strict reader --------------------------------------------------------------- */

/* A number of one to four digits up to `most`; -1: it is none. */
static int number(const char *text, size_t len, int most)
{
    int n = 0;

    if (len == 0 || len > 4)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -1;
        n = n * 10 + text[i] - '0';
    }
    return n <= most ? n : -1;
}

static int value(const struct field *f, const char *text, size_t len)
{
    for (int i = 0; f->names != NULL && f->names[i] != NULL; i++) {
        if (len == 3 && strncasecmp(f->names[i], text, 3) == 0)
            return f->least + i;
    }
    int n = number(text, len, f->most);
    return n >= f->least ? n : -1;
}

static bool range(const struct field *f, const char *text, size_t len, int *low,
                  int *high)
{
    const char *dash = memchr(text, '-', len);
    size_t first = dash != NULL ? (size_t)(dash - text) : len;

    *low = value(f, text, first);
    *high = *low;
    if (dash != NULL)
        *high = value(f, dash + 1, len - first - 1);
    if (f->most == 7 && dash != NULL && len - first == 4 &&
        strncasecmp(dash + 1, "SUN", 3) == 0)
        *high = 7;
    return *low >= 0 && *high >= *low;
}

static bool item(const struct field *f, const char *text, size_t len, uint64_t *mask)
{
    const char *slash = memchr(text, '/', len);
    size_t span = slash != NULL ? (size_t)(slash - text) : len;
    int low = f->least, high = f->most, step = 1;
    bool is_all = span == 1 && *text == '*';

    if (!is_all && !range(f, text, span, &low, &high))
        return false;
    if (slash != NULL)
        step = number(slash + 1, len - span - 1, f->most);
    if (step < 1 || (slash != NULL && !is_all && memchr(text, '-', span) == NULL))
        return false;
    for (int n = low; n <= high; n += step)
        *mask |= UINT64_C(1) << n;
    return true;
}

static bool list(const struct field *f, const char *text, size_t len, uint64_t *mask)
{
    for (const char *at = text, *end = text + len;; at++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        if (!item(f, at, (size_t)(stop - at), mask))
            return false;
        if (comma == NULL)
            return true;
        at = comma;
    }
}

static const char *expanded(const char *text)
{
    static const char *const words[][2] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
    };
    static const char blanks[] = " \t";
    size_t before = strspn(text, blanks), len = strcspn(text + before, blanks);

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (text[before + len + strspn(text + before + len, blanks)] == '\0' &&
            strlen(words[i][0]) == len &&
            strncasecmp(words[i][0], text + before, len) == 0)
            return words[i][1];
    }
    return text;
}

/* The six masks as PostgreSQL prints them, or false. */
static bool read_strictly(const char *text, char *out, size_t room)
{
    const char *at[FIELDS + 1];
    size_t len[FIELDS + 1];
    uint64_t mask[FIELDS] = {1};
    int n = 0;

    for (const char *c = expanded(text); n <= FIELDS; n++) {
        c += strspn(c, " \t");
        if (*c == '\0')
            break;
        at[n] = c;
        len[n] = strcspn(c, " \t");
        c += len[n];
    }
    if (n != FIELDS && n != FIELDS - 1)
        return false;
    for (int i = 0; i < n; i++) {
        int field = FIELDS - n + i;
        mask[field] = 0;
        if (!list(&fields[field], at[i], len[i], &mask[field]))
            return false;
    }
    mask[WEEKDAY] |= mask[WEEKDAY] >> 7;
    snprintf(out, room, "%llu %llu %llu %llu %llu %llu", (unsigned long long)mask[0],
             (unsigned long long)mask[1], (unsigned long long)mask[2],
             (unsigned long long)mask[DAY], (unsigned long long)mask[4],
             (unsigned long long)mask[WEEKDAY]);
    return true;
}

/* -- PostgreSQL ---------------------------------------------------------------------- */

static const char statement[] =
    "SELECT concat_ws(' ', (c).second, (c).minute, (c).hour, (c).day, (c).month, "
    "(c).weekday), belay.cron_next($1, 'Europe/Berlin', '2026-03-28 12:00Z') > "
    "'2026-03-28 12:00Z' FROM (SELECT belay.cron_parse($1) AS c OFFSET 0) x";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *url = getenv("DATABASE_URL");
    struct buf why = BUF_INIT;

    (void)argc;
    (void)argv;
    if (url == NULL || migrate(url, NULL, &why) != ERR_OK) {
        fprintf(stderr, "DATABASE_URL: %s\n", url == NULL ? "none" : why.text);
        exit(1);
    }
    db = PQconnectdb(url);
    PGresult *r = PQprepare(db, "parse", statement, 1, NULL);
    must(PQresultStatus(r) == PGRES_COMMAND_OK, "prepare", "");
    PQclear(r);
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char text[CRON_MAX + 1], expected[200];
    const char *values[] = {text};

    if (size > CRON_MAX)
        return 0;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\0' || data[i] >= 0x80)
            return 0; /* other readers have refused it */
    }
    memcpy(text, data, size);
    text[size] = '\0';
    bool good = read_strictly(text, expected, sizeof expected);
    PGresult *r = PQexecPrepared(db, "parse", 1, values, NULL, NULL, 0);
    if (PQresultStatus(r) == PGRES_TUPLES_OK) {
        must(good, text, "taken");
        must(strcmp(PQgetvalue(r, 0, 0), expected) == 0, text, expected);
        must(PQgetisnull(r, 0, 1) || *PQgetvalue(r, 0, 1) == 't', text, "a time before");
    } else {
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        must(!good, text, "refused: ");
        must(state != NULL && strcmp(state, "22023") == 0, text, "not in our words: ");
    }
    PQclear(r);
    return 0;
}
