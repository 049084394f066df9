/* A line is formatted once as key=value pairs and then dressed as text, logfmt or JSON.
 * Rejected: a thread that writes for all others, which would hold the last lines, the
 * ones that explain a crash, when it comes; only access lines wait, and only for the end
 * of a turn of the loop. */
#include "server/core/log.h"

#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "server/core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 4096,
    BATCH_BYTES = 4096, /* PIPE_BUF: a pipe does not mix what was written in one piece */
    STUCK_MS = 100,     /* how long a reader that does not read holds up a thread */
    QUOTED_BYTES = 520,
    QUOTED_RING = 4
};

static _Thread_local struct {
    bool on;
    size_t len;
    char text[BATCH_BYTES];
} batch;

/* Written by log_configure() before any thread starts. */
static enum log_format the_format = LOG_TEXT;
static enum log_level the_least = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_format format, enum log_level least)
{
    the_format = format;
    the_least = least;
}

/* The text of a second is made once. */
static void add_time(struct buf *line)
{
    static _Thread_local char text[32];
    static _Thread_local time_t second;
    int64_t us = wall_us();
    struct tm tm;

    if (us / US_PER_SECOND != second) {
        second = us / US_PER_SECOND;
        gmtime_r(&second, &tm);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    buf_addf(line, "%s.%03dZ", text, (int)(us % US_PER_SECOND / US_PER_MS));
}

/* The end of the value that starts at `p`: a quoted string, or all up to the next space.
 * NULL when the quotes are not closed, because the line was too long and was cut. */
static const char *value_end(const char *p)
{
    if (*p != '"')
        return p + strcspn(p, " ");
    for (p++; *p != '\0' && *p != '"'; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
    }
    return *p == '"' ? p + 1 : NULL;
}

/* key=value key="quoted value" ... -> ,"key":"value" */
static void add_pairs_as_json(struct buf *line, const char *pairs)
{
    for (const char *p = pairs; *p != '\0';) {
        const char *equals = strchr(p, '=');
        const char *end = equals != NULL ? value_end(equals + 1) : NULL;
        if (end == NULL)
            return;
        const char *value = equals + 1;
        buf_addc(line, ',');
        buf_add_json_string(line, p, (size_t)(equals - p));
        buf_addc(line, ':');
        if (*value == '"')
            buf_add(line, value, (size_t)(end - value));
        else
            buf_add_json_string(line, value, (size_t)(end - value));
        p = end + strspn(end, " ");
    }
}

static void add_line(struct buf *line, enum log_level level, const char *event,
                     const char *pairs)
{
    if (the_format == LOG_JSON)
        buf_adds(line, "{\"time\":\"");
    else if (the_format == LOG_LOGFMT)
        buf_adds(line, "time=");
    add_time(line);
    if (the_format == LOG_JSON) {
        buf_addf(line, "\",\"level\":\"%s\",\"event\":\"%s\"", level_names[level], event);
        add_pairs_as_json(line, pairs);
        buf_addc(line, '}');
    } else if (the_format == LOG_LOGFMT) {
        buf_addf(line, " level=%s event=%s %s", level_names[level], event, pairs);
    } else {
        buf_addf(line, " %-5s %s %s", level_names[level], event, pairs);
    }
    buf_addc(line, '\n');
}

/* One thread writes at a time: between its look and its write nobody else of this process
 * takes the room that it saw. */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static int64_t untold_lines; /* lost, and not told of yet */
static _Atomic int64_t lost_lines;
static bool cut; /* the last thing written was a part of a line */

int64_t log_lines_lost(void)
{
    return atomic_load(&lost_lines);
}

/* No more than a pipe has room for whenever it says that it has any. The first that finds
 * it stuck waits a little; until it is read again nobody else does. */
static ssize_t write_piece(const char *text, size_t len)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    int ready;

    do
        ready = poll(&out, 1, untold_lines > 0 ? 0 : STUCK_MS);
    while (ready < 0 && errno == EINTR);
    return ready > 0 ? write(STDERR_FILENO, text, len < BATCH_BYTES ? len : BATCH_BYTES)
                     : -1;
}

/* How much was written. */
static size_t write_all(const char *text, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write_piece(text + done, len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
        cut = text[done - 1] != '\n';
    }
    return done;
}

static bool tell_of_lost(void)
{
    CLEANUP(buf_release) struct buf line = BUF_INIT;
    char pairs[40];

    snprintf(pairs, sizeof pairs, "lines=%" PRId64, untold_lines);
    if (cut)
        buf_addc(&line, '\n');
    add_line(&line, LOG_WARN, "log_lost", pairs);
    if (line.failed || write_all(line.text, line.len) < line.len)
        return false;
    untold_lines = 0;
    return true;
}

static void write_out(const char *text, size_t len)
{
    size_t done = 0;
    int64_t lost = 0;

    if (len == 0)
        return;
    pthread_mutex_lock(&writing);
    if (untold_lines == 0 || tell_of_lost())
        done = write_all(text, len);
    for (; done < len; done++)
        lost += text[done] == '\n';
    untold_lines += lost;
    pthread_mutex_unlock(&writing);
    atomic_fetch_add(&lost_lines, lost);
}

void log_flush(void)
{
    write_out(batch.text, batch.len);
    batch.len = 0;
}

void log_batch(bool on)
{
    log_flush();
    batch.on = on;
}

static void put_line(enum log_level level, const struct buf *line)
{
    if (batch.len + line->len > sizeof batch.text)
        log_flush();
    if (!batch.on || line->len > sizeof batch.text) {
        write_out(line->text, line->len);
        return;
    }
    memcpy(batch.text + batch.len, line->text, line->len);
    batch.len += line->len;
    if (level >= LOG_WARN)
        log_flush();
}

PRINTF_LIKE(3, 0)
static void log_line(enum log_level level, const char *event, const char *format,
                     va_list args)
{
    char pairs[LINE_MAX_BYTES];
    CLEANUP(buf_release) struct buf line = BUF_INIT;

    if (level < the_least)
        return;
    vsnprintf(pairs, sizeof pairs, format, args);
    add_line(&line, level, event, pairs);
    if (!line.failed)
        put_line(level, &line);
}

#define LOG_FUNCTION(name, level)                                                        \
    void name(const char *event, const char *format, ...)                                \
    {                                                                                    \
        va_list args;                                                                    \
                                                                                         \
        va_start(args, format);                                                          \
        log_line(level, event, format, args);                                            \
        va_end(args);                                                                    \
    }

LOG_FUNCTION(log_debug, LOG_DEBUG)
LOG_FUNCTION(log_info, LOG_INFO)
LOG_FUNCTION(log_warn, LOG_WARN)
LOG_FUNCTION(log_error, LOG_ERROR)

const char *log_quoted(const char *text)
{
    static _Thread_local char ring[QUOTED_RING][QUOTED_BYTES];
    static _Thread_local unsigned turn;
    CLEANUP(buf_release) struct buf quoted = BUF_INIT;
    char *out = ring[turn++ % QUOTED_RING];

    text = text != NULL ? text : "";
    buf_add_json_string(&quoted, text, strnlen(text, 400));
    if (quoted.len >=
        QUOTED_BYTES) { /* escapes made it long: drop the text, keep the line whole */
        buf_clear(&quoted);
        buf_adds(&quoted, "\"(unprintable)\"");
    }
    memcpy(out, quoted.failed ? "\"\"" : quoted.text, quoted.failed ? 3 : quoted.len + 1);
    return out;
}

int log_once_a_second(_Atomic(int64_t) *last_ms)
{
    int64_t now = clock_ms(), last = atomic_load(last_ms);

    return (last == 0 || now - last >= MS_PER_SECOND) &&
           atomic_compare_exchange_strong(last_ms, &last, now);
}
