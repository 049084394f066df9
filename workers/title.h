/* title: names this process for ps and pkill, in place of the service's name and
 * arguments: `pkill -9 belay` shall not hit those who clean up after it.
 *
 * Threads: the only one of a process that was just forked. What cannot be written stays
 * as it is. */
#ifndef BELAY_WORKERS_TITLE_H
#define BELAY_WORKERS_TITLE_H

/* Of a name longer than 15 bytes, or than the arguments, the beginning. */
void title_set(const char *title);

#endif
