/* spare: memory for requests that have begun, when there is no other.
 *
 *     void *p = malloc(size);
 *     if (p == NULL)
 *         p = spare_take(&http->spare, size);
 *     ...
 *     if (!spare_give_back(&http->spare, p))
 *         free(p);
 *
 * Asked for at the start and not touched until it is needed, so it costs addresses and no
 * memory. It is whole again when the last piece has come back. Threads: the HTTP loop's.
 */
#ifndef BELAY_HTTP_SPARE_H
#define BELAY_HTTP_SPARE_H

#include <stdbool.h>
#include <stddef.h>

struct spare {
    char *bytes; /* NULL: there is none */
    size_t used;
    int pieces; /* that are out */
};

void spare_open(struct spare *s);
void spare_close(struct spare *s);
/* NULL when it is used up. */
void *spare_take(struct spare *s, size_t size);
/* False: p is not of it. */
bool spare_give_back(struct spare *s, const void *p);
/* True when what is left is for those that have begun. */
bool spare_is_short(const struct spare *s);

#endif
