/* overflow: a task that uses more than its stack ends the process with a line that names
 * it, instead of a bare SIGSEGV.
 *
 * overflow_watch() is called by the loop's thread, once; others' handlers of SIGSEGV are
 * left alone. */
#ifndef BELAY_WORKERS_ASYNC_OVERFLOW_H
#define BELAY_WORKERS_ASYNC_OVERFLOW_H

#include "workers/async/loop.h"

void overflow_watch(struct loop *loop);

#endif
