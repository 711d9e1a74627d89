#include "checksum.h"

#include <xxhash.h>

uint64_t lqi_checksum(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t lqi_checksum_at(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}
