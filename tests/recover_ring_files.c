/* All processes are killed with messages in the ring that are in no file, and the file where they belong is not what it was. What
 * can be told from the damage is kept, the rest is told, and nothing is believed that does not prove itself. */
#include <errno.h>
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

enum { SIZE = 1000 };

static char queue_path[4096], segment_path[4200];

/* How they died: so many messages are in the file, so many more in the ring only; one of these was overwritten there. */
struct death {
    uint64_t written, more, spoilt;
};

static void put(lq_queue *queue, uint64_t first, uint64_t count)
{
    if (count) api_put_range(queue, first, first + count - 1, SIZE);
}

static int put_and_die(void *context)
{
    const struct death *death = context;
    lq_options options = {.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10};
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    put(queue, 1, death->written);
    if (death->written) OK(lqi_write_out(&queue->log));
    put(queue, death->written + 1, death->more);
    if (death->spoilt) memset(queue->log.ring.bytes + (death->spoilt - 1) * lqi_record_span(SIZE), 0x55, LQI_RECORD_HEADER);
    _exit(0);
}

static void die(void **state, uint64_t written, uint64_t more, uint64_t spoilt)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, "q"));
    snprintf(segment_path, sizeof segment_path, "%s/log/00000000000000000001.seg", queue_path);
    assert_int_equal(child_run(put_and_die, &(struct death){written, more, spoilt}), 0);
}

static void break_header(void)
{
    damage_fill(segment_path, 0, LQI_SEGMENT_HEADER, 9);
}

/* Which messages a reader finds, as bits from 0 for id 1; whatever it finds is right. */
static uint64_t found_in(lq_queue *queue)
{
    lq_reader *reader;
    lq_message message;
    uint64_t found = 0, last = 0;
    int err;
    OK(lq_reader_open(queue, &reader));
    while ((err = lq_reader_next(reader, &message)) != LQ_EMPTY) {
        if (err == LQ_ECORRUPT) continue;
        OK(err);
        HOLDS(message.id > last);
        last = message.id;
        HOLDS(api_is_filled(&message, message.size, message.id));
        if (message.id <= 64) found |= (uint64_t)1 << (message.id - 1);
    }
    lq_reader_close(reader);
    return found;
}

/* Opens, looks for exactly these, and goes on behind all that ever was. */
static void opens_with(uint64_t expected, uint64_t put_before, uint64_t recovered)
{
    lq_queue *queue;
    OK(lq_open(queue_path, NULL, &queue));
    EQUAL(api_stats(queue).recovered_messages, recovered);
    EQUAL(found_in(queue), expected);
    uint64_t all = ((uint64_t)1 << put_before) - 1, id;
    uint8_t body[SIZE];
    OK(lq_put(queue, "", 0, &id));
    HOLDS(id > put_before);
    for (int i = 0; i < 100; i++) {
        api_fill(body, sizeof body, ++id);
        OK(lq_put(queue, body, sizeof body, NULL));
    }
    OK(lq_close(queue));
    OK(lq_open(queue_path, NULL, &queue));
    HOLDS(api_stats(queue).last_id == id);
    OK(lq_close(queue));
    int err = lq_verify(queue_path, 0, NULL, NULL, NULL);
    HOLDS(err == (expected == all ? LQ_OK : LQ_ECORRUPT));
}

static void what_no_file_has_yet_gets_its_file(void **state)
{
    die(state, 0, 5, 0);
    opens_with(0x1f, 5, 5);
}

static void the_file_of_the_first_message_is_gone_and_the_others_get_another(void **state)
{
    die(state, 2, 3, 0);
    break_header();
    opens_with(0x1e, 5, 4);
}

static void a_lone_message_is_lost_with_its_file(void **state)
{
    die(state, 1, 0, 0);
    break_header();
    opens_with(0, 1, 0);
}

static void what_is_overwritten_in_the_ring_too_is_passed_over(void **state)
{
    die(state, 1, 5, 2);
    break_header();
    opens_with(0x3c, 6, 4);
}

static void overwritten_in_the_ring_to_its_end_nothing_is_left(void **state)
{
    die(state, 1, 1, 2);
    break_header();
    opens_with(0, 1, 0); /* the second was never seen by anybody who can tell */
}

/* Changes the header of the segment; it verifies afterwards. */
static void forge_header(void (*change)(struct lqi_segment_head *head))
{
    struct api_bytes file = api_file_read(segment_path);
    struct lqi_segment_head head;
    OK(lqi_segment_head_decode(file.bytes, file.size, "log", NULL, &head, NULL));
    change(&head);
    lqi_segment_head_encode(file.bytes, &head);
    api_file_write(segment_path, file.bytes, file.size);
    free(file.bytes);
}

static void other_salt(struct lqi_segment_head *head)
{
    head->salt++;
}

static void later(struct lqi_segment_head *head)
{
    head->position += 8 * lqi_record_span(SIZE);
}

static void a_file_of_another_segment_takes_nothing_from_the_ring(void **state)
{
    die(state, 2, 3, 0);
    struct api_bytes before = api_file_read(segment_path);
    forge_header(other_salt);
    opens_with(0, 5, 0);
    struct api_bytes after = api_file_read(segment_path);
    size_t records = 2 * lqi_record_span(SIZE);
    HOLDS(memcmp(before.bytes + LQI_SEGMENT_HEADER, after.bytes + LQI_SEGMENT_HEADER, records) == 0);
    free(before.bytes);
    free(after.bytes);
}

static void a_file_that_begins_behind_them_takes_nothing_from_the_ring(void **state)
{
    die(state, 2, 3, 0);
    forge_header(later);
    /* Else the log would begin there. */
    struct api_bytes file = api_file_read(segment_path);
    struct lqi_segment_head head;
    OK(lqi_segment_head_decode(file.bytes, file.size, "log", NULL, &head, NULL));
    head = (struct lqi_segment_head){.first_id = 2, .salt = head.salt + 1, .created_us = head.created_us};
    memcpy(head.uuid, file.bytes + 24, sizeof head.uuid);
    lqi_segment_head_encode(file.bytes, &head);
    char path[4200];
    snprintf(path, sizeof path, "%s/log/00000000000000000002.seg", queue_path);
    api_file_write(path, file.bytes, LQI_SEGMENT_HEADER);
    free(file.bytes);
    opens_with(0, 5, 0);
}

/* Sealed by somebody else in the middle of it. */
static void a_sealed_file_takes_nothing_from_the_ring(void **state)
{
    uint8_t trailer[LQI_INDEX_ENTRY + LQI_SEGMENT_TRAILER];
    struct lqi_segment_head head;
    die(state, 2, 3, 0);
    struct api_bytes file = api_file_read(segment_path);
    OK(lqi_segment_head_decode(file.bytes, file.size, "log", NULL, &head, NULL));
    const struct lqi_index_entry entry = {1, head.created_us, 0};
    struct lqi_segment_end end = {.end = 2 * lqi_record_span(SIZE), .next_id = 3, .salt = head.salt, .index_count = 1,
                                  .first_time_us = head.created_us, .last_time_us = head.created_us};
    lqi_segment_end_encode(trailer, &entry, &end);
    memcpy(file.bytes + LQI_SEGMENT_HEADER + end.end, trailer, sizeof trailer);
    api_file_write(segment_path, file.bytes, LQI_SEGMENT_HEADER + end.end + sizeof trailer);
    free(file.bytes);
    opens_with(0x3, 5, 0);
}

/* ---- files that end too soon ------------------------------------------------------- */

static uint64_t reads, cut_from, cut_to;
static size_t part;

/* So says the n-th read, and some behind it: somebody has cut the file since its size was asked for. */
static int read_less(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    (void)io;
    bool less = ++reads >= cut_from && reads <= cut_to;
    return lqi_io_posix.read(&lqi_io_posix, fd, offset, data, less && part < size ? part : size, got_out);
}

static void files_cut_while_recovery_reads_them_make_an_error_or_a_shorter_log(void **state)
{
    struct lqi_io io = lqi_io_posix;
    char name[20];
    unsigned runs = 0;
    io.read = read_less;
    for (int torn = 0; torn < 2; torn++) {
        for (part = 0; part <= (torn ? 0 : 100); part += 100) {
            for (cut_from = 1, reads = 1; reads >= cut_from - 1; cut_from++) { /* as long as the one before was met */
                lq_queue *queue;
                snprintf(name, sizeof name, "q%u", ++runs);
                snprintf(queue_path, sizeof queue_path, "%s", api_path(*state, name));
                snprintf(segment_path, sizeof segment_path, "%s/log/00000000000000000001.seg", queue_path);
                assert_int_equal(child_run(put_and_die, &(struct death){20, 3, 0}), 0);
                if (torn) damage_fill(segment_path, LQI_SEGMENT_HEADER + 20 * lqi_record_span(SIZE), 500, runs);
                cut_to = cut_from;
                reads = 0;
                int err = lqi_open_io(&io, queue_path, NULL, &queue);
                cut_to = 0;
                if (!err) OK(lq_close(queue));
                HOLDS(!err || err == LQ_ECORRUPT || err == LQ_EIO || err == LQ_ENOTQUEUE);
                OK(lq_open(queue_path, NULL, &queue));
                HOLDS((found_in(queue) & ~(((uint64_t)1 << 23) - 1)) == 0);
                api_put(queue, "more");
                OK(lq_close(queue));
            }
        }
    }
    HOLDS(runs > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_no_file_has_yet_gets_its_file),
        IN_DIRECTORY(the_file_of_the_first_message_is_gone_and_the_others_get_another),
        IN_DIRECTORY(a_lone_message_is_lost_with_its_file),
        IN_DIRECTORY(what_is_overwritten_in_the_ring_too_is_passed_over),
        IN_DIRECTORY(overwritten_in_the_ring_to_its_end_nothing_is_left),
        IN_DIRECTORY(a_file_of_another_segment_takes_nothing_from_the_ring),
        IN_DIRECTORY(a_file_that_begins_behind_them_takes_nothing_from_the_ring),
        IN_DIRECTORY(a_sealed_file_takes_nothing_from_the_ring),
        IN_DIRECTORY(files_cut_while_recovery_reads_them_make_an_error_or_a_shorter_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
