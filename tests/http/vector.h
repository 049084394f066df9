/* vector: one request of tests/http/vectors, a file each, that two readers of HTTP could
 * read differently, or that says "read me exactly so".
 *
 *     What: CL and TE                         its name
 *     RFC: RFC 9112, 6.3                      the section that speaks of it
 *     Asks: ...                               what the section asks for
 *     Answer: 400 or none                     none: the connection ends without one
 *     Answer of libmicrohttpd 1: 400          where that decides by itself
 *     Parser: libmicrohttpd 1 (why)           the older one cannot see it
 *     Then: close                             or next: a further request is answered
 *
 *     GET / HTTP/1.1\r\n                      the bytes, with C's escapes; the ends of
 * the Host: localhost\r\n                     lines of the file do not count
 *
 * Plain data, of the test's thread. */
#ifndef BELAY_TESTS_HTTP_VECTOR_H
#define BELAY_TESTS_HTTP_VECTOR_H

#include <stdbool.h>
#include <stddef.h>

enum { VECTORS_MAX = 512, VECTOR_BYTES_MAX = 4096, VECTOR_ANSWERS_MAX = 2 };

struct vector {
    char name[96];
    char bytes[VECTOR_BYTES_MAX];
    size_t len;
    int answers[VECTOR_ANSWERS_MAX]; /* one of these; 0: none at all */
    bool closes;
};

/* Those that are for this libmicrohttpd, by name of file. Fails the test when a file is
 * not whole. The array is static memory. */
size_t vectors_load(const struct vector **out);

#endif
