/* The judge of the replies can say no. */
#include "tests/contract/schema.h"

#include <criterion/criterion.h>

TestSuite(validator);

static const char document_text[] =
    "{\"components\":{\"schemas\":{"
    "\"Name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":3},"
    "\"Thing\":{\"type\":\"object\",\"required\":[\"id\"],\"additionalProperties\":false,"
    "\"properties\":{\"id\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9},"
    "\"name\":{\"$ref\":\"#/components/schemas/Name\"},"
    "\"kind\":{\"enum\":[\"a\",null]},\"at\":{\"type\":[\"string\",\"null\"]},"
    "\"list\":{\"type\":\"array\",\"maxItems\":2,\"items\":{\"type\":\"number\"}},"
    "\"one\":{\"oneOf\":[{\"type\":\"null\"},{\"$ref\":\"#/components/schemas/Name\"}]}"
    "}}}}}";

static const char *judge(const char *value_text)
{
    json_t *document = json_loads(document_text, 0, NULL);
    json_t *value = json_loads(value_text, JSON_DECODE_ANY, NULL);
    json_t *schema = json_pack("{s:s}", "$ref", "#/components/schemas/Thing");

    cr_assert(document != NULL && value != NULL && schema != NULL, "%s", value_text);
    return schema_mismatch(document, schema, value);
}

Test(validator, what_fits_is_taken)
{
    static const char *const good[] = {
        "{\"id\":1}",
        "{\"id\":9,\"name\":\"\xc3\xa4\xc3\xa4\xc3\xa4\",\"kind\":null,\"at\":null}",
        "{\"id\":2,\"kind\":\"a\",\"list\":[1,2.5],\"one\":null}",
        "{\"id\":2,\"list\":[],\"one\":\"x\",\"at\":\"now\"}",
    };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_expect_null(judge(good[i]), "%s: %s", good[i], judge(good[i]));
}

Test(validator, what_does_not_fit_is_refused)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "null",
        "{\"id\":0}",
        "{\"id\":10}",
        "{\"id\":1.5}",
        "{\"id\":\"1\"}",
        "{\"id\":1,\"name\":\"\"}",
        "{\"id\":1,\"name\":\"long\"}",
        "{\"id\":1,\"name\":null}",
        "{\"id\":1,\"kind\":\"b\"}",
        "{\"id\":1,\"at\":5}",
        "{\"id\":1,\"list\":[1,\"2\"]}",
        "{\"id\":1,\"list\":[1,2,3]}",
        "{\"id\":1,\"one\":5}",
        "{\"id\":1,\"more\":true}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not_null(judge(bad[i]), "%s", bad[i]);
}

Test(validator, a_keyword_that_it_does_not_know_is_no_match)
{
    json_t *schema = json_pack("{s:{}}", "not");

    cr_expect_not_null(schema_mismatch(schema, schema, json_null()));
}
