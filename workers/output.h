/* output: what a program wrote, in bounded memory.
 *
 * A tail keeps the last OUTPUT_TAIL_BYTES of a stream of any length; lines cuts a stream
 * into lines. What programs write is bytes; what leaves here is valid UTF-8 without NUL:
 * anything else becomes U+FFFD. One thread. */
#ifndef BELAY_WORKERS_OUTPUT_H
#define BELAY_WORKERS_OUTPUT_H

#include "server/core/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUTPUT_TAIL_BYTES = 64 * 1024, OUTPUT_LINE_BYTES = 480 };

/* All zero is empty. */
struct output_tail {
    uint64_t total;
    char ring[OUTPUT_TAIL_BYTES];
};

void output_tail_add(struct output_tail *t, const char *bytes, size_t len);

/* The result that the stream makes, as JSON text: the stream itself when all of it is one
 * JSON document, else {"output": its last 64 KiB as a string}, with "truncated":true when
 * there was more. Nothing is added for an empty stream. */
void output_tail_result(const struct output_tail *t, struct buf *json);

/* All zero is empty. A longer line is cut. */
struct output_lines {
    char line[OUTPUT_LINE_BYTES];
    size_t len;
};

typedef void output_line_fn(void *arg, const char *line);

/* Calls `each` for every line that is complete now, without its end (\n or \r) and never
 * for an empty one. */
void output_lines_add(struct output_lines *l, const char *bytes, size_t len,
                      output_line_fn *each, void *arg);
/* At the end of the stream: the last line may lack its end. */
void output_lines_finish(struct output_lines *l, output_line_fn *each, void *arg);

/* How many lines may go to the log: 100 at once, then 20 a second, so that one job cannot
 * drown it. */
struct output_budget {
    int64_t credit, at_ms, dropped; /* dropped: lines that had none */
};
void output_budget_init(struct output_budget *b, int64_t now_ms);
bool output_budget_take(struct output_budget *b, int64_t now_ms);

/* Adds the text as valid UTF-8, without NUL. */
void output_add_clean(struct buf *b, const char *text, size_t len);

#endif
