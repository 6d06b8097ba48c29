/*
 * querier.h - the room that answers: Tempo's HTTP API over all ingesters and all blocks.
 */
#ifndef VIVACE_QUERIER_QUERIER_H
#define VIVACE_QUERIER_QUERIER_H

#include "common/app/app.h"

extern const struct app_room querier_room;

#endif
