/* Networks that are not public, as prefixes. IPv6 is the other way round: only 2000::/3
 * is given out, and some of it is not for everybody. Rejected: a list of forbidden names
 * (a name can point anywhere, and elsewhere at the next look). */
#include "workers/async/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

struct network {
    uint8_t prefix[16];
    int bits;
};

static const struct network closed_4[] = {
    {{0}, 8},             /* this network */
    {{10}, 8},            /* private */
    {{100, 64}, 10},      /* shared by carriers */
    {{127}, 8},           /* this host */
    {{169, 254}, 16},     /* link-local */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2}, 24},    /* documentation */
    {{192, 88, 99}, 24},  /* 6to4 relays, given up */
    {{192, 168}, 16},     /* private */
    {{198, 18}, 15},      /* benchmarks */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 3},           /* multicast, reserved, broadcast */
};

static const struct network open_6 = {{0x20}, 3};
static const struct network closed_6[] = {
    {{0x20, 0x01, 0x00}, 23},       /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x3f, 0xff, 0x00}, 20},       /* documentation */
};

/* Prefixes behind which an IPv4 address stands, and where. */
static const struct network mapped = {{[10] = 0xff, [11] = 0xff}, 96};
static const struct network nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};
static const struct network six_to_four = {{0x20, 0x02}, 16};

static bool is_in(const uint8_t *bytes, const struct network *n)
{
    int whole = n->bits / 8, rest = n->bits % 8;
    uint8_t mask = (uint8_t)(0xff << (8 - rest));

    return memcmp(bytes, n->prefix, (size_t)whole) == 0 &&
           (rest == 0 || ((bytes[whole] ^ n->prefix[whole]) & mask) == 0);
}

static bool is_in_any(const uint8_t *bytes, const struct network *n, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_in(bytes, &n[i]))
            return true;
    }
    return false;
}

static bool is_public_4(const uint8_t *bytes)
{
    return !is_in_any(bytes, closed_4, sizeof closed_4 / sizeof *closed_4);
}

static bool is_public_6(const uint8_t *bytes)
{
    if (is_in(bytes, &mapped) || is_in(bytes, &nat64))
        return is_public_4(bytes + 12);
    if (is_in(bytes, &six_to_four))
        return is_public_4(bytes + 2);
    return is_in(bytes, &open_6) &&
           !is_in_any(bytes, closed_6, sizeof closed_6 / sizeof *closed_6);
}

bool address_is_public(const struct sockaddr *address)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof in);
        return is_public_4((const uint8_t *)&in.sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        memcpy(&in6, address, sizeof in6);
        return is_public_6(in6.sin6_addr.s6_addr);
    }
    return false;
}

bool address_text_is_public(const char *text)
{
    uint8_t bytes[16];

    if (inet_pton(AF_INET, text, bytes) == 1)
        return is_public_4(bytes);
    return inet_pton(AF_INET6, text, bytes) == 1 && is_public_6(bytes);
}
