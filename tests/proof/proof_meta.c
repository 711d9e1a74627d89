/* The trim slots of `meta`, and the rounding of its sizes: meta.c.
 *
 *   holds  -DSLOT
 *   holds  -DSLOT_ROUND_TRIP
 *   holds  -DSIZES
 *   fails  -DSLOT  meta.c  s/trim.sequence % 2 != slot/trim.sequence % 2 == 2/
 *   fails  -DSLOT  meta.c  s/trim.position > trim.synced ||//
 *   fails  -DSLOT_ROUND_TRIP  meta.c  s/lqi_put64(bytes + 24, trim->synced)/lqi_put64(bytes + 24, trim->position)/
 *   fails  -DSIZES  meta.c  s/while (power < value) power \*= 2/while (power * 2 < value) power *= 2/
 *
 * cbmc: --unwind 33
 */
#include "proof.h"

#include "meta.c"

static void decode_any_slot(void)
{
    uint8_t uuid[16] = {nondet_u8()};
    unsigned slot = nondet_bool();
    struct lqi_trim trim = {.sequence = 0};

    if (!slot_decode(any_bytes(SLOT_SIZE), slot, uuid, &trim)) {
        PROVE(trim.sequence == 0);
        return;
    }
    PROVE(trim.sequence >= 1 && trim.sequence % 2 == slot);
    PROVE(trim.first_id >= 1 && trim.first_id <= trim.next_id && trim.next_id < LQI_ID_END);
    PROVE(trim.position % 8 == 0 && trim.position <= trim.synced);
}

static void slot_and_back(void)
{
    uint8_t bytes[SLOT_SIZE], uuid[16] = {0};
    struct lqi_trim in = {nondet_u64(), nondet_u64(), nondet_u64(), nondet_u64(), nondet_u64()}, out;

    one_hash = true;
    the_hash = nondet_u64();
    ASSUME(in.sequence >= 1 && in.sequence < LQI_ID_END && in.first_id >= 1 && in.first_id <= in.next_id && in.next_id < LQI_ID_END);
    ASSUME(in.position % 8 == 0 && in.position <= LQI_POSITION_END && in.position <= in.synced && in.synced < LQI_ID_END);
    slot_encode(bytes, uuid, &in);
    PROVE(slot_decode(bytes, in.sequence % 2, uuid, &out));
    PROVE(out.sequence == in.sequence && out.first_id == in.first_id && out.position == in.position);
    PROVE(out.synced == in.synced && out.next_id == in.next_id);
}

/* Of sizes that are in range. */
static void sizes_are_rounded(void)
{
    uint64_t value = nondet_u64();
    ASSUME(value >= 1 && value <= 1 << 30);
    uint64_t power = power_of_two(value);
    PROVE(power >= value && (power & (power - 1)) == 0 && (power == 1 || power / 2 < value));
    PROVE(clipped(nondet_u64()) >= 0);
}

void proof(void)
{
#if defined(SLOT)
    decode_any_slot();
#elif defined(SLOT_ROUND_TRIP)
    slot_and_back();
#else
    sizes_are_rounded();
#endif
}
