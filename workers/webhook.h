/* webhook: messages signed as Standard Webhooks asks
 * (https://www.standardwebhooks.com), so that the receiver can check with any of its
 * libraries that a message is ours, whole, and not an old one.
 *
 *     webhook_key_parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &key);
 *     webhook_sign(&key, "job_33_1", time(NULL), body, body_len, signature);
 *
 * Threads: any. */
#ifndef BELAY_WORKERS_WEBHOOK_H
#define BELAY_WORKERS_WEBHOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEBHOOK_KEY_LEAST = 24, WEBHOOK_KEY_MOST = 64, WEBHOOK_SIGNATURE_BYTES = 64 };

struct webhook_key {
    unsigned char bytes[WEBHOOK_KEY_MOST];
    size_t len;
};

/* A secret: base64, with or without whsec_ before it. False: it is none, or has fewer
 * than 24 or more than 64 bytes. */
bool webhook_key_parse(const char *secret, struct webhook_key *out);

/* The value of the header webhook-signature: "v1," and an HMAC-SHA256 in base64 of id,
 * time (seconds since 1970) and body with dots between. */
void webhook_sign(const struct webhook_key *key, const char *id, int64_t at,
                  const void *body, size_t body_len, char out[WEBHOOK_SIGNATURE_BYTES]);

#endif
