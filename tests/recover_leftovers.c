/* Messages that were nowhere but in the ring when all died, while the files they should have gone to, or the numbers
 * that lead to them, are not as they were left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checksum.h"
#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024, SIZE = 300, WRITTEN = 10, MESSAGES = 30 };

static char queue_path[4096];
static const lq_options small = {.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};

static void use_queue(void **state, const char *name)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
}

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &small, &queue));
    return queue;
}

/* The first are in the file and durable, the others in the ring. */
static int put_and_die(void *context)
{
    const lq_options *options = context;
    lq_queue *queue;
    OK(lq_open(queue_path, options ? options : &small, &queue));
    api_put_range(queue, 1, WRITTEN, SIZE);
    OK(lq_sync(queue));
    api_put_range(queue, WRITTEN + 1, MESSAGES, SIZE);
    return 0;
}

/* Messages enough for a roll, the last of them in the ring; they are in the second segment. */
enum { ROLLED = 230 };

static int roll_and_die(void *context)
{
    lq_queue *queue = open_queue();
    (void)context;
    api_consumer(queue, "keep", NULL);
    api_put_range(queue, 1, ROLLED, SIZE);
    return 0;
}

struct seen {
    uint64_t first, last, count, damage, lost;
    char file[128];
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
            if (!seen.damage++) snprintf(seen.file, sizeof seen.file, "%s", finding.file);
            seen.lost += finding.count;
            continue;
        }
        IS(LQ_OK, err);
        HOLDS(api_is_filled(&message, SIZE, message.id));
        HOLDS(message.id > seen.last);
        if (!seen.count++) seen.first = message.id;
        seen.last = message.id;
    }
    lq_reader_close(reader);
    return seen;
}

/* ---- files ------------------------------------------------------------------ */

/* The file that the ring was being written to has lost its header, and with it all that was in it: what the ring still has gets
 * a file of its own, all but the message that the damaged one has its name from. When the header is put back, all is there. */
static void a_damaged_header_costs_nothing_that_the_ring_still_has(void **state)
{
    use_queue(state, "q");
    assert_int_equal(child_run(put_and_die, NULL), 0);
    char path[4096];
    snprintf(path, sizeof path, "%s", api_segment(queue_path, 0));
    struct api_bytes whole = api_file_read(path);
    damage_zero(path, 0, LQI_SEGMENT_HEADER);

    lq_queue *queue = open_queue();
    struct seen seen = read_all(queue);
    EQUAL(seen.first, 2);
    EQUAL(seen.last, MESSAGES);
    EQUAL(seen.count, MESSAGES - 1);
    EQUAL(seen.damage, 1);
    EQUAL(seen.lost, 1);
    EQUAL(api_stats(queue).recovered_messages, MESSAGES - 1);
    HOLDS(strstr(path, seen.file) != NULL);
    uint64_t next = api_put(queue, "more");
    HOLDS(next > MESSAGES);
    OK(lq_close(queue));

    struct api_bytes damaged = api_file_read(path);
    memcpy(damaged.bytes, whole.bytes, LQI_SEGMENT_HEADER);
    api_file_write(path, damaged.bytes, damaged.size);
    queue = open_queue();
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, next);
    lq_reader_close(reader);
    OK(lq_close(queue));
    free(whole.bytes);
    free(damaged.bytes);
}

/* A header of a newer library is no damage: nothing is touched until one that knows it comes. */
static void a_newer_header_keeps_the_queue_closed_and_the_ring_as_it_is(void **state)
{
    lq_queue *queue;
    use_queue(state, "q");
    assert_int_equal(child_run(put_and_die, NULL), 0);
    char path[4096];
    snprintf(path, sizeof path, "%s", api_segment(queue_path, 0));
    struct api_bytes whole = api_file_read(path), newer = api_file_read(path);
    for (size_t copy = 0; copy < LQI_SEGMENT_HEADER; copy += LQI_SEGMENT_HEADER_COPY) {
        struct lqi_segment_head head;
        OK(lqi_segment_head_decode(whole.bytes, whole.size, "it", NULL, &head, NULL));
        newer.bytes[copy + 20] = 1; /* a feature that must be refused */
        uint64_t check = lqi_checksum(newer.bytes + copy, 120);
        memcpy(newer.bytes + copy + 120, &check, sizeof check);
    }
    api_file_write(path, newer.bytes, newer.size);
    IS(LQ_EVERSION, lq_open(queue_path, &small, &queue));
    api_file_write(path, whole.bytes, whole.size);
    queue = open_queue();
    api_read_range(queue, 1, MESSAGES, SIZE);
    OK(lq_close(queue));
    free(whole.bytes);
    free(newer.bytes);
}

/* Somebody has removed the last file; the one before it is cut. What is in the ring is saved all the same. */
static void files_removed_and_cut_cost_what_was_in_them_only(void **state)
{
    use_queue(state, "q");
    assert_int_equal(child_run(roll_and_die, NULL), 0);
    HOLDS(api_segment(queue_path, 1) != NULL);
    damage_remove(api_segment(queue_path, 1));
    struct damage_place place = damage_find(queue_path, 20);
    damage_cut(place.path, place.offset + 100);
    lq_queue *queue = open_queue();
    struct seen seen = read_all(queue);
    EQUAL(seen.last, ROLLED);
    HOLDS(seen.damage > 0 && seen.count + seen.lost == ROLLED);
    HOLDS(api_put(queue, "more") > ROLLED);
    OK(lq_close(queue));
}

/* Another queue's file lies where the last one was. */
static void a_foreign_file_in_the_place_of_the_last_takes_nothing_from_the_ring(void **state)
{
    char mine[4096];
    use_queue(state, "other");
    assert_int_equal(child_run(put_and_die, NULL), 0);
    struct api_bytes theirs = api_file_read(api_segment(queue_path, 0));
    use_queue(state, "q");
    assert_int_equal(child_run(put_and_die, NULL), 0);
    snprintf(mine, sizeof mine, "%s", api_segment(queue_path, 0));
    api_file_write(mine, theirs.bytes, theirs.size);
    lq_queue *queue = open_queue();
    struct seen seen = read_all(queue);
    EQUAL(seen.count, MESSAGES - 1);
    EQUAL(seen.last, MESSAGES);
    EQUAL(seen.lost, 1);
    OK(lq_close(queue));
    struct api_bytes after = api_file_read(mine);
    HOLDS(after.size == theirs.size && memcmp(after.bytes, theirs.bytes, after.size) == 0);
    free(theirs.bytes);
    free(after.bytes);
}

/* ---- numbers ------------------------------------------------------------------ */

static struct lqi_tail *tail_of(struct lqi_shared *head)
{
    return &head->log.tails[atomic_load(&head->log.turn) & 1];
}

/* Death between committing the tail and publishing it. */
static void publish_nothing(struct lqi_shared *head)
{
    HOLDS(tail_of(head)->span > 1);
    atomic_store(&head->log.append_span, tail_of(head)->span - 1);
    atomic_store(&head->log.ring.appended, tail_of(head)->end - 344 * 3);
}

static void what_was_committed_and_not_published_is_there(void **state)
{
    use_queue(state, "q");
    assert_int_equal(child_run(roll_and_die, NULL), 0);
    damage_shared(queue_path, publish_nothing);
    lq_queue *queue = open_queue();
    api_read_range(queue, 1, ROLLED, SIZE);
    OK(lq_close(queue));
}

/* The end is said to be in the middle of the last record: that one is not there, as if it had not been put. */
static void end_early(struct lqi_shared *head)
{
    tail_of(head)->end -= 8;
    atomic_store(&head->log.ring.appended, tail_of(head)->end);
}

static void a_record_that_reaches_beyond_the_end_is_not_there(void **state)
{
    use_queue(state, "q");
    assert_int_equal(child_run(put_and_die, NULL), 0);
    damage_shared(queue_path, end_early);
    lq_queue *queue = open_queue();
    api_read_range(queue, 1, MESSAGES - 1, SIZE);
    EQUAL(api_stats(queue).damage, 0);
    api_put_range(queue, MESSAGES, MESSAGES, SIZE);
    OK(lq_close(queue));
}

/* Spans of nothing: the ring is not believed, and the files are as good as ever. */
static void forget_spans(struct lqi_shared *head)
{
    for (int i = 0; i < 2; i++) atomic_store(&head->log.spans[i].position, (uint64_t)1 << 40);
}

static void spans_that_lie_elsewhere_cost_the_ring_only(void **state)
{
    use_queue(state, "q");
    assert_int_equal(child_run(put_and_die, NULL), 0);
    damage_shared(queue_path, forget_spans);
    lq_queue *queue = open_queue();
    api_read_range(queue, 1, WRITTEN, SIZE);
    OK(lq_close(queue));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_damaged_header_costs_nothing_that_the_ring_still_has),
        IN_DIRECTORY(a_newer_header_keeps_the_queue_closed_and_the_ring_as_it_is),
        IN_DIRECTORY(files_removed_and_cut_cost_what_was_in_them_only),
        IN_DIRECTORY(a_foreign_file_in_the_place_of_the_last_takes_nothing_from_the_ring),
        IN_DIRECTORY(what_was_committed_and_not_published_is_there),
        IN_DIRECTORY(a_record_that_reaches_beyond_the_end_is_not_there),
        IN_DIRECTORY(spans_that_lie_elsewhere_cost_the_ring_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
