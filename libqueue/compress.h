/* Packed payloads, by zlib. Pure. A packed payload is
 *
 *   00-03  raw_size    bytes after unpacking
 *   04-..  stream      zlib stream (RFC 1950) of exactly these bytes
 *
 * The record's checksum is of the packed bytes, and is verified before they are
 * unpacked. raw_size is bounded before anything is allocated. */
#ifndef LQI_COMPRESS_H
#define LQI_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#define LQI_PACK_HEADER 4

/* Packs `raw` into `packed` (room for `raw_size` bytes). `*packed_size_out` is 0
 * when it does not pay: less than an eighth saved. LQ_ENOMEM. */
int lqi_pack(const uint8_t *raw, uint32_t raw_size, int level, uint8_t *packed, uint32_t *packed_size_out);

/* The size after unpacking, LQ_ECORRUPT (with text) when it cannot be true: over `raw_size_max`, or
 * more than deflate can ever make of so few bytes (1032 : 1, plus a little). */
int lqi_unpacked_size(const uint8_t *packed, uint32_t packed_size, uint32_t raw_size_max, uint32_t *raw_size_out);

/* Unpacks into `raw`, exactly `raw_size` bytes of it. LQ_ECORRUPT (with text): a bad stream, a short one,
 * a longer one, bytes behind it. LQ_ENOMEM. */
int lqi_unpack(const uint8_t *packed, uint32_t packed_size, uint8_t *raw, uint32_t raw_size);

#endif
