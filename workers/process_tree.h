/* process_tree: finds and signals the descendants of the calling process.
 *
 * The caller must be a child subreaper, so that orphans are its children, and its
 * descendants must have left its session, as programs that a supervisor starts have:
 * children in its own session are fellow supervisors and stay untouched. Nothing here
 * allocates. One thread. */
#ifndef BELAY_WORKERS_PROCESS_TREE_H
#define BELAY_WORKERS_PROCESS_TREE_H

#include <stdbool.h>
#include <sys/types.h>

/* True when this kernel says who is whose child (/proc/PID/task/TID/children). */
bool process_tree_works(void);

/* SIGTERM, once each, to all descendants. `child` is one that may have only just been
 * forked, and still be in this session; 0: none. */
void process_tree_terminate(pid_t child);

/* SIGKILL to all descendants; returns how many there were. They end a moment later, and
 * one that was being made may have escaped: call it again until waitpid() says that there
 * are no children. */
int process_tree_kill(void);

#endif
