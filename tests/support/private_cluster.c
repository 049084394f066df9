/* A cluster of one test's own, to stop and start. It lives in the broker's directory, so
 * that nothing is left of it when the test is killed. */
#define CLUSTER_IS_MADE_HERE
#include "db/embedded.h"
#include "server/core/buf.h"
#include "server/core/cleanup.h"
#include "tests/support/cluster.h"
#include "tests/support/cluster_private.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void cluster_remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct cluster {
    char dir[160];
    char *url;
    struct embedded *pg; /* NULL: stopped */
};

void cluster_start(struct cluster *c)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    enum err e = embedded_start(c->dir, &c->pg, &why);

    cr_assert_eq(e, ERR_OK, "%s", why.text);
    if (c->url == NULL)
        c->url = strdup(embedded_url(c->pg));
    cr_assert_str_eq(c->url, embedded_url(c->pg));
}

void cluster_stop(struct cluster *c)
{
    embedded_stop(c->pg);
    c->pg = NULL;
}

struct cluster *cluster_new(void)
{
    static int number;
    struct cluster *c = calloc(1, sizeof *c);
    const char *dir = getenv(cluster_dir_variable);

    cr_assert_not_null(c);
    snprintf(c->dir, sizeof c->dir, "%s/private-%d-%d", dir != NULL ? dir : "/tmp",
             (int)getpid(), ++number);
    cluster_start(c);
    return c;
}

const char *cluster_url(const struct cluster *c)
{
    return c->url;
}

void cluster_free(struct cluster *c)
{
    cluster_stop(c);
    cluster_remove_tree(c->dir);
    free(c->url);
    free(c);
}
