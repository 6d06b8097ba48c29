/*
 * ingester.h - the room that keeps traces.  Empty as yet: it starts, is ready, and serves nothing.
 */
#ifndef VIVACE_INGESTER_INGESTER_H
#define VIVACE_INGESTER_INGESTER_H

#include "common/app/app.h"

extern const struct app_room ingester_room;

#endif
