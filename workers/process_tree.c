/* The kernel lists the children of each thread in /proc/PID/task/TID/children; we walk
 * that from ourselves. Rejected: signalling process groups, which a daemon leaves with
 * setsid(); and reading all of /proc for parent ids, which costs as much as the machine
 * has processes, for every abort.
 *
 * The list is a snapshot: what forks while we read may be missed, and so may the children
 * of what ends, which move to us. So everything is stopped first, until two readings
 * agree, and then has its signal: a fork bomb loses, SIGTERM misses nobody, and what a
 * program starts to clean up after it has none. Rejected: SIGTERM while reading on until
 * nothing new turns up; of a shell with eight children that was told first, one in a
 * thousand times one was missed, and lived until the grace was over. */
#include "workers/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

enum { TREE_MAX = 8192, STOP_ROUNDS = 32 };

/* What does not fit is found by the next round, when these are gone. */
struct tree {
    pid_t pids[TREE_MAX];
    int n;
};

static void tree_add(struct tree *t, pid_t pid)
{
    if (t->n < TREE_MAX)
        t->pids[t->n++] = pid;
}

/* "12 13 14 " in pieces; a number may be cut between two of them. */
static void read_children(int fd, struct tree *t)
{
    char text[1024];
    pid_t pid = 0;
    ssize_t len;

    while ((len = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < len; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
            } else if (pid > 0) {
                tree_add(t, pid);
                pid = 0;
            }
        }
    }
}

static void add_children_of_thread(int task_fd, const char *tid, struct tree *t)
{
    char path[64];

    snprintf(path, sizeof path, "%.20s/children", tid);
    int fd = openat(task_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    read_children(fd, t);
    close(fd);
}

/* opendir() would allocate. */
static void add_children(pid_t pid, struct tree *t)
{
    _Alignas(struct dirent64) char entries[4096];
    char path[64];
    ssize_t len;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    while ((len = getdents64(fd, entries, sizeof entries)) > 0) {
        for (ssize_t at = 0; at < len;) {
            const struct dirent64 *d = (const void *)(entries + at);
            if (d->d_name[0] != '.')
                add_children_of_thread(fd, d->d_name, t);
            at += d->d_reclen;
        }
    }
    close(fd);
}

static void collect(struct tree *t)
{
    static struct tree own;
    pid_t session = getsid(0);

    t->n = own.n = 0;
    add_children(getpid(), &own);
    for (int i = 0; i < own.n; i++) {
        if (getsid(own.pids[i]) != session)
            tree_add(t, own.pids[i]);
    }
    for (int i = 0; i < t->n; i++)
        add_children(t->pids[i], t);
}

static bool tree_has(const struct tree *t, pid_t pid)
{
    for (int i = 0; i < t->n; i++) {
        if (t->pids[i] == pid)
            return true;
    }
    return false;
}

static void tree_signal(const struct tree *t, int sig)
{
    for (int i = 0; i < t->n; i++)
        kill(t->pids[i], sig);
}

bool process_tree_works(void)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    return access(path, R_OK) == 0;
}

/* A stopped process neither forks nor ends. */
static void tree_stop(struct tree *t)
{
    int before = -1;

    t->n = 0;
    for (int round = 0; round < STOP_ROUNDS && t->n != before; round++) {
        before = t->n;
        collect(t);
        tree_signal(t, SIGSTOP);
    }
}

/* Children first: a parent that hears of stopped children, as sudo does, would stop
 * itself for one that is still stopped when it goes on. */
static void tree_continue(const struct tree *t)
{
    for (int i = t->n - 1; i >= 0; i--)
        kill(t->pids[i], SIGCONT);
}

void process_tree_terminate(pid_t child)
{
    static struct tree found;

    tree_stop(&found);
    if (child != 0 && !tree_has(&found, child)) /* in our session still: see collect() */
        tree_add(&found, child);
    tree_signal(&found, SIGTERM);
    tree_continue(&found);
}

int process_tree_kill(void)
{
    static struct tree found;

    tree_stop(&found);
    tree_signal(&found, SIGKILL);
    return found.n;
}
