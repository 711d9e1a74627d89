/* The entries of offset files, and the names of consumers: position.c.
 *
 *   holds  -DENTRY
 *   holds  -DENTRY_ROUND_TRIP
 *   holds  -DNAME
 *   fails  -DENTRY  position.c  s/entry->delivered - entry->floor <= window/entry->delivered - entry->floor <= window + 1/
 *   fails  -DENTRY  position.c  s/% LQI_POSITION_ENTRIES != slot/% LQI_POSITION_ENTRIES < slot/
 *   fails  -DENTRY_ROUND_TRIP  position.c  s/lqi_put64(bytes + 40, entry->durable_id)/lqi_put64(bytes + 32, entry->durable_id)/
 *   fails  -DNAME  position.c  s/name\[0\] == '-'/name[0] == '+'/
 *
 * cbmc: --unwind 10
 */
#include "proof.h"

#include "position.c"

size_t strnlen(const char *text, size_t max)
{
    size_t size = 0;
    while (size < max && text[size]) size++;
    return size;
}

static void decode_any_entry(void)
{
    struct lqi_position position = {.window = nondet_u32()};
    struct lqi_position_entry entry = {.sequence = 0};
    size_t slot = nondet_size();

    ASSUME(slot < LQI_POSITION_ENTRIES);
    if (!lqi_position_entry_decode(any_bytes(LQI_POSITION_ENTRY), slot, &position, &entry)) {
        PROVE(entry.sequence == 0);
        return;
    }
    PROVE(entry.sequence % LQI_POSITION_ENTRIES == slot && entry.sequence >= 1);
    PROVE(entry.floor <= entry.delivered && entry.delivered < LQI_ID_END);
    PROVE(entry.delivered - entry.floor <= position.window);
    PROVE(entry.durable < LQI_ID_END && entry.durable_id < LQI_ID_END);
}

static void entry_and_back(void)
{
    uint8_t bytes[LQI_POSITION_ENTRY];
    struct lqi_position position = {.window = nondet_u32()};
    struct lqi_position_entry in = {nondet_u64(), nondet_u64(), nondet_u64(), nondet_u64(), nondet_u64(), nondet_u64(), nondet_i64()}, out;

    one_hash = true;
    the_hash = nondet_u64();
    ASSUME(lqi_position_entry_makes_sense(&in, position.window));
    lqi_position_entry_encode(bytes, &in, position.uuid);
    PROVE(lqi_position_entry_decode(bytes, in.sequence % LQI_POSITION_ENTRIES, &position, &out));
    PROVE(out.sequence == in.sequence && out.floor == in.floor && out.delivered == in.delivered && out.time_us == in.time_us);
    PROVE(out.incarnation == in.incarnation && out.durable == in.durable && out.durable_id == in.durable_id);
}

/* A name that is taken is a plain file name, no option, and neither hidden nor a way out of the directory. */
static void check_any_name(void)
{
    char name[8];
    for (size_t i = 0; i < sizeof name; i++) name[i] = (char)nondet_u8();
    name[sizeof name - 1] = 0;
    if (lqi_name_check(name) != LQ_OK) return;
    PROVE(name[0] != 0 && name[0] != '.' && name[0] != '-');
    size_t i = nondet_size();
    ASSUME(i < strlen(name));
    PROVE(name[i] != '/' && name[i] > ' ' && name[i] < 127);
}

void proof(void)
{
#if defined(ENTRY)
    decode_any_entry();
#elif defined(ENTRY_ROUND_TRIP)
    entry_and_back();
#else
    check_any_name();
#endif
}
