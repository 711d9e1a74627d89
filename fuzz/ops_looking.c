/* Scripts of calls: all that looks and changes nothing. See ops_run.h. */
#include "ops_run.h"

/* ---- looking ---------------------------------------------------------------- */

lq_queue *ops_any_handle(void)
{
    return ops_run.handles[0] ? ops_run.handles[0] : ops_run.handles[1];
}

static uint64_t lowest_floor(void)
{
    uint64_t lowest = UINT64_MAX;
    for (unsigned i = 0; i < NAMES; i++)
        if (ops_model.consumers[i].exists && ops_model.consumers[i].floor < lowest) lowest = ops_model.consumers[i].floor;
    return lowest == UINT64_MAX ? 0 : lowest;
}

/* Takes from the queue what the model cannot know: what retention has deleted, what a roll has synced. */
void ops_look(void)
{
    lq_stats stats = {.size = sizeof stats};
    uint64_t visible_before = ops_model.visible_id;
    if (!ops_any_handle()) return;

    CHECK(lq_get_stats(ops_any_handle(), &stats) == LQ_OK);
    CHECK(stats.last_id == ops_model.last_id);
    CHECK(stats.first_id >= ops_model.first_id && stats.first_id <= ops_model.last_id + 1);
    CHECK(ops_model.drops || stats.first_id == ops_model.first_id || stats.first_id <= lowest_floor() + 1);
    CHECK(stats.visible_id >= visible_before && stats.visible_id <= ops_model.last_id);
    CHECK(stats.damage == 0 && stats.recovered_bytes == 0 && stats.recovered_messages == 0 && !stats.poisoned);
    CHECK(stats.handles == (ops_run.handles[0] != NULL) + (uint64_t)(ops_run.handles[1] != NULL) && stats.live);
    CHECK(stats.written <= stats.appended && stats.synced <= stats.appended);
    CHECK(!ops_run.options.size_max || stats.bytes <= ops_run.options.size_max + 40); /* a mark may go over it */
    ops_model.first_id = stats.first_id;
    ops_model.visible_id = stats.visible_id;
}

/* Where the consumer has come to by what retention deleted: that nobody else may have settled. */
void ops_adopt(struct model_consumer *consumer, const lq_consumer_stats *stats)
{
    ops_look();
    consumer_skip_new(&ops_model, consumer, stats->delivered + 1);
    for (uint64_t id = consumer->floor + 1; id <= stats->floor; id++)
        if (consumer->of[id].fate != SETTLED) consumer_drop(&ops_model, consumer, id);
}

/* Of `returned` messages that wait to come again those count that may still be there, as if deletion had met none but them. */
static uint64_t ready_of(const struct model_consumer *consumer, uint64_t returned)
{
    uint64_t deleted = ops_model.first_id - 1, known = consumer->delivered > deleted ? consumer->delivered : deleted;
    uint64_t kept = returned < known - deleted ? returned : known - deleted;
    return kept + (ops_model.visible_id > known ? ops_model.visible_id - known : 0);
}

void ops_look_at_consumer(unsigned name)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    struct model_consumer *consumer = &ops_model.consumers[name];
    uint64_t held, ready, members = 0;
    int err = lq_get_consumer_stats(ops_any_handle(), ops_names[name], &stats);

    CHECK(err == (consumer->exists ? LQ_OK : LQ_ENOTFOUND));
    if (err) return;
    if (ops_model.drops && (stats.floor != consumer->floor || stats.delivered != consumer->delivered)) ops_adopt(consumer, &stats);
    for (int i = 0; i < MEMBERS; i++) members += ops_run.members[i].consumer && ops_run.members[i].name == name;
    consumer_count(consumer, &held, &ready);
    CHECK(strcmp(stats.name, ops_names[name]) == 0);
    CHECK(stats.unacked == held && stats.members == members && stats.window == consumer->window);
    CHECK(stats.floor == consumer->floor && stats.delivered == consumer->delivered);
    CHECK(ops_model.drops || stats.dropped == 0);
    if (stats.ready != ready_of(consumer, ready)) ops_look();
    CHECK(stats.ready == ready_of(consumer, ready));
}

/* ---- readers ------------------------------------------------------------------ */

void ops_close_reader(void)
{
    lq_reader_close(ops_run.reader.reader);
    ops_run.reader.reader = NULL;
}

void ops_open_reader(unsigned handle)
{
    ops_close_reader();
    if (!ops_run.handles[handle]) return;
    CHECK(lq_reader_open(ops_run.handles[handle], &ops_run.reader.reader) == LQ_OK);
    ops_run.reader.handle = handle;
    ops_run.reader.next_id = 1;
}

void ops_seek_reader(void)
{
    uint64_t id = ops_take() | (ops_take() & 15) << 8;
    if (!ops_run.reader.reader) return;
    CHECK(lq_reader_seek_id(ops_run.reader.reader, id) == LQ_OK);
    ops_run.reader.next_id = id ? id : 1;
}

void ops_read_one(void)
{
    lq_message message;
    if (!ops_run.reader.reader) return;

    int err = lq_reader_next(ops_run.reader.reader, &message);
    CHECK(err == LQ_OK || err == LQ_EMPTY);
    if (err || message.id != ops_run.reader.next_id || message.id > ops_model.visible_id) ops_look();
    uint64_t next = ops_run.reader.next_id, kept = ops_model.first_id;
    if (err) {
        CHECK((next > kept ? next : kept) > ops_model.visible_id);
        return;
    }
    check_message(&ops_model, &message);
    CHECK(message.attempts == 0 && message.id <= ops_model.visible_id);
    CHECK(message.id == next || (next < kept && message.id >= next && message.id <= kept));
    ops_run.reader.next_id = message.id + 1;
}

void ops_seek_time(void)
{
    uint64_t known_id = ops_take() % (ops_model.last_id + 1);
    int64_t time_us = ops_model.messages[known_id].time_us;
    lq_message message;
    if (!ops_run.reader.reader || !time_us) return;
    ops_look();

    CHECK(lq_reader_seek_time(ops_run.reader.reader, time_us) == LQ_OK);
    int err = lq_reader_next(ops_run.reader.reader, &message);
    CHECK(err == LQ_OK || (err == LQ_EMPTY && known_id < ops_model.first_id && ops_model.first_id > ops_model.visible_id));
    if (err) {
        ops_close_reader();
        return;
    }
    check_message(&ops_model, &message);
    CHECK(message.time_us >= time_us && (message.id <= known_id || message.id <= ops_model.first_id));
    ops_run.reader.next_id = message.id + 1;
}

void ops_read_all(void)
{
    ops_open_reader(0);
    ops_look();
    for (uint64_t i = 0; i <= ops_model.last_id - ops_model.first_id + 1; i++) ops_read_one();
    CHECK(ops_run.reader.next_id == ops_model.last_id + 1 || ops_model.first_id > ops_model.last_id);
    ops_close_reader();
}

/* ---- looking at all of it ------------------------------------------------------- */

static void no_finding(void *context, const lq_finding *finding)
{
    (void)context;
    fprintf(stderr, "finding: %s, byte %llu: %s\n", finding->file, (unsigned long long)finding->offset, finding->text);
}

void ops_verify(void)
{
    lq_verify_result result = {.size = sizeof result};
    ops_look();
    CHECK(lq_verify(ops_path, 0, no_finding, NULL, &result) == LQ_OK);
    CHECK(result.findings == 0 && result.lost == 0);
    if (ops_any_handle()) return;
    CHECK(result.messages <= ops_model.last_id);
    CHECK(ops_model.drops || result.messages == ops_model.last_id + 1 - ops_model.first_id);
}

static int next_segment(void *context, const lq_segment *segment)
{
    uint64_t *expected = context;
    CHECK(segment->code == LQ_OK && segment->first_id == *expected && segment->last_id + 1 >= segment->first_id);
    *expected = segment->last_id + 1;
    return 0;
}

static int count_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    (void)stats;
    CHECK(code == LQ_OK);
    ++*(unsigned *)context;
    return 0;
}

void ops_list(unsigned handle)
{
    unsigned count = 0, expected = 0;
    if (!ops_run.handles[handle]) return;
    ops_look();
    uint64_t next = ops_model.first_id;
    CHECK(lq_each_segment(ops_run.handles[handle], next_segment, &next) == LQ_OK);
    CHECK(next <= ops_model.last_id + 1);
    CHECK(lq_each_consumer(ops_run.handles[handle], count_consumer, &count) == LQ_OK);
    for (unsigned i = 0; i < NAMES; i++) expected += ops_model.consumers[i].exists;
    CHECK(count == expected);
}
