/* A request target that the gate lets through has nothing hidden in it, whatever decodes
 * it; and the router takes any path. */
#include "server/http/private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

static size_t count(const char *text, char c)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == c;
    return n;
}

static void check_decoded(const char *raw)
{
    char *decoded = strdup(raw);
    size_t len, escapes = 0;

    must(decoded != NULL);
    for (const char *c = raw; (c = strchr(c, '%')) != NULL; c++)
        escapes++;
    len = MHD_http_unescape(decoded);
    must(len == strlen(raw) - 2 * escapes && strlen(decoded) == len);
    for (size_t i = 0; i < len; i++)
        must((unsigned char)decoded[i] >= 0x20 && decoded[i] != 0x7f);
    must(strchr(raw, '?') != NULL || count(decoded, '/') == count(raw, '/'));
    free(decoded);
}

static void check_route(const char *target)
{
    static struct connection c;
    static struct request req;
    struct route_match match;
    char allow[64];

    memset(&req, 0, offsetof(struct request, first));
    req.connection = &c;
    req.arena = req.first;
    req.room = sizeof req.first;
    memcpy(c.target, target, strlen(target) + 1);
    const char *path = gate_path(&req);
    must(strpbrk(path, "?#") == NULL && strlen(path) <= strlen(target) + 1);
    enum err e = route_lookup(routes, "GET", path, &match, allow);
    for (int i = 0; e == ERR_OK && i < match.n_params; i++)
        must(match.params[i].text_len > 0 && match.params[i].name_len > 0);
    for (struct arena_block *b = req.blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char target[TARGET_BYTES_MAX + 1];
    const char *why = "untouched";

    if (size > TARGET_BYTES_MAX)
        return 0;
    memcpy(target, data, size);
    target[size] = '\0';
    bool good = gate_target_is_good(target, &why);
    must(good == (why == NULL));
    if (good) {
        check_decoded(target);
        check_route(target);
    }
    return 0;
}
