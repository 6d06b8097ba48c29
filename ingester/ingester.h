/*
 * ingester.h - the room that makes spans durable, keeps them searchable and writes them into blocks.  README.md has promises and threads.
 */
#ifndef VIVACE_INGESTER_INGESTER_H
#define VIVACE_INGESTER_INGESTER_H

#include "common/app/app.h"

extern const struct app_room ingester_room;

#endif
