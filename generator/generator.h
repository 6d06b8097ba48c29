/*
 * generator.h - the room that makes metrics of spans: span metrics and service graphs, sent to Prometheus or Mimir.
 */
#ifndef VIVACE_GENERATOR_GENERATOR_H
#define VIVACE_GENERATOR_GENERATOR_H

#include "common/app/app.h"

extern const struct app_room generator_room;

#endif
