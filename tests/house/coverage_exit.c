/* Linked into the coverage build alone: a process that leaves by _exit(), as children do,
 * says what it has counted first. */
#include <unistd.h>

void __gcov_dump(void);
_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);

void __wrap__exit(int code)
{
    __gcov_dump();
    __real__exit(code);
}
