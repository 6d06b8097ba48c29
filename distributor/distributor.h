/*
 * distributor.h - the room that takes OTLP in: receivers, limits, split by trace, acknowledged push to the ingesters, lane to the generators.
 */
#ifndef VIVACE_DISTRIBUTOR_DISTRIBUTOR_H
#define VIVACE_DISTRIBUTOR_DISTRIBUTOR_H

#include "common/app/app.h"

extern const struct app_room distributor_room;

#endif
