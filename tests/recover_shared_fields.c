/* Each number in the head of `shared`, as dead processes may have left it or anybody written it since, at the limits of what
 * it can hold; the file cut at every page; and the boot and the library it is of. Opening never crashes and never
 * hangs; what was synced is there, acks that were synced stay so, and the queue can be used.
 *
 *     LQ_SWEEP=OFFSET/VALUE recover_shared_fields     one case again, as a failure names it */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024, MESSAGES = 40, SIZE = 200, ACKED = 7, OUT = 3 };

static char queue_path[4096], shared_path[4200];
static const lq_options options = {.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
static const lq_consumer_options window = {.size = sizeof window, .window = 64};

/* ---- the same dead again and again ---------------------------------------- */

static int fill_and_die(void *context)
{
    lq_queue *queue;
    lq_consumer *consumer, *other;
    lq_message message;
    (void)context;
    OK(lq_open(queue_path, &options, &queue));
    OK(lq_consumer_open(queue, "c", &window, &consumer));
    OK(lq_consumer_open(queue, "other", &window, &other));
    api_put_range(queue, 1, MESSAGES, SIZE);
    api_take_range(consumer, 1, ACKED, SIZE);
    OK(lq_get(other, &message, 0)); /* keeps its floor down */
    api_take_range(other, 2, ACKED + OUT, SIZE);
    OK(lq_sync(queue));
    for (int i = 0; i < OUT; i++) OK(lq_get(consumer, &message, 0));
    return 0;
}

enum { FILES_MAX = 16 };
static struct kept_file {
    char path[4600];
    struct api_bytes file;
} kept[FILES_MAX];
static size_t kept_count;

static const char *const parts[] = {"", "/log", "/consumers"};

static void each_file(void (*what)(const char *path))
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char directory[4200], path[4600];
        snprintf(directory, sizeof directory, "%s%s", queue_path, parts[i]);
        DIR *stream = opendir(directory);
        HOLDS(stream != NULL);
        for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
            if (entry->d_type == DT_REG) what(path);
        }
        closedir(stream);
    }
}

static void keep(const char *path)
{
    HOLDS(kept_count < FILES_MAX);
    snprintf(kept[kept_count].path, sizeof kept->path, "%s", path);
    kept[kept_count++].file = api_file_read(path);
}

static void remove_if_new(const char *path)
{
    for (size_t i = 0; i < kept_count; i++)
        if (strcmp(kept[i].path, path) == 0) return;
    damage_remove(path);
}

/* In place: `shared` is believed in its own inode only. */
static void restore(void)
{
    each_file(remove_if_new);
    for (size_t i = 0; i < kept_count; i++) api_file_write(kept[i].path, kept[i].file.bytes, kept[i].file.size);
}

static int setup(void **state)
{
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1); /* hundreds of recoveries: a disk takes its time */
    if (api_setup(state) != 0) return -1;
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    snprintf(shared_path, sizeof shared_path, "%s/" LQI_SHARED_NAME, queue_path);
    kept_count = 0;
    if (child_run(fill_and_die, NULL) != 0) return -1;
    each_file(keep);
    return 0;
}

static int teardown(void **state)
{
    while (kept_count > 0) free(kept[--kept_count].file.bytes);
    return api_teardown(state);
}

/* ---- what must be there --------------------------------------------------- */

static void use(lq_queue *queue)
{
    lq_reader *reader;
    lq_message message;
    lq_consumer *consumer;

    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
    lq_reader_close(reader);
    OK(lq_consumer_open(queue, "c", &window, &consumer));
    api_take_range(consumer, ACKED + 1, MESSAGES, SIZE);
    OK(lq_put(queue, "more", 4, NULL));
    OK(lq_get(consumer, &message, 1000));
    HOLDS(api_is_text(&message, "more"));
    OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
}

static int open_and_use(void *context)
{
    lq_queue *queue;
    (void)context;
    alarm(20);
    OK(lq_open(queue_path, &options, &queue));
    EQUAL(api_stats(queue).damage, 0);
    use(queue);
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
    return 0;
}

/* Looking takes nothing for granted either: it may take the memory for damaged, and says so, for it changes nothing in it. */
static int only_look(void *context)
{
    const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    lq_consumer_stats stats = {.size = sizeof stats};
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    int err, told = 0;
    (void)context;
    alarm(20);
    OK(lq_open(queue_path, &look, &queue));
    OK(lq_reader_open(queue, &reader));
    while ((err = lq_reader_next(reader, &message)) != LQ_EMPTY) {
        if (err == LQ_OK) HOLDS(api_is_filled(&message, SIZE, message.id));
        else IS(LQ_ECORRUPT, err);
        HOLDS(err == LQ_OK || ++told < 10);
    }
    lq_reader_close(reader);
    (void)api_stats(queue);
    OK(lq_get_consumer_stats(queue, "c", &stats));
    OK(lq_close(queue));
    return 0;
}

static void check(const char *what, uint64_t offset, uint64_t value)
{
    int looked = child_run(only_look, NULL), result = child_run(open_and_use, NULL);
    if (looked || result) api_note("LQ_SWEEP=%" PRIu64 "/%" PRIu64 ": %s ended with %d, %d", offset, value, what, looked, result);
    EQUAL(looked, 0);
    EQUAL(result, 0);
}

/* ---- the cases ------------------------------------------------------------- */

static const uint64_t limits[] = {0, 1, UINT32_MAX, (uint64_t)1 << 32, ((uint64_t)1 << 62) - 8, (uint64_t)1 << 62, UINT64_MAX};

static void set_word(uint64_t offset, uint64_t value)
{
    int fd = open(shared_path, O_WRONLY | O_CLOEXEC);
    HOLDS(fd >= 0 && pwrite(fd, &value, sizeof value, (off_t)offset) == (ssize_t)sizeof value);
    close(fd);
}

static void with_each_limit(uint64_t from, uint64_t to)
{
    uint64_t only = 0, value = 0;
    const char *one = getenv("LQ_SWEEP");
    bool picked = one && sscanf(one, "%" SCNu64 "/%" SCNu64, &only, &value) == 2;

    for (uint64_t offset = from; offset < to; offset += 8) {
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            if (picked && (offset != only || limits[i] != value)) continue;
            restore();
            set_word(offset, limits[i]);
            check("a number of shared at a limit", offset, limits[i]);
        }
    }
}

static void each_number_of_the_identity_at_its_limits_loses_nothing(void **state)
{
    (void)state;
    with_each_limit(0, offsetof(struct lqi_identity, version));
    with_each_limit(offsetof(struct lqi_identity, ring_size), offsetof(struct lqi_shared, admin));
}

static void each_number_of_the_log_at_its_limits_loses_nothing(void **state)
{
    uint64_t log = offsetof(struct lqi_shared, log);
    (void)state;
    with_each_limit(log, log + offsetof(struct lqi_log_state, spans) + offsetof(struct lqi_span, index));
    uint64_t second = log + offsetof(struct lqi_log_state, spans) + sizeof(struct lqi_span);
    with_each_limit(second, second + offsetof(struct lqi_span, index) + 16);
}

static void each_number_of_a_consumer_at_its_limits_loses_no_message(void **state)
{
    uint64_t first = offsetof(struct lqi_shared, consumers);
    (void)state;
    with_each_limit(first, first + sizeof(struct lqi_consumer_slot));
}

/* As the dead have left it. */
static const struct lqi_shared *memory_of_the_dead(void)
{
    for (size_t i = 0; i < kept_count; i++)
        if (strcmp(kept[i].path, shared_path) == 0) return (const void *)kept[i].file.bytes;
    return NULL;
}

static uint64_t offset_in(const struct lqi_shared *memory, const void *field)
{
    return (uint64_t)((const uint8_t *)field - (const uint8_t *)memory);
}

static void a_floor_that_is_not_what_it_was_takes_no_message_away(void **state)
{
    const struct lqi_shared *memory = memory_of_the_dead();
    (void)state;
    EQUAL(memory->consumers[0].floor, ACKED);
    for (uint64_t floor = 0; floor <= ACKED + OUT; floor++) {
        restore();
        set_word(offset_in(memory, &memory->consumers[0].floor), floor);
        check("a floor", 0, floor);
        restore();
        set_word(offset_in(memory, &memory->consumers[0].not_floor), ~floor);
        check("the other of a floor", 0, floor);
    }
}

static void a_slot_that_says_settled_and_was_not_takes_no_message_away(void **state)
{
    const struct lqi_shared *memory = memory_of_the_dead();
    uint64_t slots = memory->consumers[0].region_offset + offsetof(struct lqi_region, slots);
    const struct lqi_slot *kept_slots = (const void *)((const uint8_t *)memory + slots);
    (void)state;
    for (uint64_t id = ACKED + 1; id <= ACKED + OUT; id++) {
        struct lqi_slot slot = kept_slots[id];
        uint64_t words[2];
        EQUAL(slot.state, LQI_SLOT_LEASED);
        slot.state = LQI_SLOT_SETTLED;
        memcpy(words, &slot, sizeof words);
        restore();
        set_word(slots + id * sizeof slot + 8, words[1]);
        check("a settled slot", id, words[1]);
        restore();
        for (size_t i = 0; i < 2; i++) { /* of another id that is settled indeed */
            memcpy(words, &kept_slots[ACKED], sizeof words);
            set_word(slots + id * sizeof slot + i * 8, words[i]);
        }
        check("a slot of another id", id, words[1]);
    }
}

static void what_the_dead_knew_of_another_consumer_takes_no_message_away(void **state)
{
    const struct lqi_shared *memory = memory_of_the_dead();
    uint64_t name = 0;
    (void)state;
    restore();
    set_word(offset_in(memory, &memory->consumers[0].region_offset), memory->consumers[1].region_offset);
    check("the slots of another consumer", 0, 0);
    restore();
    memcpy(&name, "c", 1);
    set_word(offset_in(memory, memory->consumers[1].name), name);
    set_word(offset_in(memory, &memory->consumers[1].floor), ACKED + OUT);
    set_word(offset_in(memory, &memory->consumers[1].not_floor), ~(uint64_t)(ACKED + OUT));
    check("the name of another consumer", 0, 0);
}

static void cut_at_every_page_it_loses_nothing(void **state)
{
    uint64_t size = damage_size(shared_path);
    (void)state;
    for (uint64_t cut = 0; cut < size; cut += 4096) {
        restore();
        damage_cut(shared_path, cut);
        check("shared cut short", cut, 0);
        restore();
        damage_cut(shared_path, cut + 1);
        check("shared cut short", cut + 1, 0);
    }
}

/* ---- another boot, another library ----------------------------------------- */

static int other_boot(const struct lqi_io *io, uint8_t id[16])
{
    (void)io;
    memset(id, 0x42, 16);
    return 0;
}

/* Locks of another boot would hang for ever whoever takes them: here they are taken by somebody who lives. */
static int hold_all_locks(void *context)
{
    const int *ready = context;
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    struct lqi_shared *head = queue->map.head;
    struct lqi_lock *locks[] = {&head->admin, &head->log.append, &head->log.write, &head->log.sync, &head->log.trim, &head->consumers[0].lock};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) (void)lqi_lock_try(locks[i]);
    /* As if its handle were of another boot's. */
    queue->io->unlock(queue->io, queue->meta_file.fd, LQI_BYTE_HANDLE + queue->handle);
    queue->io->unlock(queue->io, queue->shared_locks.fd, LQI_BYTE_HANDLE + queue->handle);
    CHECK(write(ready[1], "", 1) == 1);
    for (;;) pause();
}

static void working_memory_of_another_boot_is_set_up_anew_whoever_holds_its_locks(void **state)
{
    struct lqi_io io = lqi_io_posix;
    int ready[2];
    char byte;
    lq_queue *queue;
    (void)state;

    io.boot_id = other_boot;
    HOLDS(pipe(ready) == 0);
    pid_t child = child_start(hold_all_locks, ready);
    HOLDS(read(ready[0], &byte, 1) == 1);
    int64_t start = api_now_us();
    OK(lqi_open_io(&io, queue_path, &options, &queue));
    EQUAL(api_stats(queue).recovered_messages, 0);
    use(queue);
    HOLDS(api_now_us() - start < 5000000);
    OK(lq_close(queue));
    child_kill(child);
    close(ready[0]);
    close(ready[1]);

    restore();
    OK(lqi_open_io(&io, queue_path, &options, &queue));
    use(queue);
    OK(lq_close(queue));
    OK(lq_open(queue_path, &options, &queue)); /* and back again */
    EQUAL(api_stats(queue).last_id, MESSAGES + 1);
    OK(lq_close(queue));
}

/* Their heads would look quite different. */
static void give_to_another(uint32_t version, uint32_t clean)
{
    restore();
    damage_fill(shared_path, offsetof(struct lqi_shared, clean), LQI_SHARED_HEAD - offsetof(struct lqi_shared, clean), version);
    int fd = open(shared_path, O_WRONLY | O_CLOEXEC);
    HOLDS(pwrite(fd, &version, sizeof version, offsetof(struct lqi_identity, version)) == (ssize_t)sizeof version);
    HOLDS(pwrite(fd, &clean, sizeof clean, offsetof(struct lqi_shared, clean)) == (ssize_t)sizeof clean);
    close(fd);
}

static void working_memory_that_another_library_has_closed_is_set_up_anew(void **state)
{
    (void)state;
    for (uint32_t version = 0; version <= LQI_SHARED_VERSION + 1; version++) {
        if (version == LQI_SHARED_VERSION) continue;
        give_to_another(version, 1);
        check("shared of another version", version, 0);
    }
}

/* Nobody knows what is in it and nowhere else. */
static void working_memory_that_another_library_has_not_closed_is_left_to_it(void **state)
{
    const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    lq_stats stats = {.size = sizeof stats};
    lq_queue *queue;
    (void)state;
    for (uint32_t version = 0; version <= LQI_SHARED_VERSION + 1; version++) {
        if (version == LQI_SHARED_VERSION) continue;
        give_to_another(version, 0);
        struct api_bytes before = api_file_read(shared_path);
        IS(LQ_EVERSION, lq_open(queue_path, &options, &queue));
        TEXT_HAS("shared", "another build");
        OK(lq_open(queue_path, &look, &queue));
        IS(LQ_EVERSION, lq_get_stats(queue, &stats));
        OK(lq_close(queue));
        IS(LQ_EVERSION, lq_verify(queue_path, 0, NULL, NULL, NULL));
        IS(LQ_EVERSION, lq_repair(queue_path, 0, NULL, NULL, NULL));
        struct api_bytes after = api_file_read(shared_path);
        HOLDS(after.size == before.size && memcmp(after.bytes, before.bytes, before.size) == 0);
        free(before.bytes);
        free(after.bytes);
    }
    restore();
    check("shared of this version", LQI_SHARED_VERSION, 0);
}

int main(void)
{
#define WITH_DEAD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_DEAD(each_number_of_the_identity_at_its_limits_loses_nothing),
        WITH_DEAD(each_number_of_the_log_at_its_limits_loses_nothing),
        WITH_DEAD(each_number_of_a_consumer_at_its_limits_loses_no_message),
        WITH_DEAD(a_floor_that_is_not_what_it_was_takes_no_message_away),
        WITH_DEAD(a_slot_that_says_settled_and_was_not_takes_no_message_away),
        WITH_DEAD(what_the_dead_knew_of_another_consumer_takes_no_message_away),
        WITH_DEAD(cut_at_every_page_it_loses_nothing),
        WITH_DEAD(working_memory_of_another_boot_is_set_up_anew_whoever_holds_its_locks),
        WITH_DEAD(working_memory_that_another_library_has_closed_is_set_up_anew),
        WITH_DEAD(working_memory_that_another_library_has_not_closed_is_left_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
