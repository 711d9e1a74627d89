/* The bytes of the messages. See ops_model.h. */
#include "ops_model.h"

static uint8_t patterns[2][PATTERN];
const uint8_t *pattern;

void pattern_choose(bool compressible)
{
    uint32_t state = 1;
    for (size_t i = 0; i < PATTERN && !patterns[0][PATTERN - 1]; i++) { /* once */
        state = state * 1664525 + 1013904223;
        patterns[0][i] = (uint8_t)(state >> 24 | (i + 1 == PATTERN));
        patterns[1][i] = (uint8_t)(state >> 30);
    }
    pattern = patterns[compressible];
}
