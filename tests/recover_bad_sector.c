/* Places of the disk that cannot be read: the call fails, now or for ever. Nobody takes that for damage who would act on it; who only
 * tells what is there tells the place, what is lost if it stays so, and goes on behind it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "repair.h"
#include "support/api.h"
#include "support/damage.h"

enum { MESSAGES = 60, BODY = 3000, SPAN = 3040, SECOND = 22, THIRD = 43, PAGE = 4096, FDS = 256 };

/* ---- a disk with a bad place ----------------------------------------------------- */

static struct {
    struct lqi_io io;
    char file[64];
    bool is_it[FDS]; /* by descriptor */
    uint64_t from, to;
    bool once;
    unsigned good; /* so many reads of it go well first */
} bad;

static int open_noted(const struct lqi_io *io, int dir, const char *name, int flags, uint32_t mode, int *fd_out)
{
    int error = lqi_io_posix.open(io, dir, name, flags, mode, fd_out);
    if (error) return error;
    HOLDS(*fd_out < FDS);
    bad.is_it[*fd_out] = strcmp(name, bad.file) == 0;
    return 0;
}

static int read_but_there(const struct lqi_io *io, int fd, uint64_t offset, void *data, size_t size, size_t *got_out)
{
    bool meets = bad.is_it[fd] && offset < bad.to && offset + size > bad.from && bad.from < bad.to;
    if (!meets || (bad.good && bad.good--)) return lqi_io_posix.read(io, fd, offset, data, size, got_out);
    if (bad.once) bad.to = bad.from;
    return EIO;
}

static const struct lqi_io *disk_with_bad(const char *file, uint64_t from, uint64_t to)
{
    bad.io = lqi_io_posix;
    bad.io.open = open_noted;
    bad.io.read = read_but_there;
    snprintf(bad.file, sizeof bad.file, "%s", file);
    memset(bad.is_it, 0, sizeof bad.is_it);
    bad.from = from;
    bad.to = to;
    bad.once = false;
    bad.good = 0;
    return &bad.io;
}

/* ---- a queue --------------------------------------------------------------------- */

/* Segments of the messages 1 to 21, 22 to 42, 43 to 60. */
static const uint64_t first_ids[] = {1, SECOND, THIRD, MESSAGES + 1};

static const char *make_queue(void **state)
{
    lq_queue *queue = api_open(state, &(lq_options){.segment_size = 64 << 10, .ring_size = 64 << 10});
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_close(queue));
    return api_path(*state, "q");
}

struct found {
    unsigned count;
    uint64_t first_id, lost;
};

static void note(void *context, const lq_finding *finding)
{
    struct found *found = context;
    char shown[sizeof bad.file + 4];
    snprintf(shown, sizeof shown, "log/%s", bad.file);
    assert_string_equal(finding->file, shown);
    if (!found->first_id || finding->first_id < found->first_id) found->first_id = finding->first_id;
    HOLDS(strstr(finding->text, "Input/output error") != NULL);
    found->lost += finding->count;
    found->count++;
    EQUAL(finding->code, LQ_EIO);
}

struct codes {
    unsigned unreadable, damaged;
};

static void count_codes(void *context, const lq_finding *finding)
{
    struct codes *codes = context;
    codes->unreadable += finding->code == LQ_EIO;
    codes->damaged += finding->code == LQ_ECORRUPT;
}

/* ---- verify ---------------------------------------------------------------------- */

static void verify_tells_each_page_that_cannot_be_read_and_what_is_lost_in_it(void **state)
{
    char queue[4096], file[64];
    strcpy(queue, make_queue(state));
    for (size_t segment = 0; segment < 3; segment++) {
        uint64_t size = damage_size(api_segment(queue, segment)), count = first_ids[segment + 1] - first_ids[segment];
        lqi_segment_name(file, first_ids[segment]);
        for (uint64_t from = 0; from < size; from += PAGE) {
            struct found found = {.count = 0};
            lq_verify_result result = {.size = sizeof result};
            uint64_t to = from + PAGE, first = 1, last = count;
            bool last_page = to >= size;
            if (from > 0 && !last_page) { /* only the records in it */
                first = (from - LQI_SEGMENT_HEADER) / SPAN + 1;
                last = (to - 1 - LQI_SEGMENT_HEADER) / SPAN + 1;
            }
            IS(LQ_ECORRUPT, lqi_verify_io(disk_with_bad(file, from, to), queue, 0, note, &found, &result));
            EQUAL(result.messages, MESSAGES - (last - first + 1));
            EQUAL(found.lost, last - first + 1);
            EQUAL(found.first_id, first_ids[segment] + first - 1);
            EQUAL(result.lost, found.lost);
            OK(lq_verify(queue, 0, NULL, NULL, NULL));
        }
    }
}

static void pages_in_a_row_cost_what_is_in_them_and_damage_beside_them_is_told_apart(void **state)
{
    char queue[4096], path[4300];
    struct found found = {.count = 0};
    lq_verify_result result = {.size = sizeof result};
    strcpy(queue, make_queue(state));
    IS(LQ_ECORRUPT, lqi_verify_io(disk_with_bad("00000000000000000022.seg", (uint64_t)2 * PAGE, (uint64_t)5 * PAGE), queue, 0, note, &found, &result));
    EQUAL(found.first_id, SECOND + 2); /* it has its end in them */
    EQUAL(found.lost, 5);
    EQUAL(result.messages, MESSAGES - 5);

    strcpy(path, api_segment(queue, 1));
    api_file_flip(path, LQI_SEGMENT_HEADER + 10 * SPAN + 100, 1);
    struct codes codes = {0, 0};
    IS(LQ_ECORRUPT, lqi_verify_io(&bad.io, queue, 0, count_codes, &codes, &result));
    EQUAL(codes.unreadable, found.count);
    EQUAL(codes.damaged, 1);
    EQUAL(result.messages, MESSAGES - 6);
    api_file_flip(path, LQI_SEGMENT_HEADER + 10 * SPAN + 100, 1);
}

static void headers_alone_are_read_around_bodies_that_cannot_be(void **state)
{
    struct found found = {.count = 0};
    const char *queue = make_queue(state);
    /* Inside the body of message 2. */
    OK(lqi_verify_io(disk_with_bad("00000000000000000001.seg", PAGE, PAGE + 1000), queue, LQ_VERIFY_QUICK, note, &found, NULL));
    IS(LQ_ECORRUPT, lqi_verify_io(disk_with_bad("00000000000000000001.seg", PAGE, PAGE + 1000), queue, 0, note, &found, NULL));
    EQUAL(found.first_id, 2);
    EQUAL(found.lost, 1);
}

/* A disk that has to be asked twice has lost nothing. */
static void what_can_be_read_at_the_second_try_is_not_told(void **state)
{
    struct found found = {.count = 0};
    char queue[4096], file[64];
    strcpy(queue, make_queue(state));
    for (size_t segment = 0; segment < 3; segment++) {
        lqi_segment_name(file, first_ids[segment]);
        for (uint64_t from = 0; from < damage_size(api_segment(queue, segment)); from += PAGE) {
            const struct lqi_io *io = disk_with_bad(file, from, from + PAGE);
            bad.once = true;
            OK(lqi_verify_io(io, queue, 0, note, &found, NULL));
            EQUAL(bad.to, bad.from);
        }
    }
    EQUAL(found.count, 0);
}

/* ---- readers and consumers --------------------------------------------------------- */

/* It may yet be readable: a cable, a network, a driver. So nothing is passed over, and nothing is lost when it is. */
static void readers_and_consumers_wait_for_what_cannot_be_read_and_get_it_when_it_can(void **state)
{
    const char *path = make_queue(state);
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;
    OK(lqi_open_io(disk_with_bad("00000000000000000022.seg", PAGE, PAGE + 1), path, NULL, &queue));
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_seek_id(reader, SECOND));
    api_take_range(consumer, 1, SECOND - 1, BODY);
    for (int i = 0; i < 3; i++) {
        IS(LQ_EIO, lq_reader_next(reader, &message));
        TEXT_HAS("log/00000000000000000022.seg", "Input/output error");
        IS(LQ_EIO, lq_poll(consumer, &message));
        TEXT_HAS("log/00000000000000000022.seg", "Input/output error");
    }
    OK(lq_reader_seek_id(reader, THIRD)); /* who wants to can go on behind it */
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, THIRD);
    bad.to = bad.from;
    OK(lq_reader_seek_id(reader, SECOND));
    OK(lq_reader_next(reader, &message));
    EQUAL(message.id, SECOND);
    lq_reader_close(reader);
    api_take_range(consumer, SECOND, MESSAGES, BODY);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

/* ---- repair -------------------------------------------------------------------------- */

/* Nor does repair give up what may be had yet. */
static void repair_ends_where_a_page_cannot_be_read_and_has_changed_nothing(void **state)
{
    char queue[4096], file[64];
    strcpy(queue, make_queue(state));
    api_file_flip(api_segment(queue, 0), LQI_SEGMENT_HEADER + 100, 1); /* there is something to do */
    struct api_tree *before = api_tree_read(queue);
    lqi_segment_name(file, SECOND);
    for (uint64_t from = 0; from < damage_size(api_segment(queue, 1)); from += PAGE) {
        IS(LQ_EIO, lqi_repair_io(disk_with_bad(file, from, from + PAGE), queue, LQ_REPAIR_DRY_RUN, NULL, NULL, NULL));
        TEXT_HAS(file, "Input/output error");
    }
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);
}

/* A sound queue, of which a page can be read when repair goes through it, and not when what it has done is proved. */
static void what_cannot_be_read_after_a_repair_is_not_called_damage(void **state)
{
    const char *queue = make_queue(state);
    unsigned refused = 0;
    for (unsigned good = 1;; good++) {
        const struct lqi_io *io = disk_with_bad("00000000000000000022.seg", PAGE, PAGE + 1);
        bad.good = good;
        int err = lqi_repair_io(io, queue, 0, NULL, NULL, NULL);
        if (!err) break;
        IS(LQ_EIO, err);
        if (strstr(lq_error_text(), "repaired as far as it can be")) refused++;
    }
    HOLDS(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(verify_tells_each_page_that_cannot_be_read_and_what_is_lost_in_it),
        IN_DIRECTORY(pages_in_a_row_cost_what_is_in_them_and_damage_beside_them_is_told_apart),
        IN_DIRECTORY(headers_alone_are_read_around_bodies_that_cannot_be),
        IN_DIRECTORY(what_can_be_read_at_the_second_try_is_not_told),
        IN_DIRECTORY(repair_ends_where_a_page_cannot_be_read_and_has_changed_nothing),
        IN_DIRECTORY(what_cannot_be_read_after_a_repair_is_not_called_damage),
        IN_DIRECTORY(readers_and_consumers_wait_for_what_cannot_be_read_and_get_it_when_it_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
