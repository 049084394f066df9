/* libpq takes a list of hosts and a list of their addresses, each as long as the other,
 * and goes through both. So a name with two addresses is in the list twice, and libpq
 * tries them in turn, as it would have done by itself; `host` is still what certificates
 * are checked for. */
#include "db/hosts.h"
#include "db/query.h"
#include "server/core/cleanup.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

/* A path is a socket's, and so is what begins with @. */
static bool is_name(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return host[0] != '\0' && host[0] != '/' && host[0] != '@' &&
           inet_pton(AF_INET, host, address) != 1 &&
           inet_pton(AF_INET6, host, address) != 1;
}

/* The next of a list with commas, and where it goes on; NULL: that was the last. */
static const char *next_item(const char *list, char *item, size_t room)
{
    size_t len = strcspn(list, ",");

    if (len >= room)
        len = room - 1;
    memcpy(item, list, len);
    item[len] = '\0';
    list += strcspn(list, ",");
    return *list == ',' ? list + 1 : NULL;
}

enum err query_names_needed(const char *url, bool *out_needed, struct buf *why)
{
    char item[NI_MAXHOST];
    struct host_lists said;
    CLEANUP(host_options_free) PQconninfoOption *options = host_options(url, &said, why);
    bool needed = false;

    if (options == NULL)
        return ERR_INVALID;
    const char *host = said.address == NULL ? said.host : NULL;
    while (host != NULL && !needed) {
        host = next_item(host, item, sizeof item);
        needed = is_name(item);
    }
    *out_needed = needed;
    return ERR_OK;
}

static void add_item(struct buf *list, const char *item, bool first)
{
    if (!first)
        buf_addc(list, ',');
    buf_adds(list, item);
}

static void add_host(struct query_names *names, const char *host, const char *address,
                     const char *port)
{
    bool first = names->n++ == 0;

    add_item(&names->host, host, first);
    add_item(&names->address, address, first);
    if (port != NULL)
        add_item(&names->port, port, first);
}

/* One host, once for each address that it has; what is no name needs none. */
static void find_host(struct query_names *names, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char address[INET6_ADDRSTRLEN + 1];

    if (!is_name(host)) {
        add_host(names, host, "", port);
        return;
    }
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return;
    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            add_host(names, host, address, port);
    }
    freeaddrinfo(found);
}

enum err query_names_find(const char *url, struct query_names *out, struct buf *why)
{
    struct query_names names = {BUF_INIT, BUF_INIT, BUF_INIT, 0};
    char item[NI_MAXHOST], port[32] = "";
    struct host_lists said;
    CLEANUP(host_options_free) PQconninfoOption *options = host_options(url, &said, why);

    if (options == NULL)
        return ERR_INVALID;
    const char *ports = said.port;
    for (const char *host = said.host; host != NULL;) {
        host = next_item(host, item, sizeof item);
        if (ports != NULL) /* a single one is for all */
            ports = next_item(ports, port, sizeof port);
        find_host(&names, item, said.port != NULL ? port : NULL);
    }
    bool found = names.n > 0;
    if (found && !names.host.failed && !names.address.failed && !names.port.failed) {
        *out = names;
        return ERR_OK;
    }
    query_names_release(&names);
    if (found)
        return ERR_NO_MEMORY;
    buf_addf(why, "no address is known for %s", said.host != NULL ? said.host : "it");
    return ERR_UNAVAILABLE;
}

void query_names_release(struct query_names *names)
{
    buf_release(&names->host);
    buf_release(&names->address);
    buf_release(&names->port);
}
