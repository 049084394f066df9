/* libsodium has the parts: base64 in constant time, and HMAC-SHA256 with a key of any
 * length. Rejected: OpenSSL (a second library of ciphers beside the one that is here
 * already). */
#include "workers/webhook.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char prefix[] = "whsec_";

bool webhook_key_parse(const char *secret, struct webhook_key *out)
{
    const char *end;

    if (strncmp(secret, prefix, sizeof prefix - 1) == 0)
        secret += sizeof prefix - 1;
    return sodium_base642bin(out->bytes, sizeof out->bytes, secret, strlen(secret), NULL,
                             &out->len, &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
           *end == '\0' && out->len >= WEBHOOK_KEY_LEAST;
}

void webhook_sign(const struct webhook_key *key, const char *id, int64_t at,
                  const void *body, size_t body_len, char out[WEBHOOK_SIGNATURE_BYTES])
{
    static const char version[] = "v1,";
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    char head[256];
    int len = snprintf(head, sizeof head, "%.200s.%" PRId64 ".", id, at);

    crypto_auth_hmacsha256_init(&state, key->bytes, key->len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)head, (size_t)len);
    crypto_auth_hmacsha256_update(&state, body, body_len);
    crypto_auth_hmacsha256_final(&state, mac);
    memcpy(out, version, sizeof version);
    sodium_bin2base64(out + sizeof version - 1,
                      WEBHOOK_SIGNATURE_BYTES - (sizeof version - 1), mac, sizeof mac,
                      sodium_base64_VARIANT_ORIGINAL);
}
