/* A script of calls against a model: the input says which calls to make, and
 * after each one the library must have answered what the model answers.
 *
 * The queue lies in /dev/shm if that is there, as nothing here is about disks. Small
 * ring, small segments, a small window: all that happens at their ends happens often. */
#include <dirent.h>
#include <unistd.h>

#include "ops_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HANDLES = 2, MEMBERS = 6, HAND_OUTS = 512, BATCH = 100 };

struct member {
    lq_consumer *consumer; /* NULL: free */
    unsigned name, handle;
};

struct hand_out {
    lq_message message;
    int member; /* -1: free */
    uint32_t serial;
};

struct reader {
    lq_reader *reader;
    unsigned handle;
    uint64_t next_id;
};

struct run {
    const uint8_t *data;
    size_t size;
    lq_options options;
    lq_queue *handles[HANDLES];
    uint32_t flags[HANDLES];
    struct member members[MEMBERS];
    struct hand_out hand_outs[HAND_OUTS];
    struct reader reader;
    uint32_t serial;
};

/* Lent memory is in large blocks; a quarantine that keeps them all makes every one of them new to the kernel. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

static struct model model;
static struct run run;
static char directory[256], path[300];
static const char *const names[NAMES] = {"a", "billing", "c-3"};

/* ---- the input ------------------------------------------------------------ */

static unsigned take(void)
{
    if (!run.size) return 0;
    run.size--;
    return *run.data++;
}

static uint32_t take_size(void)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 40, 64, 100, 500, 1000, 4096, 8000, 16340, 16384, 30000, 70000};
    unsigned byte = take();
    return sizes[byte % 16] + byte / 16;
}

/* ---- the scratch directory ------------------------------------------------ */

static void remove_all(const char *where)
{
    DIR *dir = opendir(where);
    char inner[600];

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.')) continue;
        snprintf(inner, sizeof inner, "%s/%s", where, entry->d_name);
        if (unlink(inner) != 0) remove_all(inner);
    }
    if (dir) closedir(dir);
    rmdir(where);
}

static void remove_directory(void)
{
    remove_all(directory);
}

static void choose_directory(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/lq_fuzz_ops.XXXXXX", parent ? parent : "/tmp");
    CHECK(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/q", directory);
    atexit(remove_directory);
}

/* ---- looking ---------------------------------------------------------------- */

static lq_queue *any_handle(void)
{
    return run.handles[0] ? run.handles[0] : run.handles[1];
}

static uint64_t lowest_floor(void)
{
    uint64_t lowest = UINT64_MAX;
    for (unsigned i = 0; i < NAMES; i++)
        if (model.consumers[i].exists && model.consumers[i].floor < lowest) lowest = model.consumers[i].floor;
    return lowest == UINT64_MAX ? 0 : lowest;
}

/* Takes from the queue what the model cannot know: what retention has deleted, what a roll has synced. */
static void look(void)
{
    lq_stats stats = {.size = sizeof stats};
    uint64_t visible_before = model.visible_id;
    if (!any_handle()) return;

    CHECK(lq_get_stats(any_handle(), &stats) == LQ_OK);
    CHECK(stats.last_id == model.last_id);
    CHECK(stats.first_id >= model.first_id && stats.first_id <= model.last_id + 1);
    CHECK(model.drops || stats.first_id == model.first_id || stats.first_id <= lowest_floor() + 1);
    CHECK(stats.visible_id >= visible_before && stats.visible_id <= model.last_id);
    CHECK(stats.damage == 0 && stats.recovered_bytes == 0 && stats.recovered_messages == 0 && !stats.poisoned);
    CHECK(stats.handles == (run.handles[0] != NULL) + (uint64_t)(run.handles[1] != NULL) && stats.live);
    CHECK(stats.written <= stats.appended && stats.synced <= stats.appended);
    CHECK(!run.options.size_max || stats.bytes <= run.options.size_max + 40); /* a mark may go over it */
    model.first_id = stats.first_id;
    model.visible_id = stats.visible_id;
}

/* Where the consumer has come to by what retention deleted: that nobody else may have settled. */
static void adopt(struct model_consumer *consumer, const lq_consumer_stats *stats)
{
    look();
    consumer_skip_new(&model, consumer, stats->delivered + 1);
    for (uint64_t id = consumer->floor + 1; id <= stats->floor; id++)
        if (consumer->of[id].fate != SETTLED) consumer_drop(&model, consumer, id);
}

/* Of `returned` messages that wait to come again those count that may still be there, as if deletion had met none but them. */
static uint64_t ready_of(const struct model_consumer *consumer, uint64_t returned)
{
    uint64_t deleted = model.first_id - 1, known = consumer->delivered > deleted ? consumer->delivered : deleted;
    uint64_t kept = returned < known - deleted ? returned : known - deleted;
    return kept + (model.visible_id > known ? model.visible_id - known : 0);
}

static void look_at_consumer(unsigned name)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    struct model_consumer *consumer = &model.consumers[name];
    uint64_t held, ready, members = 0;
    int err = lq_get_consumer_stats(any_handle(), names[name], &stats);

    CHECK(err == (consumer->exists ? LQ_OK : LQ_ENOTFOUND));
    if (err) return;
    if (model.drops && (stats.floor != consumer->floor || stats.delivered != consumer->delivered)) adopt(consumer, &stats);
    for (int i = 0; i < MEMBERS; i++) members += run.members[i].consumer && run.members[i].name == name;
    consumer_count(consumer, &held, &ready);
    CHECK(strcmp(stats.name, names[name]) == 0);
    CHECK(stats.unacked == held && stats.members == members && stats.window == consumer->window);
    CHECK(stats.floor == consumer->floor && stats.delivered == consumer->delivered);
    CHECK(model.drops || stats.dropped == 0);
    if (stats.ready != ready_of(consumer, ready)) look();
    CHECK(stats.ready == ready_of(consumer, ready));
}

/* ---- put, sync ---------------------------------------------------------------- */

static bool may_be_full(int err)
{
    return run.options.size_max && err == (run.options.full == LQ_FULL_BLOCK ? LQ_TIMEOUT : LQ_EFULL);
}

static void accepted(unsigned handle, const lq_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) model_put(&model, &messages[i]);
    bool deferred = run.options.sync == LQ_SYNC_ALWAYS && (run.flags[handle] & LQ_DEFER_SYNC);
    if (!deferred) model.visible_id = model.last_id;
    if (deferred || run.options.size_max) look();
}

static bool too_big(const lq_message *message)
{
    uint64_t most = run.options.message_size_max;
    return most && message->size + message->key_size + message->headers_size > most;
}

static void put(unsigned handle)
{
    lq_message message = message_to_put(model.last_id + 1, take_size(), 0, 0);
    uint64_t id = 0;
    if (!run.handles[handle] || model.last_id == IDS_MAX) return;

    int err = lq_put(run.handles[handle], message.data, message.size, &id);
    if (too_big(&message)) CHECK(err == LQ_ETOOBIG);
    else CHECK(err == LQ_OK || may_be_full(err));
    CHECK(id == (err ? 0 : model.last_id + 1));
    if (!err) accepted(handle, &message, 1);
}

static void put_batch(unsigned handle)
{
    lq_message messages[BATCH];
    unsigned count = take() % BATCH + 1, shape = take();
    uint64_t first_id = 0;
    bool big = false;
    if (!run.handles[handle] || model.last_id + count > IDS_MAX) return;

    for (unsigned i = 0; i < count; i++) {
        uint32_t size = i < 8 && shape & 1 ? take_size() % 20000 : (shape >> 4) * i % 97;
        messages[i] = message_to_put(model.last_id + 1 + i, size, shape & 2 ? (i * shape) % 50 : 0, shape & 4 ? (i + shape) % 70 : 0);
        big |= too_big(&messages[i]);
    }
    int err = lq_put_batch(run.handles[handle], messages, count, &first_id);
    if (big) CHECK(err == LQ_ETOOBIG);
    else CHECK(err == LQ_OK || may_be_full(err));
    CHECK(first_id == (err ? 0 : model.last_id + 1));
    if (!err) accepted(handle, messages, count);
}

static void sync_queue(unsigned handle)
{
    if (!run.handles[handle]) return;
    CHECK(lq_sync(run.handles[handle]) == LQ_OK);
    model.visible_id = model.last_id;
    look();
}

/* ---- members ------------------------------------------------------------------ */

static int free_member(void)
{
    for (int i = 0; i < MEMBERS; i++)
        if (!run.members[i].consumer) return i;
    return -1;
}

static unsigned members_of(unsigned name)
{
    unsigned count = 0;
    for (int i = 0; i < MEMBERS; i++) count += run.members[i].consumer && run.members[i].name == name;
    return count;
}

/* Where a new consumer must begin: its floor. By time only the queue knows; it must not begin too late. */
static uint64_t floor_of_new(unsigned handle, unsigned name, const lq_consumer_options *options, uint64_t known_id)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    uint64_t id = options->start_id;

    switch (options->start) {
    case LQ_START_END: return model.last_id;
    case LQ_START_ID:
        if (id > model.last_id + 1) id = model.last_id + 1;
        return id > model.first_id ? id - 1 : model.first_id - 1;
    case LQ_START_TIME:
        CHECK(lq_get_consumer_stats(run.handles[handle], names[name], &stats) == LQ_OK);
        CHECK(stats.floor + 1 >= model.first_id);
        CHECK(stats.floor < known_id || stats.floor + 1 == model.first_id);
        return stats.floor;
    default: return model.first_id - 1;
    }
}

static void open_member(unsigned handle)
{
    static const uint32_t windows[] = {64, 64, 100, 0};
    unsigned name = take() % NAMES, shape = take();
    struct model_consumer *consumer = &model.consumers[name];
    uint64_t known_id = take() % (model.last_id + 1);
    int index = free_member();
    lq_consumer_options options = {.size = sizeof options, .start = (int)(shape & 3), .window = windows[shape >> 6],
                                   .flags = (shape & 4 ? LQ_CONSUMER_NO_CREATE : 0) | (shape & 8 ? LQ_CONSUMER_SAVE_ACKS : 0),
                                   .start_id = take(), .start_time_us = model.messages[known_id].time_us};
    if (!run.handles[handle] || index < 0) return;
    look();

    struct member *member = &run.members[index];
    int err = lq_consumer_open(run.handles[handle], names[name], &options, &member->consumer);
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
    look_at_consumer(name);
}

static void close_member(int index)
{
    struct member *member = &run.members[index];
    if (!member->consumer) return;

    CHECK(lq_consumer_close(member->consumer) == LQ_OK);
    member->consumer = NULL;
    for (int i = 0; i < HAND_OUTS; i++) {
        struct hand_out *out = &run.hand_outs[i];
        if (out->member != index) continue;
        struct model_consumer *consumer = &model.consumers[member->name];
        uint64_t id = out->message.id;
        if (consumer->of[id].hand_out == out->serial && consumer->of[id].fate == HELD) consumer->of[id].fate = READY;
        out->member = -1;
    }
    if (any_handle()) look_at_consumer(member->name);
}

static void delete_consumer(unsigned handle)
{
    unsigned name = take() % NAMES;
    if (!run.handles[handle]) return;
    look(); /* what was consumed with it may be gone already */

    int err = lq_consumer_delete(run.handles[handle], names[name]);
    if (!model.consumers[name].exists) CHECK(err == LQ_ENOTFOUND);
    else if (members_of(name)) CHECK(err == LQ_EBUSY);
    else CHECK(err == LQ_OK);
    if (!err) model.consumers[name].exists = false;
    look();
}

/* ---- get, ack, release ---------------------------------------------------------- */

/* What is not among the hand-outs any more is forgotten, not settled: the consumer keeps it until its member closes. */
static struct hand_out *new_hand_out(void)
{
    struct hand_out *out = &run.hand_outs[run.serial % HAND_OUTS];
    *out = (struct hand_out){.member = -1};
    out->serial = ++run.serial;
    return out;
}

static void got(int index, const lq_message *message)
{
    struct member *member = &run.members[index];
    struct model_consumer *consumer = &model.consumers[member->name];
    uint64_t id = message->id;

    /* A roll makes durable what it seals, and so shows what was put without waiting for the disk. */
    if (id > model.visible_id) look();
    check_message(&model, message);
    /* What retention has deleted comes if the member had its bytes at hand, and is passed over if not. */
    if (model.drops && id != consumer_next(&model, consumer)) {
        look();
        consumer_skip_again(&model, consumer, id);
        consumer_skip_new(&model, consumer, id);
    }
    CHECK(id == consumer_next(&model, consumer));
    struct hand_out *out = new_hand_out();
    out->message = *message;
    out->member = index;
    consumer->of[id].fate = HELD;
    consumer->of[id].hand_out = out->serial;
    CHECK(message->attempts == ++consumer->of[id].attempts);
    if (id > consumer->delivered) consumer->delivered = id;
}

static void got_nothing(int index)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    struct model_consumer *consumer = &model.consumers[run.members[index].name];

    if (!consumer_next(&model, consumer)) return;
    CHECK(model.drops);
    look();
    consumer_skip_again(&model, consumer, UINT64_MAX);
    CHECK(lq_get_consumer_stats(any_handle(), names[run.members[index].name], &stats) == LQ_OK);
    adopt(consumer, &stats);
    CHECK(!consumer_next(&model, consumer));
}

/* Room for so many hand-outs, or their member could not give them back in the model. */
static bool room_for(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (run.hand_outs[(run.serial + i) % HAND_OUTS].member >= 0) return false;
    return true;
}

static void get(int index)
{
    lq_message message;
    if (!run.members[index].consumer || !room_for(1)) return;

    int err = lq_get(run.members[index].consumer, &message, 0);
    CHECK(err == LQ_OK || err == LQ_EMPTY);
    if (err) got_nothing(index);
    else got(index, &message);
}

static void get_batch(int index)
{
    lq_message messages[BATCH];
    size_t most = take() % BATCH + 1, count = 0;
    if (!run.members[index].consumer || !room_for((unsigned)most)) return;

    int err = lq_get_batch(run.members[index].consumer, messages, most, &count, 0);
    CHECK(err == LQ_OK || err == LQ_EMPTY);
    CHECK(err ? count == 0 : count >= 1 && count <= most);
    for (size_t i = 0; i < count; i++) got(index, &messages[i]);
    if (count < most) got_nothing(index);
    look_at_consumer(run.members[index].name);
}

static struct hand_out *some_hand_out(void)
{
    unsigned back = take() % 128;
    if (back >= run.serial) return NULL;
    struct hand_out *out = &run.hand_outs[(run.serial - 1 - back) % HAND_OUTS];
    return out->member >= 0 ? out : NULL;
}

/* What settling this hand-out by its own member must answer. */
static int held(const struct hand_out *out, bool ack)
{
    const struct model_consumer *consumer = &model.consumers[run.members[out->member].name];
    uint64_t id = out->message.id;

    if (consumer->of[id].hand_out != out->serial) return LQ_ELEASE;
    if (consumer->of[id].fate == HELD) return LQ_OK;
    return ack && consumer->of[id].fate == SETTLED ? LQ_OK : LQ_ELEASE;
}

/* A double ack is remembered as long as the id's place in the window is. */
static bool forgotten(const struct hand_out *out)
{
    const struct model_consumer *consumer = &model.consumers[run.members[out->member].name];
    return consumer->delivered - out->message.id >= consumer->window || model.drops;
}

static void check_settled(const struct hand_out *out, int err, int expected)
{
    CHECK(err == expected || (err == LQ_ELEASE && forgotten(out)));
}

static void ack(void)
{
    struct hand_out *out = some_hand_out();
    if (!out) return;
    struct member *member = &run.members[out->member];
    struct model_consumer *consumer = &model.consumers[member->name];
    bool first = consumer->of[out->message.id].hand_out == out->serial && consumer->of[out->message.id].fate == HELD;

    if (first) check_message(&model, &out->message); /* its bytes were lent until now */
    int expected = held(out, true);
    int err = lq_ack(member->consumer, &out->message);
    if (first) CHECK(err == LQ_OK);
    else check_settled(out, err, expected);
    if (first) consumer_settle(consumer, out->message.id);
    look_at_consumer(member->name);
}

static void ack_batch(void)
{
    lq_message messages[BATCH];
    int index = (int)(take() % MEMBERS);
    unsigned every = take() % 4 + 1;
    size_t count = 0;
    if (!run.members[index].consumer) return;
    struct model_consumer *consumer = &model.consumers[run.members[index].name];

    for (int i = HAND_OUTS; i-- > 0 && count < BATCH;) { /* newest slots first: not in the order of ids */
        struct hand_out *out = &run.hand_outs[i];
        if (out->member != index || held(out, false) != LQ_OK || out->serial % every) continue;
        check_message(&model, &out->message);
        messages[count++] = out->message;
    }
    CHECK(lq_ack_batch(run.members[index].consumer, messages, count) == LQ_OK);
    for (size_t i = 0; i < count; i++) consumer_settle(consumer, messages[i].id);
    look_at_consumer(run.members[index].name);
}

static void release(void)
{
    struct hand_out *out = some_hand_out();
    if (!out) return;
    struct member *member = &run.members[out->member];
    struct model_consumer *consumer = &model.consumers[member->name];
    int expected = held(out, false);

    CHECK(lq_release(member->consumer, &out->message) == expected);
    if (!expected) {
        consumer->of[out->message.id].fate = READY;
        consumer->of[out->message.id].attempts--;
    }
    look_at_consumer(member->name);
}

/* Another member's message is not for this one to settle. */
static void ack_by_another(void)
{
    struct hand_out *out = some_hand_out();
    int index = (int)(take() % MEMBERS);
    if (!out || !run.members[index].consumer || index == out->member) return;
    if (run.members[index].name != run.members[out->member].name) return;
    CHECK(lq_ack(run.members[index].consumer, &out->message) == LQ_ELEASE);
    look_at_consumer(run.members[index].name);
}

/* ---- readers ------------------------------------------------------------------ */

static void close_reader(void)
{
    lq_reader_close(run.reader.reader);
    run.reader.reader = NULL;
}

static void open_reader(unsigned handle)
{
    close_reader();
    if (!run.handles[handle]) return;
    CHECK(lq_reader_open(run.handles[handle], &run.reader.reader) == LQ_OK);
    run.reader.handle = handle;
    run.reader.next_id = 1;
}

static void seek_reader(void)
{
    uint64_t id = take() | (take() & 15) << 8;
    if (!run.reader.reader) return;
    CHECK(lq_reader_seek_id(run.reader.reader, id) == LQ_OK);
    run.reader.next_id = id ? id : 1;
}

static void read_one(void)
{
    lq_message message;
    if (!run.reader.reader) return;

    int err = lq_reader_next(run.reader.reader, &message);
    CHECK(err == LQ_OK || err == LQ_EMPTY);
    if (err || message.id != run.reader.next_id || message.id > model.visible_id) look();
    uint64_t next = run.reader.next_id, kept = model.first_id;
    if (err) {
        CHECK((next > kept ? next : kept) > model.visible_id);
        return;
    }
    check_message(&model, &message);
    CHECK(message.attempts == 0 && message.id <= model.visible_id);
    CHECK(message.id == next || (next < kept && message.id >= next && message.id <= kept));
    run.reader.next_id = message.id + 1;
}

static void seek_time(void)
{
    uint64_t known_id = take() % (model.last_id + 1);
    int64_t time_us = model.messages[known_id].time_us;
    lq_message message;
    if (!run.reader.reader || !time_us) return;
    look();

    CHECK(lq_reader_seek_time(run.reader.reader, time_us) == LQ_OK);
    int err = lq_reader_next(run.reader.reader, &message);
    CHECK(err == LQ_OK || (err == LQ_EMPTY && known_id < model.first_id && model.first_id > model.visible_id));
    if (err) {
        close_reader();
        return;
    }
    check_message(&model, &message);
    CHECK(message.time_us >= time_us && (message.id <= known_id || message.id <= model.first_id));
    run.reader.next_id = message.id + 1;
}

/* ---- handles ------------------------------------------------------------------- */

static void open_handle(unsigned handle)
{
    lq_options options = run.options;
    if (run.handles[handle]) return;

    options.flags = run.flags[handle] = take() & 1 ? LQ_DEFER_SYNC : 0;
    CHECK(lq_open(path, &options, &run.handles[handle]) == LQ_OK);
    look();
}

static void close_handle(unsigned handle)
{
    if (!run.handles[handle]) return;
    for (int i = 0; i < MEMBERS; i++)
        if (run.members[i].consumer && run.members[i].handle == handle) close_member(i);
    if (run.reader.reader && run.reader.handle == handle) close_reader();
    CHECK(lq_close(run.handles[handle]) == LQ_OK);
    run.handles[handle] = NULL;
    if (!any_handle()) model.visible_id = model.last_id;
}

static void close_too_early(unsigned handle)
{
    bool used = run.reader.reader && run.reader.handle == handle;
    for (int i = 0; i < MEMBERS; i++) used |= run.members[i].consumer && run.members[i].handle == handle;
    if (run.handles[handle] && used) CHECK(lq_close(run.handles[handle]) == LQ_EINVAL);
}

static void open_with_other_options(void)
{
    lq_options options = run.options;
    lq_queue *queue = NULL;

    if (!any_handle()) return;
    if (take() & 1) options.sync = options.sync == LQ_SYNC_ALWAYS ? LQ_SYNC_NEVER : LQ_SYNC_ALWAYS;
    else options.segment_size += 4096;
    CHECK(lq_open(path, &options, &queue) == LQ_EMISMATCH);
    CHECK(queue == NULL);
}

/* ---- looking at all of it ------------------------------------------------------- */

static void no_finding(void *context, const lq_finding *finding)
{
    (void)context;
    fprintf(stderr, "finding: %s, byte %llu: %s\n", finding->file, (unsigned long long)finding->offset, finding->text);
}

static void verify(void)
{
    lq_verify_result result = {.size = sizeof result};
    look();
    CHECK(lq_verify(path, 0, no_finding, NULL, &result) == LQ_OK);
    CHECK(result.findings == 0 && result.lost == 0);
    if (any_handle()) return;
    CHECK(result.messages <= model.last_id);
    CHECK(model.drops || result.messages == model.last_id + 1 - model.first_id);
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

static void list(unsigned handle)
{
    unsigned count = 0, expected = 0;
    if (!run.handles[handle]) return;
    look();
    uint64_t next = model.first_id;
    CHECK(lq_each_segment(run.handles[handle], next_segment, &next) == LQ_OK);
    CHECK(next <= model.last_id + 1);
    CHECK(lq_each_consumer(run.handles[handle], count_consumer, &count) == LQ_OK);
    for (unsigned i = 0; i < NAMES; i++) expected += model.consumers[i].exists;
    CHECK(count == expected);
}

/* ---- a script --------------------------------------------------------------------- */

static void choose_options(void)
{
    unsigned a = take(), b = take();
    static const int syncs[] = {LQ_SYNC_NEVER, LQ_SYNC_ALWAYS, LQ_SYNC_NEVER, LQ_SYNC_INTERVAL};

    run.options = (lq_options){.size = sizeof run.options, .segment_size = 65536, .ring_size = 65536, .sync = syncs[a & 3],
                               .compression = a & 4 ? 1 : 0, .full_timeout_ms = 1};
    run.options.sync_interval_ms = run.options.sync == LQ_SYNC_INTERVAL ? 1 : 0;
    if (a & 8) run.options.message_size_max = 5000;
    if (a & 16) {
        run.options.size_max = 131072 + (b & 15) * 20000;
        run.options.full = (int)(b >> 4 & 3);
        run.options.retention = (int)(b >> 6 & 3);
    }
    model.drops = run.options.size_max && (run.options.retention > LQ_RETAIN_CONSUMED || run.options.full == LQ_FULL_DROP);
    pattern_choose(a & 32);
}

static void step(void)
{
    unsigned op = take(), handle = op >> 7, which = take();
    int index = (int)(which % MEMBERS);

    switch (op % 32) {
    case 0: case 1: case 2: put(handle); break;
    case 3: case 4: put_batch(handle); break;
    case 5: case 6: get(index); break;
    case 7: case 8: get_batch(index); break;
    case 9: case 10: ack(); break;
    case 11: case 12: ack_batch(); break;
    case 13: release(); break;
    case 14: ack_by_another(); break;
    case 15: case 16: open_member(handle); break;
    case 17: close_member(index); break;
    case 18: delete_consumer(handle); break;
    case 19: open_reader(handle); break;
    case 20: seek_reader(); break;
    case 21: seek_time(); break;
    case 22: for (unsigned i = which % 64; i--;) read_one(); break;
    case 23: sync_queue(handle); break;
    case 24: open_handle(handle); break;
    case 25: close_handle(handle); break;
    case 26: close_too_early(handle); break;
    case 27: open_with_other_options(); break;
    case 28: if (which == 7) verify(); break;
    case 29: list(handle); break;
    case 30: close_handle(0), close_handle(1), open_handle(handle); break;
    default: look(); break;
    }
}

/* Every consumer must still get all that it has not acked. */
static void drain(unsigned name)
{
    struct model_consumer *consumer = &model.consumers[name];
    lq_message messages[BATCH];
    size_t count = 0;
    int err;

    if (!consumer->exists) return;
    CHECK(lq_consumer_open(run.handles[0], names[name], NULL, &run.members[0].consumer) == LQ_OK);
    run.members[0].name = name;
    run.members[0].handle = 0;
    while ((err = lq_get_batch(run.members[0].consumer, messages, 64, &count, 0)) == LQ_OK) {
        for (size_t i = 0; i < count; i++) got(0, &messages[i]);
        CHECK(lq_ack_batch(run.members[0].consumer, messages, count) == LQ_OK);
        for (size_t i = 0; i < count; i++) consumer_settle(consumer, messages[i].id);
    }
    CHECK(err == LQ_EMPTY);
    got_nothing(0);
    close_member(0);
}

static void read_all(void)
{
    open_reader(0);
    look();
    for (uint64_t i = 0; i <= model.last_id - model.first_id + 1; i++) read_one();
    CHECK(run.reader.next_id == model.last_id + 1 || model.first_id > model.last_id);
    close_reader();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*directory) choose_directory();
    remove_all(path);
    memset(&model, 0, sizeof model);
    run = (struct run){.data = data, .size = size < 600 ? size : 600};
    for (int i = 0; i < HAND_OUTS; i++) run.hand_outs[i].member = -1;
    model.first_id = 1;
    choose_options();
    open_handle(0);

    while (run.size) step();

    close_handle(0);
    close_handle(1);
    for (int i = 0; i < HAND_OUTS; i++) run.hand_outs[i].member = -1;
    open_handle(0);
    read_all();
    for (unsigned i = 0; i < NAMES; i++) drain(i);
    look();
    close_handle(0);
    verify();
    return 0;
}
