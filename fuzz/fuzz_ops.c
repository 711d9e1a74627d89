/* A script of calls against a model: the input says which calls to make, and
 * after each one the library must have answered what the model answers.
 *
 * The queue lies in /dev/shm if that is there, as nothing here is about disks. Small
 * ring, small segments, a small window: all that happens at their ends happens often. */
#include <dirent.h>
#include <unistd.h>

#include "ops_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lent memory is in large blocks; a quarantine that keeps them all makes every one of them new to the kernel. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

struct model ops_model;
struct run ops_run;
char ops_path[300];
const char *const ops_names[NAMES] = {"a", "billing", "c-3"};
static char directory[256];

/* ---- the input ------------------------------------------------------------ */

unsigned ops_take(void)
{
    if (!ops_run.size) return 0;
    ops_run.size--;
    return *ops_run.data++;
}

static uint32_t take_size(void)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 40, 64, 100, 500, 1000, 4096, 8000, 16340, 16384, 30000, 70000};
    unsigned byte = ops_take();
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
    snprintf(ops_path, sizeof ops_path, "%s/q", directory);
    atexit(remove_directory);
}

/* ---- put, sync ---------------------------------------------------------------- */

static bool may_be_full(int err)
{
    return ops_run.options.size_max && err == (ops_run.options.full == LQ_FULL_BLOCK ? LQ_TIMEOUT : LQ_EFULL);
}

static void accepted(unsigned handle, const lq_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) model_put(&ops_model, &messages[i]);
    bool deferred = ops_run.options.sync == LQ_SYNC_ALWAYS && (ops_run.flags[handle] & LQ_DEFER_SYNC);
    if (!deferred) ops_model.visible_id = ops_model.last_id;
    if (deferred || ops_run.options.size_max) ops_look();
}

static bool too_big(const lq_message *message)
{
    uint64_t most = ops_run.options.message_size_max;
    return most && message->size + message->key_size + message->headers_size > most;
}

static void put(unsigned handle)
{
    lq_message message = message_to_put(ops_model.last_id + 1, take_size(), 0, 0);
    uint64_t id = 0;
    if (!ops_run.handles[handle] || ops_model.last_id == IDS_MAX) return;

    int err = lq_put(ops_run.handles[handle], message.data, message.size, &id);
    if (too_big(&message)) CHECK(err == LQ_ETOOBIG);
    else CHECK(err == LQ_OK || may_be_full(err));
    CHECK(id == (err ? 0 : ops_model.last_id + 1));
    if (!err) accepted(handle, &message, 1);
}

static void put_batch(unsigned handle)
{
    lq_message messages[BATCH];
    unsigned count = ops_take() % BATCH + 1, shape = ops_take();
    uint64_t first_id = 0;
    bool big = false;
    if (!ops_run.handles[handle] || ops_model.last_id + count > IDS_MAX) return;

    for (unsigned i = 0; i < count; i++) {
        uint32_t size = i < 8 && shape & 1 ? take_size() % 20000 : (shape >> 4) * i % 97;
        messages[i] = message_to_put(ops_model.last_id + 1 + i, size, shape & 2 ? (i * shape) % 50 : 0, shape & 4 ? (i + shape) % 70 : 0);
        big |= too_big(&messages[i]);
    }
    int err = lq_put_batch(ops_run.handles[handle], messages, count, &first_id);
    if (big) CHECK(err == LQ_ETOOBIG);
    else CHECK(err == LQ_OK || may_be_full(err));
    CHECK(first_id == (err ? 0 : ops_model.last_id + 1));
    if (!err) accepted(handle, messages, count);
}

static void sync_queue(unsigned handle)
{
    if (!ops_run.handles[handle]) return;
    CHECK(lq_sync(ops_run.handles[handle]) == LQ_OK);
    ops_model.visible_id = ops_model.last_id;
    ops_look();
}

/* ---- handles ------------------------------------------------------------------- */

static void open_handle(unsigned handle)
{
    lq_options options = ops_run.options;
    if (ops_run.handles[handle]) return;

    options.flags = ops_run.flags[handle] = ops_take() & 1 ? LQ_DEFER_SYNC : 0;
    CHECK(lq_open(ops_path, &options, &ops_run.handles[handle]) == LQ_OK);
    ops_look();
}

static void close_handle(unsigned handle)
{
    if (!ops_run.handles[handle]) return;
    for (int i = 0; i < MEMBERS; i++)
        if (ops_run.members[i].consumer && ops_run.members[i].handle == handle) ops_close_member(i);
    if (ops_run.reader.reader && ops_run.reader.handle == handle) ops_close_reader();
    CHECK(lq_close(ops_run.handles[handle]) == LQ_OK);
    ops_run.handles[handle] = NULL;
    if (!ops_any_handle()) ops_model.visible_id = ops_model.last_id;
}

static void close_too_early(unsigned handle)
{
    bool used = ops_run.reader.reader && ops_run.reader.handle == handle;
    for (int i = 0; i < MEMBERS; i++) used |= ops_run.members[i].consumer && ops_run.members[i].handle == handle;
    if (ops_run.handles[handle] && used) CHECK(lq_close(ops_run.handles[handle]) == LQ_EINVAL);
}

static void open_with_other_options(void)
{
    lq_options options = ops_run.options;
    lq_queue *queue = NULL;

    if (!ops_any_handle()) return;
    if (ops_take() & 1) options.sync = options.sync == LQ_SYNC_ALWAYS ? LQ_SYNC_NEVER : LQ_SYNC_ALWAYS;
    else options.segment_size += 4096;
    CHECK(lq_open(ops_path, &options, &queue) == LQ_EMISMATCH);
    CHECK(queue == NULL);
}

/* ---- a script --------------------------------------------------------------------- */

static void choose_options(void)
{
    unsigned a = ops_take(), b = ops_take();
    static const int syncs[] = {LQ_SYNC_NEVER, LQ_SYNC_ALWAYS, LQ_SYNC_NEVER, LQ_SYNC_INTERVAL};

    ops_run.options = (lq_options){.size = sizeof ops_run.options, .segment_size = 65536, .ring_size = 65536, .sync = syncs[a & 3],
                               .compression = a & 4 ? 1 : 0, .full_timeout_ms = 1};
    ops_run.options.sync_interval_ms = ops_run.options.sync == LQ_SYNC_INTERVAL ? 1 : 0;
    if (a & 8) ops_run.options.message_size_max = 5000;
    if (a & 16) {
        ops_run.options.size_max = 131072 + (b & 15) * 20000;
        ops_run.options.full = (int)(b >> 4 & 3);
        ops_run.options.retention = (int)(b >> 6 & 3);
    }
    ops_model.drops = ops_run.options.size_max && (ops_run.options.retention > LQ_RETAIN_CONSUMED || ops_run.options.full == LQ_FULL_DROP);
    pattern_choose(a & 32);
}

static void step(void)
{
    unsigned op = ops_take(), handle = op >> 7, which = ops_take();
    int index = (int)(which % MEMBERS);

    switch (op % 32) {
    case 0: case 1: case 2: put(handle); break;
    case 3: case 4: put_batch(handle); break;
    case 5: case 6: ops_get(index); break;
    case 7: case 8: ops_get_batch(index); break;
    case 9: case 10: ops_ack(); break;
    case 11: case 12: ops_ack_batch(); break;
    case 13: ops_release(); break;
    case 14: ops_ack_by_another(); break;
    case 15: case 16: ops_open_member(handle); break;
    case 17: ops_close_member(index); break;
    case 18: ops_delete_consumer(handle); break;
    case 19: ops_open_reader(handle); break;
    case 20: ops_seek_reader(); break;
    case 21: ops_seek_time(); break;
    case 22: for (unsigned i = which % 64; i--;) ops_read_one(); break;
    case 23: sync_queue(handle); break;
    case 24: open_handle(handle); break;
    case 25: close_handle(handle); break;
    case 26: close_too_early(handle); break;
    case 27: open_with_other_options(); break;
    case 28: if (which == 7) ops_verify(); break;
    case 29: ops_list(handle); break;
    case 30: close_handle(0), close_handle(1), open_handle(handle); break;
    default: ops_look(); break;
    }
}

/* Every consumer must still get all that it has not acked. */
static void drain(unsigned name)
{
    struct model_consumer *consumer = &ops_model.consumers[name];
    lq_message messages[BATCH];
    size_t count = 0;
    int err;

    if (!consumer->exists) return;
    CHECK(lq_consumer_open(ops_run.handles[0], ops_names[name], NULL, &ops_run.members[0].consumer) == LQ_OK);
    ops_run.members[0].name = name;
    ops_run.members[0].handle = 0;
    while ((err = lq_get_batch(ops_run.members[0].consumer, messages, 64, &count, 0)) == LQ_OK) {
        for (size_t i = 0; i < count; i++) ops_got(0, &messages[i]);
        CHECK(lq_ack_batch(ops_run.members[0].consumer, messages, count) == LQ_OK);
        for (size_t i = 0; i < count; i++) consumer_settle(consumer, messages[i].id);
    }
    CHECK(err == LQ_EMPTY);
    ops_got_nothing(0);
    ops_close_member(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*directory) choose_directory();
    remove_all(ops_path);
    memset(&ops_model, 0, sizeof ops_model);
    ops_run = (struct run){.data = data, .size = size < 600 ? size : 600};
    for (int i = 0; i < HAND_OUTS; i++) ops_run.hand_outs[i].member = -1;
    ops_model.first_id = 1;
    choose_options();
    open_handle(0);

    while (ops_run.size) step();

    close_handle(0);
    close_handle(1);
    for (int i = 0; i < HAND_OUTS; i++) ops_run.hand_outs[i].member = -1;
    open_handle(0);
    ops_read_all();
    for (unsigned i = 0; i < NAMES; i++) drain(i);
    ops_look();
    close_handle(0);
    ops_verify();
    return 0;
}
