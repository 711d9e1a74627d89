/* A log file is missing, swapped, copied or another queue's: its messages are told lost, those of the others come, no
 * id is given twice, and when the file is put back all is there again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024, COUNT = 300, SIZE = 1000 };

static char queue_path[4096];
static lq_options options;

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

/* Several segments of about 60 messages; a consumer that has seen nothing keeps them, another has seen all but the end. */
static void fill(const char *path)
{
    snprintf(queue_path, sizeof queue_path, "%s", path);
    options = (lq_options){.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    lq_queue *queue = open_queue();
    lq_consumer *keeper = api_consumer(queue, "keeper", NULL), *consumer = api_consumer(queue, "c", NULL);
    lq_options deferred = options;
    deferred.flags = LQ_DEFER_SYNC;
    lq_queue *writer;
    OK(lq_open(queue_path, &deferred, &writer));
    api_put_range(writer, 1, COUNT, SIZE);
    OK(lq_close(writer));
    OK(lq_sync(queue));
    api_take_range(consumer, 1, COUNT - 20, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_consumer_close(keeper));
    OK(lq_close(queue));
    HOLDS(api_segment(queue_path, 3) != NULL);
}

static size_t count_segments(void)
{
    size_t count = 0;
    while (api_segment(queue_path, count)) count++;
    return count;
}

static uint64_t first_id_of(size_t n)
{
    return strtoull(strrchr(api_segment(queue_path, n), '/') + 1, NULL, 10);
}

struct seen {
    uint64_t count, lost, damage, last;
};

static struct seen read_all(lq_queue *queue)
{
    struct seen seen = {0};
    lq_reader *reader;
    lq_message message;

    OK(lq_reader_open(queue, &reader));
    for (;;) {
        int err = lq_reader_next(reader, &message);
        if (err == LQ_EMPTY) break;
        if (err == LQ_ECORRUPT) {
            lq_finding finding;
            OK(lq_reader_damage(reader, &finding));
            seen.lost += finding.count;
            HOLDS(++seen.damage < 10);
            HOLDS(strncmp(finding.file, "log/", 4) == 0);
            continue;
        }
        OK(err);
        HOLDS(message.id > seen.last);
        if (message.id <= COUNT) HOLDS(api_is_filled(&message, SIZE, message.id));
        seen.last = message.id;
        seen.count++;
    }
    lq_reader_close(reader);
    return seen;
}

static void move_away(size_t n, char from[4200], char to[4300])
{
    snprintf(from, 4200, "%s", api_segment(queue_path, n));
    snprintf(to, 4300, "%s/away", queue_path);
    assert_int_equal(rename(from, to), 0);
}

/* The n-th is missing: looked at, read, consumed, appended to; then put back. */
static void without(size_t n, uint64_t lost)
{
    char from[4200], to[4300];
    size_t before = count_segments();
    move_away(n, from, to);

    lq_queue *queue = open_queue();
    struct seen seen = read_all(queue);
    EQUAL(seen.count, COUNT - lost);
    /* Behind the end of what is there nobody can say how many there were, until something comes after them. */
    HOLDS(seen.lost == lost || (n + 1 == before && seen.lost == 0));
    EQUAL(seen.damage, 1);
    uint64_t id = api_put(queue, "more");
    HOLDS(id > COUNT); /* the missing ids are not given again */
    IS(LQ_ECORRUPT, lq_verify(queue_path, 0, NULL, NULL, NULL));
    OK(lq_close(queue));

    assert_int_equal(rename(to, from), 0);
    queue = open_queue();
    seen = read_all(queue);
    EQUAL(seen.count, COUNT + 1);
    OK(lq_close(queue));
}

static void without_the_first_segment_the_rest_comes_and_its_loss_is_told(void **state)
{
    fill(api_path(*state, "q"));
    without(0, first_id_of(1) - 1);
}

static void without_a_segment_in_the_middle_the_rest_comes_and_its_loss_is_told(void **state)
{
    fill(api_path(*state, "q"));
    without(2, first_id_of(3) - first_id_of(2));
}

static void without_the_last_segment_its_ids_are_not_given_again(void **state)
{
    fill(api_path(*state, "q"));
    size_t last = count_segments() - 1;
    without(last, COUNT + 1 - first_id_of(last));
}

static void without_any_segment_no_id_is_given_again(void **state)
{
    char command[9000];
    fill(api_path(*state, "q"));
    snprintf(command, sizeof command, "rm '%s'/log/*", queue_path);
    assert_int_equal(system(command), 0);
    lq_queue *queue = open_queue();
    HOLDS(api_put(queue, "more") > COUNT);
    OK(lq_close(queue));
}

static void a_consumer_steps_over_a_missing_segment_once_told(void **state)
{
    char from[4200], to[4300];
    fill(api_path(*state, "q"));
    uint64_t first = first_id_of(2), next = first_id_of(3);
    move_away(2, from, to);
    lq_queue *queue = open_queue();
    lq_consumer *keeper = api_consumer(queue, "keeper", NULL);
    lq_message message;
    api_take_range(keeper, 1, first - 1, SIZE);
    IS(LQ_ECORRUPT, lq_get(keeper, &message, 0));
    TEXT_HAS("missing");
    api_take_range(keeper, next, COUNT, SIZE);
    IS(LQ_EMPTY, lq_poll(keeper, &message));
    OK(lq_consumer_close(keeper));
    OK(lq_close(queue));
}

static void swapped_segments_are_both_damage_and_put_right_both_are_back(void **state)
{
    char a[4200], b[4200], away[4300];
    fill(api_path(*state, "q"));
    uint64_t lost = first_id_of(3) - first_id_of(1);
    snprintf(a, sizeof a, "%s", api_segment(queue_path, 1));
    snprintf(b, sizeof b, "%s", api_segment(queue_path, 2));
    snprintf(away, sizeof away, "%s/away", queue_path);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(rename(a, away), 0);
        assert_int_equal(rename(b, a), 0);
        assert_int_equal(rename(away, b), 0);
        lq_queue *queue = open_queue();
        struct seen seen = read_all(queue);
        EQUAL(seen.count, round ? COUNT : COUNT - lost);
        EQUAL(seen.lost, round ? 0 : lost);
        OK(lq_close(queue));
    }
}

static void another_queues_segment_is_damage_whatever_its_name(void **state)
{
    char mine[4200];
    fill(api_path(*state, "other"));
    struct api_bytes theirs = api_file_read(api_segment(queue_path, 1));
    fill(api_path(*state, "q"));
    snprintf(mine, sizeof mine, "%s", api_segment(queue_path, 1));
    uint64_t lost = first_id_of(2) - first_id_of(1);
    api_file_write(mine, theirs.bytes, theirs.size);
    free(theirs.bytes);
    lq_queue *queue = open_queue();
    struct seen seen = read_all(queue);
    EQUAL(seen.count, COUNT - lost);
    EQUAL(seen.lost, lost);
    OK(lq_close(queue));
}

static void foreign_files_in_log_are_left_alone(void **state)
{
    char foreign[4300];
    fill(api_path(*state, "q"));
    snprintf(foreign, sizeof foreign, "%s/log/core.1234", queue_path);
    api_file_write(foreign, "core", 4);
    lq_queue *queue = open_queue();
    struct seen seen = read_all(queue);
    EQUAL(seen.count, COUNT);
    OK(lq_close(queue));
    HOLDS(api_file_exists(foreign));
}

/* ---- a segment without a message ------------------------------------------ */

static bool full;

static int write_unless_full(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    return full && size > 100000 ? ENOSPC : lqi_io_posix.write(io, fd, offset, data, size);
}

/* A large message finds no space behind the roll that was made for it. What is left is a segment without a message, and the
 * next one must not get its name. */
static void a_segment_that_was_left_without_a_message_does_not_stop_the_queue(void **state)
{
    static uint8_t bytes[300 * KIB];
    struct lqi_io io = lqi_io_posix;
    lq_queue *queue;

    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    options = (lq_options){.size = sizeof options, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
    io.write = write_unless_full;
    full = true;
    OK(lqi_open_io(&io, queue_path, &options, &queue));
    OK(lq_put(queue, "a", 1, NULL));
    IS(LQ_ENOSPC, lq_put(queue, bytes, sizeof bytes, NULL));
    OK(lq_close(queue)); /* a mark as its first record would take the place of a message, but not of an id */
    full = false;

    for (uint64_t i = 0; i < 3; i++) {
        uint64_t id;
        queue = open_queue();
        OK(lq_put(queue, bytes, sizeof bytes, &id));
        EQUAL(id, 2 + 2 * i);
        OK(lq_put(queue, "b", 1, &id));
        OK(lq_close(queue));
    }
    assert_int_equal(lq_verify(queue_path, 0, NULL, NULL, NULL), LQ_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(without_the_first_segment_the_rest_comes_and_its_loss_is_told),
        IN_DIRECTORY(without_a_segment_in_the_middle_the_rest_comes_and_its_loss_is_told),
        IN_DIRECTORY(without_the_last_segment_its_ids_are_not_given_again),
        IN_DIRECTORY(without_any_segment_no_id_is_given_again),
        IN_DIRECTORY(a_consumer_steps_over_a_missing_segment_once_told),
        IN_DIRECTORY(swapped_segments_are_both_damage_and_put_right_both_are_back),
        IN_DIRECTORY(another_queues_segment_is_damage_whatever_its_name),
        IN_DIRECTORY(foreign_files_in_log_are_left_alone),
        IN_DIRECTORY(a_segment_that_was_left_without_a_message_does_not_stop_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
