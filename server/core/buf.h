/* buf: a growing string.
 *
 *     CLEANUP(buf_release) struct buf b = BUF_INIT;
 *     buf_addf(&b, "{\"id\":%" PRId64 ",\"queue\":", id);
 *     buf_add_json_string(&b, queue, strlen(queue));
 *     buf_addc(&b, '}');
 *     if (b.failed)
 *         return ERR_NO_MEMORY;
 *
 * `text` always ends in NUL and is never NULL; `len` does not count it. When memory runs
 * out, `failed` stays set, later calls do nothing, and one check at the end is enough.
 * One thread at a time. */
#ifndef BELAY_CORE_BUF_H
#define BELAY_CORE_BUF_H

#include "server/core/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *text;
    size_t len, room; /* room 0: `text` is the shared empty string */
    bool failed;
};

extern char buf_empty[1];
#define BUF_INIT ((struct buf){.text = buf_empty})

void buf_init(struct buf *b);
void buf_release(struct buf *b);
void buf_clear(struct buf *b); /* length 0, keeps the memory and clears `failed` */

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_adds(struct buf *b, const char *text);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_vaddf(struct buf *b, const char *format, va_list args) PRINTF_LIKE(2, 0);

/* Adds a quoted and escaped JSON string. A byte that is not UTF-8 becomes \ufffd, so that
 * what we echo of a request cannot break the document. */
void buf_add_json_string(struct buf *b, const char *text, size_t len);

/* Gives the string away (yours to free()) and leaves `b` empty; NULL when `failed`. */
char *buf_detach(struct buf *b);

#endif
