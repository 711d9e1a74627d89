/* What the proofs share. A proof is a function `proof` that CBMC runs for all inputs at once: what nondet_*() returns is
 * anything, ASSUME() says what the caller has promised, PROVE() what must then be so. Reading or writing out of bounds,
 * overflow of signed numbers, undefined shifts and the like are looked for besides, in all code that is reached.
 *
 * The hash is no part of it. By itself it is any number at each call: a decoder must stand whatever verifies. With
 * `one_hash` it is the same number for everything, as good a hash as any for what was encoded and is decoded again. */
#ifndef PROOF_H
#define PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "error.h"

#define ASSUME(condition) __CPROVER_assume(condition)
#define PROVE(condition) __CPROVER_assert((condition), #condition)

bool nondet_bool(void);
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
int64_t nondet_i64(void);
size_t nondet_size(void);

static bool one_hash;
static uint64_t the_hash;

static uint64_t hash(const void *data, size_t size)
{
    PROVE(size == 0 || __CPROVER_r_ok(data, size));
    return one_hash ? the_hash : nondet_u64();
}

uint64_t lqi_checksum(const void *data, size_t size)
{
    return hash(data, size);
}

uint64_t lqi_checksum_at(const void *data, size_t size, uint64_t seed)
{
    (void)seed;
    return hash(data, size);
}

int lqi_fail(int code, const char *format, ...)
{
    (void)format;
    return code;
}

/* `size` bytes of anything, and nothing behind them. */
static uint8_t *any_bytes(size_t size)
{
    return malloc(size);
}

#endif
