/* banned.h - functions that have no place here; included before every C file by the Makefile. */
#ifndef VIVACE_BASE_BANNED_H
#define VIVACE_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strncpy strncat strtok atoi atol atof gets
#pragma GCC poison gmtime localtime ctime asctime strerror rand srand

#endif
