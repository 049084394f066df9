/* libpq goes through a list by itself, but leaves a host only when it cannot be connected
 * to: one that accepts and says nothing, as a machine that has just died behind a
 * forwarder, is waited for until the caller gives up, and one that hangs up before it has
 * answered ends the attempt. So each host is tried on its own, with its share of the
 * time. Rejected: libpq's connect_timeout, which only its blocking calls obey, and which
 * has no limit for all hosts together. */
#include "db/hosts.h"

#include "server/core/cleanup.h"

#include <string.h>

#define DEFAULT_PORT "5432"

void host_options_free(PQconninfoOption **options)
{
    PQconninfoFree(*options);
}

PQconninfoOption *host_options(const char *url, struct host_lists *out, struct buf *why)
{
    CLEANUP(free_ptr) char *words = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &words);

    *out = (struct host_lists){.host = NULL};
    if (options == NULL && words != NULL)
        buf_add(why, words, strcspn(words, "\n"));
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val == NULL || o->val[0] == '\0')
            continue;
        if (strcmp(o->keyword, "host") == 0)
            out->host = o->val;
        if (strcmp(o->keyword, "hostaddr") == 0)
            out->address = o->val;
        if (strcmp(o->keyword, "port") == 0)
            out->port = o->val;
    }
    return options;
}

/* The i-th of a list with commas, its length in out_len; NULL: it is shorter. */
static const char *find_item(const char *list, int i, size_t *out_len)
{
    for (; i > 0; i--) {
        list = strchr(list, ',');
        if (list == NULL)
            return NULL;
        list++;
    }
    *out_len = strcspn(list, ",");
    return list;
}

static int count_items(const char *list)
{
    size_t len;
    int n = 0;

    while (find_item(list, n, &len) != NULL)
        n++;
    return n;
}

/* All n are there, and none is empty: that would mean a default of libpq's. */
static bool fits(const char *list, int n)
{
    size_t len = 1;

    for (int i = 0; list != NULL && i < n; i++) {
        if (find_item(list, i, &len) == NULL || len == 0)
            return false;
    }
    return list == NULL || count_items(list) == n;
}

int hosts_count(const char *url)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct host_lists lists;
    CLEANUP(host_options_free)
    PQconninfoOption *options = host_options(url, &lists, &why);
    const char *longest = lists.address != NULL ? lists.address : lists.host;

    if (options == NULL || longest == NULL)
        return 1;
    int n = count_items(longest),
        ports = lists.port != NULL ? count_items(lists.port) : 1;
    return fits(lists.host, n) && fits(lists.address, n) && (ports == 1 || ports == n)
               ? n
               : 1;
}

static void add_item(struct buf *out, const char *list, int i)
{
    size_t len;
    const char *item = list != NULL ? find_item(list, i, &len) : NULL;

    if (item != NULL)
        buf_add(out, item, len);
}

/* A single one is for all; in a list it may be left out. */
static void add_port(struct buf *out, const char *list, int i)
{
    if (list == NULL)
        return;
    add_item(out, list, strchr(list, ',') != NULL ? i : 0);
    if (out->len == 0)
        buf_adds(out, DEFAULT_PORT);
}

enum err host_pick(const char *url, int i, struct host *out)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct host_lists lists;
    CLEANUP(host_options_free)
    PQconninfoOption *options = host_options(url, &lists, &why);

    if (options == NULL)
        return ERR_INVALID;
    add_item(&out->name, lists.host, i);
    add_item(&out->address, lists.address, i);
    add_port(&out->port, lists.port, i);
    return out->name.failed || out->address.failed || out->port.failed ? ERR_NO_MEMORY
                                                                       : ERR_OK;
}

void host_release(struct host *h)
{
    buf_release(&h->name);
    buf_release(&h->address);
    buf_release(&h->port);
}
