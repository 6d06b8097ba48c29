/* num_priv.h - what num.c (reading) and num_format.c (writing) share. */
#ifndef VIVACE_BASE_NUM_PRIV_H
#define VIVACE_BASE_NUM_PRIV_H

#define NUM_NS_US 1000LL
#define NUM_NS_MS 1000000LL
#define NUM_NS_S  1000000000LL
#define NUM_NS_M  (60 * NUM_NS_S)
#define NUM_NS_H  (3600 * NUM_NS_S)

#endif
