/* json_check() and the walk over what it takes, against jansson. */
#include "tests/fuzz/json_oracle.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *text = malloc(size > 0 ? size : 1); /* no NUL behind it: reading on is seen */

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    const char *what = json_disagreement(text, size);
    free(text);
    if (what != NULL) {
        fprintf(stderr, "jansson and we: %s\n", what);
        abort();
    }
    return 0;
}
