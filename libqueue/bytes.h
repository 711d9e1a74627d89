/* Arithmetic on bytes: little-endian integers at any address, rounding. */
#ifndef LQI_BYTES_H
#define LQI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LQI_SWAP16(v) (v)
#define LQI_SWAP32(v) (v)
#define LQI_SWAP64(v) (v)
#else
#define LQI_SWAP16(v) __builtin_bswap16(v)
#define LQI_SWAP32(v) __builtin_bswap32(v)
#define LQI_SWAP64(v) __builtin_bswap64(v)
#endif

static inline uint16_t lqi_get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, sizeof v); return LQI_SWAP16(v); }
static inline uint32_t lqi_get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, sizeof v); return LQI_SWAP32(v); }
static inline uint64_t lqi_get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, sizeof v); return LQI_SWAP64(v); }

static inline void lqi_put16(uint8_t *p, uint16_t v) { v = LQI_SWAP16(v); memcpy(p, &v, sizeof v); }
static inline void lqi_put32(uint8_t *p, uint32_t v) { v = LQI_SWAP32(v); memcpy(p, &v, sizeof v); }
static inline void lqi_put64(uint8_t *p, uint64_t v) { v = LQI_SWAP64(v); memcpy(p, &v, sizeof v); }

/* Where things end: ids, and any position, are below the first of these; records that are appended end at or before the
 * second, so that a log that is given up can go on behind it. A thousand million messages a second, of 4 GB each: no queue comes near in a century. But a file may say so. */
#define LQI_ID_END ((uint64_t)1 << 63)
#define LQI_POSITION_END ((uint64_t)1 << 62)

/* `to` is a power of two. */
static inline uint64_t lqi_round_up(uint64_t value, uint64_t to) { return (value + to - 1) & ~(to - 1); }

static inline uint64_t lqi_min64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t lqi_max64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* `size` is 1 or more. */
static inline bool lqi_all_zero(const uint8_t *bytes, size_t size) { return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0; }

#endif
