/*
 * distributor.h - the room that takes traces in.  Empty as yet: it starts, is ready, and serves nothing.
 */
#ifndef VIVACE_DISTRIBUTOR_DISTRIBUTOR_H
#define VIVACE_DISTRIBUTOR_DISTRIBUTOR_H

#include "common/app/app.h"

extern const struct app_room distributor_room;

#endif
