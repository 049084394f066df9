/* The table of RFC 3629 (4) as code: the first byte says the length, and four of the
 * first bytes narrow what the second may be (0xe0 and 0xf0: overlong forms; 0xed:
 * surrogates; 0xf4: above U+10FFFF). Rejected: mbrtowc(), which asks the locale. */
#include "server/core/utf8.h"

static bool follows(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

static size_t len_of_three(const unsigned char *p, size_t left)
{
    if (left < 3 || !follows(p[1]) || !follows(p[2]))
        return 0;
    return (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ? 0 : 3;
}

static size_t len_of_four(const unsigned char *p, size_t left)
{
    if (left < 4 || !follows(p[1]) || !follows(p[2]) || !follows(p[3]))
        return 0;
    return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

size_t utf8_len(const char *text, size_t left)
{
    const unsigned char *p = (const unsigned char *)text;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return left > 1 && follows(p[1]) ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef)
        return len_of_three(p, left);
    return p[0] >= 0xf0 && p[0] <= 0xf4 ? len_of_four(p, left) : 0;
}

bool utf8_is_good(const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_len(text + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}
