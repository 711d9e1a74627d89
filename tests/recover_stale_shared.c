/* `shared` is untrusted input: of another boot, another queue, copied, zeroed, random, cut, longer, gone; while nobody
 * lives it costs nothing that was in the files, whatever is in it. Removed while in use it makes new openers wait outside. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024, MESSAGES = 50, SIZE = 300, ACKED = 10 };

static char queue_path[4096];
static char shared_path[4200];
static lq_options options;

static void use_queue(void **state, int sync)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    snprintf(shared_path, sizeof shared_path, "%s/" LQI_SHARED_NAME, queue_path);
    options = (lq_options){.size = sizeof options, .sync = sync, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
}

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

/* Puts all, acks some, makes it durable, and dies or closes. */
static char dies[] = "dies";

static int fill_and_die(void *context)
{
    lq_queue *queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_sync(queue));
    api_take_range(consumer, 1, ACKED, SIZE);
    OK(lq_sync(queue));
    if (context) return 0;
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    return 0;
}

static void expect_all(void)
{
    lq_queue *queue = open_queue();
    lq_stats stats = api_stats(queue);

    EQUAL(stats.last_id, MESSAGES);
    EQUAL(stats.damage, 0);
    api_read_range(queue, 1, MESSAGES, SIZE);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, ACKED + 1, MESSAGES, SIZE);
    OK(lq_consumer_close(consumer));
    api_put_range(queue, MESSAGES + 1, MESSAGES + 5, SIZE);
    OK(lq_close(queue));
    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
}

/* Each kind of harm, to what is left of dead processes and of a clean close. */
static void harmed_by(void **state, void (*harm)(uint64_t seed), unsigned times)
{
    for (unsigned round = 0; round < 2 * times; round++) {
        char name[20];
        use_queue(state, LQ_SYNC_ALWAYS);
        snprintf(name, sizeof name, "q%u", round);
        snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
        snprintf(shared_path, sizeof shared_path, "%s/" LQI_SHARED_NAME, queue_path);
        assert_int_equal(child_run(fill_and_die, round & 1 ? dies : NULL), 0);
        harm(round / 2 + 1);
        expect_all();
    }
}

static void reboot(uint64_t seed)
{
    (void)seed;
    damage_reboot(queue_path);
}

static void remove_it(uint64_t seed)
{
    (void)seed;
    damage_remove(shared_path);
}

static void zero_it(uint64_t seed)
{
    (void)seed;
    damage_zero(shared_path, 0, damage_size(shared_path));
}

static void randomize(uint64_t seed)
{
    damage_fill(shared_path, 0, damage_size(shared_path), seed);
}

static void zero_behind_the_identity(uint64_t seed)
{
    uint64_t from = sizeof(struct lqi_identity);
    (void)seed;
    damage_zero(shared_path, from, damage_size(shared_path) - from);
}

static void randomize_behind_the_identity(uint64_t seed)
{
    uint64_t from = sizeof(struct lqi_identity);
    damage_fill(shared_path, from, damage_size(shared_path) - from, seed);
    damage_zero(shared_path, offsetof(struct lqi_shared, clean), 4);
}

static void randomize_the_log_state(uint64_t seed)
{
    damage_fill(shared_path, offsetof(struct lqi_shared, log), sizeof(struct lqi_log_state), seed);
    damage_zero(shared_path, offsetof(struct lqi_shared, clean), 4);
}

static void randomize_one_number(uint64_t seed)
{
    /* The atomics and the tails, one after the other. */
    uint64_t words = (offsetof(struct lqi_log_state, spans)) / 8, word = seed % words;
    damage_fill(shared_path, offsetof(struct lqi_shared, log) + 8 * word, 8, seed * 977);
}

static void randomize_one_position(uint64_t seed)
{
    uint64_t from = offsetof(struct lqi_log_state, ring), words = (offsetof(struct lqi_log_state, append) - from) / 8;
    damage_fill(shared_path, offsetof(struct lqi_shared, log) + from + 8 * (seed % words), 8, seed * 977);
}

static void randomize_the_consumers(uint64_t seed)
{
    uint64_t from = offsetof(struct lqi_shared, consumers);
    damage_fill(shared_path, from, sizeof(struct lqi_consumer_slot) * LQI_CONSUMERS_MAX, seed);
}

static void cut_it(uint64_t seed)
{
    damage_cut(shared_path, seed * 7919 % damage_size(shared_path));
}

static void grow_it(uint64_t seed)
{
    damage_grow(shared_path, damage_size(shared_path) + seed * 4096);
}

static void copy_it(uint64_t seed)
{
    struct api_bytes bytes = api_file_read(shared_path);
    char other[4300];
    (void)seed;
    snprintf(other, sizeof other, "%s.copy", shared_path);
    api_file_write(other, bytes.bytes, bytes.size);
    assert_int_equal(rename(other, shared_path), 0);
    free(bytes.bytes);
}

#define HARM(name, harm, times)            \
    static void name(void **state)         \
    {                                      \
        harmed_by(state, harm, times);     \
    }

HARM(working_memory_of_another_boot_loses_nothing_synced, reboot, 1)
HARM(a_missing_working_memory_loses_nothing_synced, remove_it, 1)
HARM(a_zeroed_working_memory_loses_nothing_synced, zero_it, 1)
HARM(random_working_memory_loses_nothing_synced, randomize, 4)
HARM(zeroes_under_a_good_identity_lose_nothing_synced, zero_behind_the_identity, 1)
HARM(random_bytes_under_a_good_identity_lose_nothing_synced, randomize_behind_the_identity, 30)
HARM(a_random_log_state_loses_nothing_synced, randomize_the_log_state, 30)
HARM(one_random_number_of_the_tails_loses_nothing_synced, randomize_one_number, 40)
HARM(one_random_position_loses_nothing_synced, randomize_one_position, 40)
HARM(a_cut_working_memory_loses_nothing_synced, cut_it, 20)
HARM(a_longer_working_memory_loses_nothing_synced, grow_it, 3)
HARM(a_copied_working_memory_loses_nothing_synced, copy_it, 1)

/* Consumers' random state may cost acks (they come again), never messages. */
static void random_consumer_state_loses_no_message(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        char name[20];
        use_queue(state, LQ_SYNC_ALWAYS);
        snprintf(name, sizeof name, "q%d", (int)seed);
        snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
        snprintf(shared_path, sizeof shared_path, "%s/" LQI_SHARED_NAME, queue_path);
        assert_int_equal(child_run(fill_and_die, dies), 0);
        randomize_the_consumers(seed);
        expect_all();
    }
}

/* ---- of another queue ---------------------------------------------------- */

static void the_working_memory_of_another_queue_is_not_believed(void **state)
{
    char mine[4200];

    use_queue(state, LQ_SYNC_ALWAYS);
    assert_int_equal(child_run(fill_and_die, dies), 0);
    snprintf(mine, sizeof mine, "%s", shared_path);

    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "other"));
    snprintf(shared_path, sizeof shared_path, "%s/" LQI_SHARED_NAME, queue_path);
    assert_int_equal(child_run(fill_and_die, dies), 0);
    struct api_bytes theirs = api_file_read(shared_path);
    int fd = open(mine, O_WRONLY | O_TRUNC); /* in place: with the inode that was there */
    assert_true(fd >= 0 && write(fd, theirs.bytes, theirs.size) == (ssize_t)theirs.size);
    close(fd);
    free(theirs.bytes);
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    expect_all();
}

static void a_copied_queue_is_a_queue_of_its_own_even_while_the_first_is_in_use(void **state)
{
    use_queue(state, LQ_SYNC_NEVER);
    lq_queue *queue = open_queue();
    api_put_range(queue, 1, MESSAGES, SIZE);
    OK(lq_sync(queue));
    const char *copy = api_path(*state, "copy");
    api_tree_copy(queue_path, copy);

    lq_queue *second;
    OK(lq_open(copy, &options, &second));
    api_read_range(second, 1, MESSAGES, SIZE);
    api_put_range(second, MESSAGES + 1, MESSAGES + 3, SIZE);
    api_put_range(queue, MESSAGES + 1, MESSAGES + 10, SIZE);
    OK(lq_close(second));
    api_read_range(queue, 1, MESSAGES + 10, SIZE);
    OK(lq_close(queue));
}

/* ---- while in use -------------------------------------------------------- */

static int refused(void *context)
{
    lq_queue *queue;
    (void)context;
    IS(LQ_EBUSY, lq_open(queue_path, &options, &queue));
    return 0;
}

static void check_refused_then_whole(void **state, void (*harm)(uint64_t seed))
{
    use_queue(state, LQ_SYNC_NEVER);
    lq_queue *queue = open_queue(), *second;
    api_put_range(queue, 1, MESSAGES, SIZE);
    harm(1);
    IS(LQ_EBUSY, lq_open(queue_path, &options, &second)); /* in the same process */
    assert_int_equal(child_run(refused, NULL), 0);         /* and in another */
    api_put_range(queue, MESSAGES + 1, MESSAGES + 5, SIZE); /* those inside go on */
    api_read_range(queue, 1, MESSAGES + 5, SIZE);
    OK(lq_close(queue));

    queue = open_queue();
    api_read_range(queue, 1, MESSAGES + 5, SIZE);
    OK(lq_close(queue));
}

static void removed_while_in_use_keeps_new_openers_out_until_all_have_closed(void **state)
{
    check_refused_then_whole(state, remove_it);
}

static void replaced_by_a_copy_while_in_use_keeps_new_openers_out_until_all_have_closed(void **state)
{
    check_refused_then_whole(state, copy_it);
}

static void replace_by_garbage(uint64_t seed)
{
    char other[4300];
    snprintf(other, sizeof other, "%s.other", shared_path);
    api_file_write(other, "", 0);
    damage_grow(other, 1024 * KIB);
    damage_fill(other, 0, 1024 * KIB, seed);
    assert_int_equal(rename(other, shared_path), 0);
}

static void replaced_by_garbage_while_in_use_keeps_new_openers_out_until_all_have_closed(void **state)
{
    check_refused_then_whole(state, replace_by_garbage);
}

static lq_queue *growing;

/* Right after anybody has asked for a file's size, another handle makes it larger. */
static int stat_and_grow(const struct lqi_io *io, int fd, struct lqi_io_stat *stat_out)
{
    static int count;
    char name[20];
    lq_consumer *consumer;
    int error = lqi_io_posix.stat(io, fd, stat_out);
    snprintf(name, sizeof name, "c%d", count++);
    OK(lq_consumer_open(growing, name, NULL, &consumer));
    OK(lq_consumer_close(consumer));
    return error;
}

static void working_memory_that_grows_while_it_is_joined_is_believed(void **state)
{
    struct lqi_io io = lqi_io_posix;
    lq_queue *second;
    use_queue(state, LQ_SYNC_NEVER);
    growing = open_queue();
    io.stat = stat_and_grow;
    OK(lqi_open_io(&io, queue_path, &options, &second));
    io.stat = lqi_io_posix.stat;
    OK(lq_close(second));
    OK(lq_close(growing));
}

/* meta, too: its bytes are the locks that prove who lives. */
static void copy_meta(uint64_t seed)
{
    char meta[4300], other[4310];
    (void)seed;
    snprintf(meta, sizeof meta, "%s/meta", queue_path);
    snprintf(other, sizeof other, "%s.copy", meta);
    struct api_bytes bytes = api_file_read(meta);
    api_file_write(other, bytes.bytes, bytes.size);
    assert_int_equal(rename(other, meta), 0);
    free(bytes.bytes);
}

static void meta_replaced_by_a_copy_while_in_use_keeps_new_openers_out_until_all_have_closed(void **state)
{
    check_refused_then_whole(state, copy_meta);
}

static void something_else_of_that_name_is_an_error_and_nothing_worse(void **state)
{
    lq_queue *queue;
    use_queue(state, LQ_SYNC_ALWAYS);
    assert_int_equal(child_run(fill_and_die, NULL), 0);
    damage_remove(shared_path);
    assert_int_equal(mkdir(shared_path, 0700), 0);
    HOLDS(lq_open(queue_path, &options, &queue) < 0);
    assert_int_equal(rmdir(shared_path), 0);
    assert_int_equal(symlink("/dev/zero", shared_path), 0);
    HOLDS(lq_open(queue_path, &options, &queue) < 0);
    damage_remove(shared_path);
    assert_int_equal(mkfifo(shared_path, 0600), 0);
    HOLDS(lq_open(queue_path, &options, &queue) < 0);
    damage_remove(shared_path);
    expect_all();
}

/* Uses a queue until retention has deleted what `shared` had in it at first, and dies. */
static int outlive_an_old_state(void *context)
{
    struct api_bytes *old = context;
    lq_queue *queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, 300, SIZE);
    struct api_bytes now = api_file_read(shared_path);
    EQUAL(now.size, old->size);
    memcpy(old->bytes, now.bytes, now.size); /* for our parent */
    api_take_range(consumer, 1, 300, SIZE);
    api_put_range(queue, 301, 900, SIZE);
    HOLDS(api_stats(queue).first_id > 1);
    return 0;
}

/* A file system that broke down and was mounted again in the same boot: `shared` is of a moment when the kernel
 * last wrote it out, everything that was synced is of later. */
static void working_memory_of_a_while_ago_is_no_damage_and_loses_nothing_synced(void **state)
{
    use_queue(state, LQ_SYNC_ALWAYS);
    lq_queue *queue = open_queue();
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    struct api_bytes old = {.size = damage_size(shared_path)};
    OK(lq_close(queue));
    old.bytes = mmap(NULL, old.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(old.bytes != MAP_FAILED);
    assert_int_equal(child_run(outlive_an_old_state, &old), 0);
    int fd = open(shared_path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, old.bytes, old.size, 0), old.size);
    close(fd);
    munmap(old.bytes, old.size);

    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
    lq_options look = options;
    look.flags = LQ_READ_ONLY;
    OK(lq_open(queue_path, &look, &queue));
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_next(reader, &message)); /* not that what came before it is lost */
    HOLDS(message.id > 1 && api_is_filled(&message, SIZE, message.id));
    lq_reader_close(reader);
    OK(lq_close(queue));

    queue = open_queue();
    EQUAL(api_stats(queue).last_id, 900);
    EQUAL(api_stats(queue).damage, 0);
    api_read_range(queue, api_stats(queue).first_id, 900, SIZE);
    api_put_range(queue, 901, 950, SIZE);
    OK(lq_close(queue));
    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(working_memory_of_another_boot_loses_nothing_synced),
        IN_DIRECTORY(a_missing_working_memory_loses_nothing_synced),
        IN_DIRECTORY(a_zeroed_working_memory_loses_nothing_synced),
        IN_DIRECTORY(random_working_memory_loses_nothing_synced),
        IN_DIRECTORY(zeroes_under_a_good_identity_lose_nothing_synced),
        IN_DIRECTORY(random_bytes_under_a_good_identity_lose_nothing_synced),
        IN_DIRECTORY(a_random_log_state_loses_nothing_synced),
        IN_DIRECTORY(one_random_number_of_the_tails_loses_nothing_synced),
        IN_DIRECTORY(one_random_position_loses_nothing_synced),
        IN_DIRECTORY(a_cut_working_memory_loses_nothing_synced),
        IN_DIRECTORY(a_longer_working_memory_loses_nothing_synced),
        IN_DIRECTORY(a_copied_working_memory_loses_nothing_synced),
        IN_DIRECTORY(working_memory_of_a_while_ago_is_no_damage_and_loses_nothing_synced),
        IN_DIRECTORY(random_consumer_state_loses_no_message),
        IN_DIRECTORY(the_working_memory_of_another_queue_is_not_believed),
        IN_DIRECTORY(a_copied_queue_is_a_queue_of_its_own_even_while_the_first_is_in_use),
        IN_DIRECTORY(removed_while_in_use_keeps_new_openers_out_until_all_have_closed),
        IN_DIRECTORY(replaced_by_a_copy_while_in_use_keeps_new_openers_out_until_all_have_closed),
        IN_DIRECTORY(replaced_by_garbage_while_in_use_keeps_new_openers_out_until_all_have_closed),
        IN_DIRECTORY(working_memory_that_grows_while_it_is_joined_is_believed),
        IN_DIRECTORY(meta_replaced_by_a_copy_while_in_use_keeps_new_openers_out_until_all_have_closed),
        IN_DIRECTORY(something_else_of_that_name_is_an_error_and_nothing_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
