/* Scripts of calls: members, and what is handed out to them. See ops_run.h. */
#include "ops_run.h"

/* ---- members ------------------------------------------------------------------ */

static int free_member(void)
{
    for (int i = 0; i < MEMBERS; i++)
        if (!ops_run.members[i].consumer) return i;
    return -1;
}

static unsigned members_of(unsigned name)
{
    unsigned count = 0;
    for (int i = 0; i < MEMBERS; i++) count += ops_run.members[i].consumer && ops_run.members[i].name == name;
    return count;
}

/* Where a new consumer must begin: its floor. By time only the queue knows; it must not begin too late. */
static uint64_t floor_of_new(unsigned handle, unsigned name, const lq_consumer_options *options, uint64_t known_id)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    uint64_t id = options->start_id;

    switch (options->start) {
    case LQ_START_END: return ops_model.last_id;
    case LQ_START_ID:
        if (id > ops_model.last_id + 1) id = ops_model.last_id + 1;
        return id > ops_model.first_id ? id - 1 : ops_model.first_id - 1;
    case LQ_START_TIME:
        CHECK(lq_get_consumer_stats(ops_run.handles[handle], ops_names[name], &stats) == LQ_OK);
        CHECK(stats.floor + 1 >= ops_model.first_id);
        CHECK(stats.floor < known_id || stats.floor + 1 == ops_model.first_id);
        return stats.floor;
    default: return ops_model.first_id - 1;
    }
}

void ops_open_member(unsigned handle)
{
    static const uint32_t windows[] = {64, 64, 100, 0};
    unsigned name = ops_take() % NAMES, shape = ops_take();
    struct model_consumer *consumer = &ops_model.consumers[name];
    uint64_t known_id = ops_take() % (ops_model.last_id + 1);
    int index = free_member();
    lq_consumer_options options = {.size = sizeof options, .start = (int)(shape & 3), .window = windows[shape >> 6],
                                   .flags = (shape & 4 ? LQ_CONSUMER_NO_CREATE : 0) | (shape & 8 ? LQ_CONSUMER_SAVE_ACKS : 0),
                                   .start_id = ops_take(), .start_time_us = ops_model.messages[known_id].time_us};
    if (!ops_run.handles[handle] || index < 0) return;
    ops_look();

    struct member *member = &ops_run.members[index];
    int err = lq_consumer_open(ops_run.handles[handle], ops_names[name], &options, &member->consumer);
    if (!consumer->exists && (options.flags & LQ_CONSUMER_NO_CREATE)) {
        CHECK(err == LQ_ENOTFOUND);
    } else if (consumer->exists && options.window && options.window != consumer->window) {
        CHECK(err == LQ_EMISMATCH);
    } else {
        CHECK(err == LQ_OK);
        if (!consumer->exists)
            consumer_begin(consumer, floor_of_new(handle, name, &options, known_id), options.window ? options.window : 65536);
        member->name = name;
        member->handle = handle;
    }
    ops_look_at_consumer(name);
}

void ops_close_member(int index)
{
    struct member *member = &ops_run.members[index];
    if (!member->consumer) return;

    CHECK(lq_consumer_close(member->consumer) == LQ_OK);
    member->consumer = NULL;
    for (int i = 0; i < HAND_OUTS; i++) {
        struct hand_out *out = &ops_run.hand_outs[i];
        if (out->member != index) continue;
        struct model_consumer *consumer = &ops_model.consumers[member->name];
        uint64_t id = out->message.id;
        if (consumer->of[id].hand_out == out->serial && consumer->of[id].fate == HELD) consumer->of[id].fate = READY;
        out->member = -1;
    }
    if (ops_any_handle()) ops_look_at_consumer(member->name);
}

void ops_delete_consumer(unsigned handle)
{
    unsigned name = ops_take() % NAMES;
    if (!ops_run.handles[handle]) return;
    ops_look(); /* what was consumed with it may be gone already */

    int err = lq_consumer_delete(ops_run.handles[handle], ops_names[name]);
    if (!ops_model.consumers[name].exists) CHECK(err == LQ_ENOTFOUND);
    else if (members_of(name)) CHECK(err == LQ_EBUSY);
    else CHECK(err == LQ_OK);
    if (!err) ops_model.consumers[name].exists = false;
    ops_look();
}

/* ---- get, ack, release ---------------------------------------------------------- */

/* What is not among the hand-outs any more is forgotten, not settled: the consumer keeps it until its member closes. */
static struct hand_out *new_hand_out(void)
{
    struct hand_out *out = &ops_run.hand_outs[ops_run.serial % HAND_OUTS];
    *out = (struct hand_out){.member = -1};
    out->serial = ++ops_run.serial;
    return out;
}

void ops_got(int index, const lq_message *message)
{
    struct member *member = &ops_run.members[index];
    struct model_consumer *consumer = &ops_model.consumers[member->name];
    uint64_t id = message->id;

    /* A roll makes durable what it seals, and so shows what was put without waiting for the disk. */
    if (id > ops_model.visible_id) ops_look();
    check_message(&ops_model, message);
    /* What retention has deleted comes if the member had its bytes at hand, and is passed over if not. */
    if (ops_model.drops && id != consumer_next(&ops_model, consumer)) {
        ops_look();
        consumer_skip_again(&ops_model, consumer, id);
        consumer_skip_new(&ops_model, consumer, id);
    }
    CHECK(id == consumer_next(&ops_model, consumer));
    struct hand_out *out = new_hand_out();
    out->message = *message;
    out->member = index;
    consumer->of[id].fate = HELD;
    consumer->of[id].hand_out = out->serial;
    CHECK(message->attempts == ++consumer->of[id].attempts);
    if (id > consumer->delivered) consumer->delivered = id;
}

void ops_got_nothing(int index)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    struct model_consumer *consumer = &ops_model.consumers[ops_run.members[index].name];

    if (!consumer_next(&ops_model, consumer)) return;
    CHECK(ops_model.drops);
    ops_look();
    consumer_skip_again(&ops_model, consumer, UINT64_MAX);
    CHECK(lq_get_consumer_stats(ops_any_handle(), ops_names[ops_run.members[index].name], &stats) == LQ_OK);
    ops_adopt(consumer, &stats);
    CHECK(!consumer_next(&ops_model, consumer));
}

/* Room for so many hand-outs, or their member could not give them back in the model. */
static bool room_for(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (ops_run.hand_outs[(ops_run.serial + i) % HAND_OUTS].member >= 0) return false;
    return true;
}

void ops_get(int index)
{
    lq_message message;
    if (!ops_run.members[index].consumer || !room_for(1)) return;

    int err = lq_get(ops_run.members[index].consumer, &message, 0);
    CHECK(err == LQ_OK || err == LQ_EMPTY);
    if (err) ops_got_nothing(index);
    else ops_got(index, &message);
}

void ops_get_batch(int index)
{
    lq_message messages[BATCH];
    size_t most = ops_take() % BATCH + 1, count = 0;
    if (!ops_run.members[index].consumer || !room_for((unsigned)most)) return;

    int err = lq_get_batch(ops_run.members[index].consumer, messages, most, &count, 0);
    CHECK(err == LQ_OK || err == LQ_EMPTY);
    CHECK(err ? count == 0 : count >= 1 && count <= most);
    for (size_t i = 0; i < count; i++) ops_got(index, &messages[i]);
    if (count < most) ops_got_nothing(index);
    ops_look_at_consumer(ops_run.members[index].name);
}

static struct hand_out *some_hand_out(void)
{
    unsigned back = ops_take() % 128;
    if (back >= ops_run.serial) return NULL;
    struct hand_out *out = &ops_run.hand_outs[(ops_run.serial - 1 - back) % HAND_OUTS];
    return out->member >= 0 ? out : NULL;
}

/* What settling this hand-out by its own member must answer. */
static int held(const struct hand_out *out, bool ack)
{
    const struct model_consumer *consumer = &ops_model.consumers[ops_run.members[out->member].name];
    uint64_t id = out->message.id;

    if (consumer->of[id].hand_out != out->serial) return LQ_ELEASE;
    if (consumer->of[id].fate == HELD) return LQ_OK;
    return ack && consumer->of[id].fate == SETTLED ? LQ_OK : LQ_ELEASE;
}

/* A double ack is remembered as long as the id's place in the window is. */
static bool forgotten(const struct hand_out *out)
{
    const struct model_consumer *consumer = &ops_model.consumers[ops_run.members[out->member].name];
    return consumer->delivered - out->message.id >= consumer->window || ops_model.drops;
}

static void check_settled(const struct hand_out *out, int err, int expected)
{
    CHECK(err == expected || (err == LQ_ELEASE && forgotten(out)));
}

void ops_ack(void)
{
    struct hand_out *out = some_hand_out();
    if (!out) return;
    struct member *member = &ops_run.members[out->member];
    struct model_consumer *consumer = &ops_model.consumers[member->name];
    bool first = consumer->of[out->message.id].hand_out == out->serial && consumer->of[out->message.id].fate == HELD;

    if (first) check_message(&ops_model, &out->message); /* its bytes were lent until now */
    int expected = held(out, true);
    int err = lq_ack(member->consumer, &out->message);
    if (first) CHECK(err == LQ_OK);
    else check_settled(out, err, expected);
    if (first) consumer_settle(consumer, out->message.id);
    ops_look_at_consumer(member->name);
}

void ops_ack_batch(void)
{
    lq_message messages[BATCH];
    int index = (int)(ops_take() % MEMBERS);
    unsigned every = ops_take() % 4 + 1;
    size_t count = 0;
    if (!ops_run.members[index].consumer) return;
    struct model_consumer *consumer = &ops_model.consumers[ops_run.members[index].name];

    for (int i = HAND_OUTS; i-- > 0 && count < BATCH;) { /* newest slots first: not in the order of ids */
        struct hand_out *out = &ops_run.hand_outs[i];
        if (out->member != index || held(out, false) != LQ_OK || out->serial % every) continue;
        check_message(&ops_model, &out->message);
        messages[count++] = out->message;
    }
    CHECK(lq_ack_batch(ops_run.members[index].consumer, messages, count) == LQ_OK);
    for (size_t i = 0; i < count; i++) consumer_settle(consumer, messages[i].id);
    ops_look_at_consumer(ops_run.members[index].name);
}

void ops_release(void)
{
    struct hand_out *out = some_hand_out();
    if (!out) return;
    struct member *member = &ops_run.members[out->member];
    struct model_consumer *consumer = &ops_model.consumers[member->name];
    int expected = held(out, false);

    CHECK(lq_release(member->consumer, &out->message) == expected);
    if (!expected) {
        consumer->of[out->message.id].fate = READY;
        consumer->of[out->message.id].attempts--;
    }
    ops_look_at_consumer(member->name);
}

/* Another member's message is not for this one to settle. */
void ops_ack_by_another(void)
{
    struct hand_out *out = some_hand_out();
    int index = (int)(ops_take() % MEMBERS);
    if (!out || !ops_run.members[index].consumer || index == out->member) return;
    if (ops_run.members[index].name != ops_run.members[out->member].name) return;
    CHECK(lq_ack(ops_run.members[index].consumer, &out->message) == LQ_ELEASE);
    ops_look_at_consumer(ops_run.members[index].name);
}
