/* test.h - cmocka with the headers that it needs before it, in the order it needs them. */
#ifndef VIVACE_TESTS_LIB_TEST_H
#define VIVACE_TESTS_LIB_TEST_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
