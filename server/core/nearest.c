/* The edit distance, row by row in one array. Words further than a third of their length
 * apart are no guesses. Rejected: a library (for one loop), and prefixes (typing errors
 * are as often in the first letters). */
#include "server/core/nearest.h"

#include <stddef.h>
#include <string.h>

enum { WORD_MAX = 63 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to add, drop, change, or swap with their neighbour (the optimal string
 * alignment distance), over the last three rows of its matrix. */
static size_t mistakes(const char *a, const char *b)
{
    size_t len_a = strlen(a), len_b = strlen(b), rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];

    if (len_a > WORD_MAX || len_b > WORD_MAX)
        return WORD_MAX;
    for (size_t k = 0; k <= len_b; k++)
        last[k] = before[k] = k;
    for (size_t i = 1; i <= len_a; i++) {
        row[0] = i;
        for (size_t k = 1; k <= len_b; k++) {
            row[k] = least(least(last[k], row[k - 1]) + 1,
                           last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = least(row[k], before[k - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[len_b];
}

const char *nearest(const char *typed, const char *const *words)
{
    const char *best = NULL;
    size_t fewest = WORD_MAX;

    for (; *words != NULL; words++) {
        size_t n = mistakes(typed, *words);
        if (n < fewest && n * 3 <= strlen(*words)) {
            best = *words;
            fewest = n;
        }
    }
    return best;
}
