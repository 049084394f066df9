/* Doubling, from 64 bytes on, so that a document costs a handful of allocations. An empty
 * buf has none: its text is one shared NUL (`buf_empty`), which is never written to, and
 * room 0 tells it apart.
 *
 * Rejected: to end the process when memory runs out; a large answer must not take the
 * running jobs with it. */
#include "server/core/buf.h"

#include "server/core/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char buf_empty[1] = "";

void buf_init(struct buf *b)
{
    *b = BUF_INIT;
}

void buf_release(struct buf *b)
{
    if (b == NULL)
        return;
    if (b->room > 0)
        free(b->text);
    buf_init(b);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->room > 0)
        b->text[0] = '\0';
}

/* Room for `extra` more bytes and the NUL. */
static bool buf_grow(struct buf *b, size_t extra)
{
    size_t need = b->len + extra + 1, room = b->room > 0 ? b->room : 64;

    if (b->failed || need < extra) {
        b->failed = true;
        return false;
    }
    if (need <= b->room)
        return true;
    while (room < need)
        room *= 2;
    char *text = realloc(b->room > 0 ? b->text : NULL, room);
    if (text == NULL) {
        b->failed = true;
        return false;
    }
    b->text = text;
    b->room = room;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
    if (!buf_grow(b, len))
        return;
    if (len > 0)
        memcpy(b->text + b->len, bytes, len);
    b->len += len;
    b->text[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_vaddf(struct buf *b, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    if (len >= 0 && buf_grow(b, (size_t)len)) {
        vsnprintf(b->text + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vaddf(b, format, args);
    va_end(args);
}

static void add_escaped(struct buf *b, unsigned char c)
{
    static const char short_form[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (const char *p = short_form; *p != '\0'; p += 2) {
        if ((unsigned char)*p == c) {
            buf_addc(b, '\\');
            buf_addc(b, p[1]);
            return;
        }
    }
    buf_addf(b, "\\u%04x", c);
}

/* 0x7f needs none in JSON, but terminals act on it. */
static bool needs_no_escape(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

void buf_add_json_string(struct buf *b, const char *text, size_t len)
{
    size_t from = 0;

    buf_addc(b, '"');
    for (size_t i = 0, n; i < len; i += n) {
        unsigned char c = (unsigned char)text[i];
        n = c < 0x80 ? 1 : utf8_len(text + i, len - i);
        if (n > 1 || (n == 1 && needs_no_escape(c)))
            continue;
        buf_add(b, text + from, i - from);
        if (n == 1)
            add_escaped(b, c);
        else
            buf_adds(b, "\\ufffd"); /* the replacement character */
        n = 1;
        from = i + 1;
    }
    buf_add(b, text + from, len - from);
    buf_addc(b, '"');
}

char *buf_detach(struct buf *b)
{
    char *text;

    if (b->failed)
        return NULL;
    text = b->room > 0 ? b->text : calloc(1, 1);
    buf_init(b);
    return text;
}
