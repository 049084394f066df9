/* log: one line an event, on stderr.
 *
 *     log_info("job_finish", "job=%" PRId64 " status=%s", id, status);
 *
 * The first argument is the event: the name of the operation (operationId = function =
 * event) or of the part of the program. The rest is `key=value` pairs, printed as they
 * are; a value with spaces is quoted by the caller with log_quoted(). Never args, results
 * or tokens.
 *
 * What cannot be written (a full disk, a pipe that nobody reads) is dropped, and the next
 * line that can be comes after a warning, log_lost, of how many were. log_lines_lost() is
 * how many there have been since the start, for the metrics, which a full disk does not
 * stop.
 *
 * Threads: any; a line is one write(), or part of one (log_batch()). The format and the
 * level are set once, before threads start. Logged once, at an edge: http.c for a
 * request, runner.c for a job, main.c for the process; nothing below logs above debug. */
#ifndef BELAY_CORE_LOG_H
#define BELAY_CORE_LOG_H

#include "server/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_LOGFMT, LOG_JSON };

void log_configure(enum log_format format, enum log_level least);

void log_debug(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_info(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_warn(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);
void log_error(const char *event, const char *format, ...) PRINTF_LIKE(2, 3);

/* For a thread that logs a line a request: its lines wait for log_flush(), which it calls
 * before it sleeps, or for 4 KiB of them. A write() each took 32 % of the small requests
 * a second into a pipe and 19 % into a file; together they take 9 %. A warning or an
 * error is written at once, after all that waits. What a crash takes along is the lines
 * of this thread since it last slept. log_batch() begins or ends it, and flushes. */
void log_batch(bool on);
void log_flush(void);

int64_t log_lines_lost(void);

/* Quotes `text` as a JSON string into one of four buffers of this thread (cut at 500
 * bytes); valid until four calls later. */
const char *log_quoted(const char *text);

/* True at most once a second for each `last_ms` (start it at 0): "one log line per second
 * per component". */
int log_once_a_second(_Atomic(int64_t) *last_ms);

#endif
