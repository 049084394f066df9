/* banned: functions of the C library that are too easy to misuse, each with what to use
 * instead.
 *
 * A call becomes a name that does not exist, so the compiler points at it. The headers
 * that declare them come first: they must be read before the names are gone. err.h
 * includes this, and everything includes err.h. */
#ifndef BELAY_CORE_BANNED_H
#define BELAY_CORE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(name) sorry_##name##_is_banned

/* Write past the end, or silently cut: struct buf, or snprintf() with its answer looked
 * at. */
#undef strcpy
#define strcpy(...) BANNED(strcpy)
#undef strcat
#define strcat(...) BANNED(strcat)
#undef strncpy
#define strncpy(...) BANNED(strncpy)
#undef strncat
#define strncat(...) BANNED(strncat)
#undef sprintf
#define sprintf(...) BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf)
#undef gets
#define gets(...) BANNED(gets)

/* Cannot say that the text is no number: strtoll() and where it stopped. */
#undef atoi
#define atoi(...) BANNED(atoi)
#undef atol
#define atol(...) BANNED(atol)
#undef atoll
#define atoll(...) BANNED(atoll)
#undef atof
#define atof(...) BANNED(atof)
#undef sscanf
#define sscanf(...) BANNED(sscanf)

/* One buffer for all threads: strtok_r(), gmtime_r(), localtime_r(). */
#undef strtok
#define strtok(...) BANNED(strtok)
#undef gmtime
#define gmtime(...) BANNED(gmtime)
#undef localtime
#define localtime(...) BANNED(localtime)
#undef ctime
#define ctime(...) BANNED(ctime)
#undef asctime
#define asctime(...) BANNED(asctime)

/* A shell between us and the program: posix_spawn() or execve() with an argument vector.
 */
#undef system
#define system(...) BANNED(system)
#undef popen
#define popen(...) BANNED(popen)

/* Guessable: getrandom() for names and tokens, random_r() for jitter. */
#undef rand
#define rand(...) BANNED(rand)
#undef srand
#define srand(...) BANNED(srand)

#endif
