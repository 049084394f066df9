/* Who may ask. A web page anywhere can make a browser send `POST
 * http://localhost:8080/jobs/33/cancel` without a preflight, so a request that changes
 * something is refused when a browser says that it comes from another site; and a name
 * that somebody else's DNS points at us (rebinding) is not answered for. Programs that
 * are not browsers send neither header and are not touched. */
#include "server/http/private.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* Whether `item` stands in a comma-separated list, or the list has a `*`. */
static bool list_has(const char *list, const char *item, size_t len)
{
    for (const char *p = list; *p != '\0';) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        if (n > 0 &&
            ((n == len && strncasecmp(p, item, n) == 0) || (n == 1 && *p == '*')))
            return true;
        p += n;
    }
    return false;
}

bool origin_is_allowed(const struct config *config, const char *origin)
{
    return list_has(config->allowed_origins, origin, strlen(origin));
}

/* The length of the name in host or host:port; an IPv6 address stands in brackets. */
static size_t name_len(const char *host)
{
    return *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
}

/* A name can be rebound to us, an address cannot: whoever wrote it meant this machine. */
static bool is_address(const char *host, size_t len)
{
    char text[64];
    unsigned char bytes[16];

    if (*host == '[')
        return true;
    if (len >= sizeof text)
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET, text, bytes) == 1;
}

static bool host_is_ours(const struct config *config, const char *host)
{
    size_t len = name_len(host);

    return is_address(host, len) || list_has("localhost", host, len) ||
           list_has(config->listen, host, len) ||
           list_has(config->allowed_hosts, host, len);
}

/* Without the scheme: behind a proxy that ends TLS the browser says https and we are
 * http. "null", the origin of sandboxed pages and of files, has no authority and equals
 * nothing. */
static bool is_same_origin(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");

    return authority != NULL && host != NULL && strcasecmp(authority + 3, host) == 0;
}

/* These change nothing, so they are answered; without CORS headers the page cannot read
 * the answer. */
static bool is_safe(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ||
           strcmp(method, "OPTIONS") == 0;
}

enum err origin_check(struct request *req)
{
    const struct config *config = req->http->options.config;
    const char *host = req_header(req, "Host"), *origin = req_header(req, "Origin");
    const char *site = req_header(req, "Sec-Fetch-Site");

    if (host != NULL && !host_is_ours(config, host))
        return req_fail(req, ERR_MISDIRECTED, "%.200s is not one of allowed_hosts", host);
    if (is_safe(req->method))
        return ERR_OK;
    if (origin != NULL && !is_same_origin(origin, host) &&
        !origin_is_allowed(config, origin))
        return req_fail(req, ERR_FORBIDDEN_ORIGIN, "%.200s is not one of allowed_origins",
                        origin);
    /* Where Origin is missing, a browser still says who asks by Sec-Fetch-Site, which no
     * page can set. "none" is the user's own doing: the address bar. */
    if (origin == NULL && site != NULL && strcmp(site, "same-origin") != 0 &&
        strcmp(site, "none") != 0)
        return req_fail(req, ERR_FORBIDDEN_ORIGIN, "a %.40s request without an Origin",
                        site);
    return ERR_OK;
}
