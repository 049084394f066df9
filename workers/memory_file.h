/* memory_file: bytes as a file that is in memory, for the stdin of a program.
 *
 *     int fd = memory_file(text, strlen(text));
 *
 * A program that does not read it cannot block whoever has written it, as it could with a
 * pipe. Any thread. */
#ifndef BELAY_WORKERS_MEMORY_FILE_H
#define BELAY_WORKERS_MEMORY_FILE_H

#include <stddef.h>

/* A descriptor at the file's beginning, yours to close; nobody can change the file. -1:
 * no memory. */
int memory_file(const void *bytes, size_t len);

#endif
