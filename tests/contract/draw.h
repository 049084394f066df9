/* draw: values drawn from a schema of openapi.json, and now and then ones that violate
 * it.
 *
 *     struct draw d = draw_begin(document, seed);
 *     json_t *body = draw_value(&d, schema, "task");
 *
 * The same seed draws the same values. What is drawn lives as long as the test. One
 * thread. */
#ifndef BELAY_TESTS_CONTRACT_DRAW_H
#define BELAY_TESTS_CONTRACT_DRAW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct draw {
    const json_t *document;
    uint64_t state;
    int violations; /* one in so many values is not what its schema wants; 0: none */
    int depth;
};

struct draw draw_begin(const json_t *document, uint64_t seed);

/* 0 to n - 1; and true once in n times. */
unsigned draw_below(struct draw *d, unsigned n);
bool draw_once_in(struct draw *d, unsigned n);
const char *draw_one_of(struct draw *d, const char *const *texts, unsigned n);

/* `name` is that of the member or parameter: names of tasks and queues are drawn from a
 * few, so that requests have to do with each other. */
json_t *draw_value(struct draw *d, const json_t *schema, const char *name);

/* Any bytes but NUL, CR and LF: of a header, or to be escaped. */
const char *draw_text(struct draw *d);

#endif
