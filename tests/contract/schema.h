/* schema: does a JSON value look as its JSON Schema says?
 *
 *     const char *why = schema_mismatch(document, schema, value);
 *     cr_expect_null(why, "%s", why);
 *
 * The part of JSON Schema that openapi.json uses: $ref within the document, type (a word
 * or a list), properties, required, additionalProperties, items, enum, oneOf, anyOf,
 * minimum, maximum, minLength, maxLength, minItems, maxItems. A keyword that is neither
 * checked nor a mere remark is a mismatch, so that nothing is believed unread. */
#ifndef BELAY_TESTS_CONTRACT_SCHEMA_H
#define BELAY_TESTS_CONTRACT_SCHEMA_H

#include <jansson.h>

/* NULL when it does; else what is wrong, beginning with where. Lives as long as the test.
 */
const char *schema_mismatch(const json_t *document, const json_t *schema,
                            const json_t *value);

/* Follows a $ref, if it is one. */
const json_t *schema_resolve(const json_t *document, const json_t *node);

#endif
