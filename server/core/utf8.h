/* utf8: what is well-formed (RFC 3629: no overlong forms, no surrogates, nothing above
 * U+10FFFF). Any thread; nothing is allocated.
 *
 *     if (!utf8_is_good(text, len))
 *         return req_fail(req, ERR_BAD_QUERY, "%s is not UTF-8", name); */
#ifndef BELAY_CORE_UTF8_H
#define BELAY_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the character at `text`, 1 to 4, or 0 when it is malformed or cut. `left`
 * counts the bytes up to the end of the text and is at least 1. */
size_t utf8_len(const char *text, size_t left);

bool utf8_is_good(const char *text, size_t len);

#endif
