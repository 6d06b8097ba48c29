/* banned.h - functions that have no place here; included before every C file by the Makefile. */
#ifndef VIVACE_BASE_BANNED_H
#define VIVACE_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strncpy strncat strtok atoi atol atof gets
#pragma GCC poison gmtime localtime ctime asctime srand

/* libevent's headers name strerror in a macro, OpenSSL's name a field rand, so a call is the error, not the word (gcc only: clang takes the attribute on
 * a first declaration alone). */
#ifndef __clang__
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wredundant-decls"
extern char *strerror(int error_number)
    __attribute__((error("strerror shares a buffer between threads: use strerror_r")));
extern int rand(void) __attribute__((error("rand shares its state: use common/base/rng.h")));
#    pragma GCC diagnostic pop
#endif

#endif
