#include "workers/webhook.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(webhook, .timeout = 30);

/* The example that the libraries of Standard Webhooks test themselves with. */
Test(webhook, the_signature_is_that_of_the_standard)
{
    static const char body[] = "{\"test\": 2432232314}";
    struct webhook_key key;
    char signature[WEBHOOK_SIGNATURE_BYTES];

    cr_assert(webhook_key_parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &key));
    webhook_sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, strlen(body),
                 signature);
    cr_expect_str_eq(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

Test(webhook, a_secret_may_come_without_its_prefix)
{
    struct webhook_key with, without;

    cr_assert(webhook_key_parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &with));
    cr_assert(webhook_key_parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &without));
    cr_expect_eq(with.len, 24);
    cr_expect_eq(without.len, 24);
    cr_expect_arr_eq(with.bytes, without.bytes, 24);
}

Test(webhook, what_is_no_secret_is_refused)
{
    static const char *const bad[] = {
        "",
        "whsec_",
        "whsec_short",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
    struct webhook_key key;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(webhook_key_parse(bad[i], &key), "accepted: %s", bad[i]);
}
