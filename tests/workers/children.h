/* children: starts programs in tests of process.h and reads what they write. Everything
 * waits at most CHILD_DEADLINE_MS and fails the test then. */
#ifndef BELAY_TESTS_WORKERS_CHILDREN_H
#define BELAY_TESTS_WORKERS_CHILDREN_H

#include "workers/process.h"

#include <sys/types.h>

enum { CHILD_DEADLINE_MS = 20000 };

/* For TestSuite(.init); its .fini is process_zygote_stop. */
void child_start_zygote(void);

extern const char *const child_env[];
struct process *child_start(const char *const *argv);
/* /bin/sh -c SCRIPT; in it $1 is the script itself, for those that run themselves again.
 */
struct process *child_start_script(const char *script);

bool child_readable(int fd, int ms);
void child_await_end(struct process *p, struct process_end *end);

/* All until the end of file; one line without its end; a line that is a pid. */
void child_read_all(int fd, struct buf *out);
void child_read_line(int fd, char *line, size_t room);
pid_t child_read_pid(int fd);

/* Runs a script to its end and keeps what it wrote; `out` and `err` may be NULL. */
void child_run_script(const char *script, struct buf *out, struct buf *err,
                      struct process_end *end);

#endif
