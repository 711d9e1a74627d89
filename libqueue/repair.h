/* lq_repair() on another machine than the real one, for tests. */
#ifndef LQI_REPAIR_H
#define LQI_REPAIR_H

#include "io.h"

int lqi_repair_io(const struct lqi_io *io, const char *path, unsigned flags, lq_repair_callback *each, void *context,
                  lq_repair_result *result_out);

#endif
