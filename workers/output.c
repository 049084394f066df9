/* Bytes in, valid UTF-8 out, in a ring of fixed size: a program may write for ever and
 * costs no more than its tail. Rejected: a file for the output (it fills the disk, and
 * somebody must delete it); cleaning while it arrives (a character may be cut between two
 * reads, and most of a long output is thrown away anyhow). */
#include "workers/output.h"

#include "server/core/cleanup.h"

#include <jansson.h>
#include <string.h>

/* What the rest of the service takes; deeper documents are kept as text. */
enum { JSON_DEPTH_MOST = 64 };

enum { LOG_BURST = 100, LOG_LINES_PER_SECOND = 20, MS_A_SECOND = 1000 };

/* -- UTF-8 -------------------------------------------------------------------------- */

/* Well-formed byte sequences (The Unicode Standard, table 3-7): no second spelling of a
 * character, no surrogates, nothing beyond U+10FFFF. */
static const struct {
    unsigned char first, last; /* of the first byte */
    unsigned char low, high;   /* of the second */
    size_t len;
} sequences[] = {
    {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Length of the well-formed character at `p`, or 0; NUL counts as none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t row = 0, n = sizeof sequences / sizeof sequences[0];

    while (row < n && (p[0] < sequences[row].first || p[0] > sequences[row].last))
        row++;
    if (row == n || sequences[row].len > left)
        return 0;
    for (size_t i = 1; i < sequences[row].len; i++) {
        unsigned char low = i == 1 ? sequences[row].low : 0x80;
        unsigned char high = i == 1 ? sequences[row].high : 0xbf;
        if (p[i] < low || p[i] > high)
            return 0;
    }
    return sequences[row].len;
}

void output_add_clean(struct buf *b, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t from = 0, at = 0;

    while (at < len) {
        size_t n = utf8_length(p + at, len - at);
        if (n > 0) {
            at += n;
            continue;
        }
        buf_add(b, text + from, at - from);
        buf_adds(b, "\xef\xbf\xbd");
        from = ++at;
    }
    buf_add(b, text + from, at - from);
}

/* -- tail --------------------------------------------------------------------------- */

void output_tail_add(struct output_tail *t, const char *bytes, size_t len)
{
    if (len > OUTPUT_TAIL_BYTES) {
        t->total += len - OUTPUT_TAIL_BYTES;
        bytes += len - OUTPUT_TAIL_BYTES;
        len = OUTPUT_TAIL_BYTES;
    }
    size_t at = t->total % OUTPUT_TAIL_BYTES, first = OUTPUT_TAIL_BYTES - at;
    first = first < len ? first : len;
    memcpy(t->ring + at, bytes, first);
    memcpy(t->ring, bytes + first, len - first);
    t->total += len;
}

static void add_in_order(const struct output_tail *t, struct buf *out)
{
    size_t at = t->total % OUTPUT_TAIL_BYTES;

    if (t->total > OUTPUT_TAIL_BYTES)
        buf_add(out, t->ring + at, OUTPUT_TAIL_BYTES - at);
    buf_add(out, t->ring, t->total > OUTPUT_TAIL_BYTES ? at : (size_t)t->total);
}

/* How deep brackets go; the text is valid JSON. */
static int depth_of(const char *text, size_t len)
{
    int depth = 0, most = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '{' || text[i] == '['))
            most = ++depth > most ? depth : most;
        else if (!in_string && (text[i] == '}' || text[i] == ']'))
            depth--;
    }
    return most;
}

static bool is_json(const char *text, size_t len)
{
    json_t *value = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    bool valid = value != NULL && depth_of(text, len) <= JSON_DEPTH_MOST;

    json_decref(value);
    return valid;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The document without the space around it, or false when the text is none. */
static bool add_document(const struct buf *raw, struct buf *json)
{
    size_t from = 0, end = raw->len;

    while (end > 0 && is_space(raw->text[end - 1]))
        end--;
    while (from < end && is_space(raw->text[from]))
        from++;
    if (from == end || !is_json(raw->text + from, end - from))
        return false;
    buf_add(json, raw->text + from, end - from);
    return true;
}

void output_tail_result(const struct output_tail *t, struct buf *json)
{
    CLEANUP(buf_release) struct buf raw = BUF_INIT, clean = BUF_INIT;
    bool truncated = t->total > OUTPUT_TAIL_BYTES;
    size_t from = 0;

    add_in_order(t, &raw);
    if (t->total == 0 || (!truncated && add_document(&raw, json)))
        return;
    /* The cut may have gone through a character. */
    while (truncated && from < 3 && ((unsigned char)raw.text[from] & 0xc0) == 0x80)
        from++;
    output_add_clean(&clean, raw.text + from, raw.len - from);
    buf_adds(json, "{\"output\":");
    buf_add_json_string(json, clean.text, clean.len);
    buf_adds(json, truncated ? ",\"truncated\":true}" : "}");
    json->failed = json->failed || raw.failed || clean.failed;
}

/* -- lines -------------------------------------------------------------------------- */

void output_lines_finish(struct output_lines *l, output_line_fn *each, void *arg)
{
    CLEANUP(buf_release) struct buf clean = BUF_INIT;

    if (l->len == 0)
        return;
    output_add_clean(&clean, l->line, l->len);
    l->len = 0;
    each(arg, clean.text);
}

void output_lines_add(struct output_lines *l, const char *bytes, size_t len,
                      output_line_fn *each, void *arg)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\r')
            output_lines_finish(l, each, arg);
        else if (l->len < OUTPUT_LINE_BYTES)
            l->line[l->len++] = bytes[i];
    }
}

/* -- budget -------------------------------------------------------------------------- */

void output_budget_init(struct output_budget *b, int64_t now_ms)
{
    *b = (struct output_budget){.credit = LOG_BURST, .at_ms = now_ms};
}

bool output_budget_take(struct output_budget *b, int64_t now_ms)
{
    int64_t earned = (now_ms - b->at_ms) * LOG_LINES_PER_SECOND / MS_A_SECOND;

    if (earned > 0) {
        b->credit = b->credit + earned < LOG_BURST ? b->credit + earned : LOG_BURST;
        b->at_ms = now_ms;
    }
    if (b->credit > 0)
        return b->credit-- > 0;
    b->dropped++;
    return false;
}
