#include "server/core/clock.h"
#include "server/core/log.h"
#include "workers/parts.h"
#include "workers/tally.h"

#include <inttypes.h>

enum { IGNORED_SECONDS = 5, IGNORED_MOST = 64 };

void neglect_look(struct node *node)
{
    struct abort_ignored ignored[IGNORED_MOST];
    int64_t before_us = clock_us() - IGNORED_SECONDS * (int64_t)US_PER_SECOND;
    int n = abort_take_ignored(node->aborts, before_us, ignored, IGNORED_MOST);

    for (int i = 0; i < n; i++) {
        struct task_tally *tally = node_tally(node, ignored[i].task);
        if (tally != NULL)
            atomic_fetch_add(&tally->ignored, 1);
        log_warn("abort_ignored", "job=%" PRId64 " attempt=%d task=%s hint=%s",
                 ignored[i].job_id, ignored[i].attempt,
                 ignored[i].task != NULL ? ignored[i].task->name : "?",
                 log_quoted("it was asked to stop 5 seconds ago and has not checked"));
    }
    async_watch(node->async);
}
