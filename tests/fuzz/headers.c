/* The values of single headers and parameters of the query, given to what reads them. The
 * first byte says which; libmicrohttpd's look-up is replaced by one that finds it, and a
 * list's way to the database ends here. */
#include "build/gen/operations.h"
#include "handlers/app.h"
#include "handlers/list_filters.h"
#include "handlers/new_job.h"
#include "handlers/put.h"
#include "handlers/submit.h"
#include "server/core/utf8.h"
#include "server/http/private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
enum err __wrap_db_submit(struct lanes *lanes, const struct db_op *op);

enum { WAIT_MAX = 60, LIST_OPTIONS = 15, LOCK_BYTES = 1020 };

static const char *given_name, *given;
static struct http http;
static struct config config;
static struct app app;

/* For the objects of this program it stands before the library's. */
const char *MHD_lookup_connection_value(struct MHD_Connection *mhd,
                                        enum MHD_ValueKind kind, const char *key)
{
    (void)mhd;
    (void)kind;
    return strcasecmp(key, given_name) == 0 ? given : NULL;
}

static void must(bool truth, const char *what)
{
    if (!truth) {
        fprintf(stderr, "%s: %s\n", given_name, what);
        abort();
    }
}

/* -- one function a header ----------------------------------------------------------- */

static void prefer(struct request *req)
{
    int64_t seconds = -1;

    must(req_wait_seconds(req, &seconds) == ERR_OK, "a Prefer is never an error");
    must(seconds >= 0 && seconds <= WAIT_MAX, "seconds out of bounds");
    const char *applied = req_reply_header(req, "Preference-Applied");
    must(seconds == 0 || applied != NULL, "applied and not said");
    must(applied == NULL || strcasestr(given, "wait=") != NULL, "nobody asked");
    size_t digits = strncmp(given, "wait=", 5) == 0 ? strspn(given + 5, "0123456789") : 0;
    if (digits > 0 && digits < 10 && given[5 + digits] == '\0') {
        long asked = strtol(given + 5, NULL, 10);
        must(seconds == (asked < WAIT_MAX ? asked : WAIT_MAX), "other seconds");
    }
}

static void matches(struct request *req)
{
    const char *tags = if_match(req);

    must(tags != NULL, "a condition is dropped");
    must(strcmp(tags, "*") == 0
             ? strcmp(given, "*") == 0
             : *tags == '-' && strspn(tags + 1, "0123456789abcdef,") == strlen(tags + 1),
         "more than tags");
}

static void matches_none(struct request *req)
{
    bool is_any = strspn(given, " \t*") == strlen(given);

    req_set_header(req, "ETag", "\"33-7\"");
    req_reply(req, 200, NULL, "{}", 2);
    must(req->status == 200 || (req->status == 304 && req->reply_len == 0), "a status");
    must(req->status == 200 || is_any || strstr(given, "\"33-7\"") != NULL,
         "not modified, but not named either");
    must(req->status == 304 || strcmp(given, "\"33-7\"") != 0, "named and sent");
}

static void key(struct request *req)
{
    const char *read = NULL;
    size_t len = strlen(given), visible = 0;

    while (given[visible] > ' ' && given[visible] < 0x7f)
        visible++;
    bool good = len >= 1 && len <= 255 && visible == len;
    must((put_read_key(req, &read) == ERR_OK) == good, "a key, or none");
    must(!good || strcmp(read, given) == 0, "another key");
}

static bool is_lower_hex(const char *text, size_t n)
{
    return strspn(text, "0123456789abcdef") >= n;
}

static void trace(struct request *req)
{
    struct new_job job = {
        .delete_policy = "never", .scheduled_at = INT64_MIN, .deadline = INT64_MIN};
    struct db_value v[INSERT_PARAMS];
    struct json_error error;
    enum json_type type;

    new_job_put(req, &job, false, v);
    const struct db_value *options = &v[LIST_OPTIONS];
    bool good = strlen(given) == 55 && is_lower_hex(given, 2) && given[2] == '-' &&
                is_lower_hex(given + 3, 32) && given[35] == '-' &&
                is_lower_hex(given + 36, 16) && given[52] == '-' &&
                is_lower_hex(given + 53, 2) && strncmp(given, "ff", 2) != 0;
    must(good != options->null, "a trace, or none");
    must(options->null ||
             json_check(options->text, (size_t)options->len, &type, &error) == ERR_OK,
         "options that are not JSON");
}

static void filter(struct request *req)
{
    struct db_value more = db_null();
    struct json_error error;
    enum json_type type;

    if (list_filters_read(req, &more) != ERR_OK || more.null)
        return;
    must(json_check(more.text, (size_t)more.len, &type, &error) == ERR_OK &&
             type == JSON_OBJECT,
         "filters that are no JSON object");
}

static void number(struct request *req)
{
    int64_t n = -7;
    bool flag = false;
    enum err e = req_query_int(req, "number", 1, 200, &n);

    must(e == ERR_OK ? n >= 1 && n <= 200 : n == -7, "a number out of bounds");
    e = req_query_bool(req, "number", &flag);
    must(e == ERR_OK || !flag, "a flag that was not given");
}

/* -- cursors ------------------------------------------------------------------------- */

static const struct db_value *asked; /* by a list, of the database */
static int n_asked;

enum err __wrap_db_submit(struct lanes *lanes, const struct db_op *op)
{
    (void)lanes;
    asked = op->values;
    n_asked = sql_params(op->sql);
    return ERR_OK;
}

/* Digits and small letters that stand for 1 to JOB_ID_MAX; 0: something else. */
static int64_t id_of(const char *text, int base)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    int64_t id = 0;

    if (*text == '\0')
        return 0;
    for (; *text != '\0'; text++) {
        const char *digit = strchr(digits, *text);
        if (digit == NULL || digit - digits >= base)
            return 0;
        id = id * base + (digit - digits);
        if (id > JOB_ID_MAX)
            return 0;
    }
    return id;
}

static void must_ask(enum err e, bool good, int64_t id, const char *text)
{
    must((e == ERR_OK) == good, "a cursor of this list, or of another");
    if (!good)
        return;
    for (const struct db_value *v = asked; v < asked + n_asked; v++) {
        if (text != NULL ? v->text != NULL && strcmp(v->text, text) == 0 : v->num == id)
            return;
    }
    must(false, "the list goes on elsewhere");
}

static void jobs_cursor(struct request *req)
{
    int64_t id = *given == 'd' ? id_of(given + 1, 36) : 0;

    must_ask(list_jobs(req), id > 0, id, NULL);
}

static void operations_cursor(struct request *req)
{
    int64_t id = id_of(given, 10);

    must_ask(list_operations(req), id > 0, id, NULL);
}

static void events_cursor(struct request *req)
{
    size_t len = strlen(given);

    req->match.params[0] = (struct path_param){"jobId", "7", 5, 1};
    req->match.n_params = 1;
    must_ask(list_job_events(req), is_lower_hex(given, len) && len % 10 == 0 && len != 10,
             0, given);
}

static void schedules_cursor(struct request *req)
{
    size_t len = strlen(given), named = 1;

    while (named < len &&
           (isalnum((unsigned char)given[named]) || strchr("_.:-", given[named]) != NULL))
        named++;
    bool good = *given == 'n' && len > 1 && len <= 129 && named == len;
    must_ask(list_schedules(req), good, 0, given + 1);
}

static void locks_cursor(struct request *req)
{
    static const char hex[] = "0123456789abcdef";
    char lock[LOCK_BYTES + 1];
    size_t len = strlen(given), n = 0;

    while (n < LOCK_BYTES && 2 * n + 1 < len && isxdigit((unsigned char)given[2 * n]) &&
           isxdigit((unsigned char)given[2 * n + 1])) {
        lock[n] = (char)((strchr(hex, tolower((unsigned char)given[2 * n])) - hex) * 16 +
                         (strchr(hex, tolower((unsigned char)given[2 * n + 1])) - hex));
        n++;
    }
    lock[n] = '\0';
    bool good = n > 0 && 2 * n == len && strlen(lock) == n && utf8_is_good(lock, n);
    must_ask(list_locks(req), good, 0, lock);
}

static const struct {
    const char *name;
    void (*check)(struct request *req);
} readers[] = {
    {"Prefer", prefer},
    {"If-Match", matches},
    {"If-None-Match", matches_none},
    {"traceparent", trace},
    {"id", filter},
    {"Idempotency-Key", key},
    {"metadata", filter},
    {"worker", filter},
    {"scheduled_after", filter},
    {"number", number},
    {"cursor", jobs_cursor},
    {"cursor", operations_cursor},
    {"cursor", schedules_cursor},
    {"cursor", locks_cursor},
    {"cursor", events_cursor},
};

/* -- one request --------------------------------------------------------------------- */

static void release(struct request *req)
{
    for (struct arena_block *b = req->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(req->reply);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static struct request req;
    size_t which = size > 0 ? data[0] % (sizeof readers / sizeof *readers) : 0;
    char *text = malloc(size + 1);

    if (text == NULL || size == 0 || size > 16384) {
        free(text);
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    /* What a parameter of the query has gone through before. */
    bool is_query =
        islower((unsigned char)*readers[which].name) && readers[which].check != trace;
    if (!is_query || utf8_is_good(text, strlen(text))) {
        given = text;
        given_name = readers[which].name;
        config.wait_max_seconds = WAIT_MAX;
        http.options.config = &config;
        http.options.context = &app;
        memset(&req, 0, offsetof(struct request, first));
        req.http = &http;
        req.mhd = (struct MHD_Connection *)(uintptr_t)&req; /* not looked into */
        req.method = "GET";
        req.arena = req.first;
        req.room = sizeof req.first;
        req.last_error = &req.errors;
        readers[which].check(&req);
        release(&req);
    }
    free(text);
    return 0;
}
