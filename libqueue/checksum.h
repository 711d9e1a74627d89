/* The hash: XXH3, 64 bits. Of nothing it is not 0, so zeroes never verify. */
#ifndef LQI_CHECKSUM_H
#define LQI_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t lqi_checksum(const void *data, size_t size);

/* The same with a seed mixed in: bytes verify only where they were meant to stand. */
uint64_t lqi_checksum_at(const void *data, size_t size, uint64_t seed);

#endif
