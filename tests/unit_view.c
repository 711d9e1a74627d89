/* A look at a queue: through a handle that writes it is the handle's own, through one that only reads it is of the memory of those who
 * have the queue in use, or else of the files, and of either as it is now. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/damage.h"
#include "support/io_fault.h"
#include "view.h"

static struct io_fault fault;
static char path[4096];
static lq_queue *looking;
static struct lqi_view view;

static lq_queue *open_writing(void)
{
    lq_queue *queue;
    OK(lq_open(path, &(lq_options){.size = sizeof(lq_options), .sync = LQ_SYNC_NEVER, .segment_size = 64 << 10, .ring_size = 64 << 10}, &queue));
    return queue;
}

/* A queue with five messages in its files; a handle that looks at it. */
static int set_up(void **state)
{
    if (api_setup(state)) return -1;
    io_fault_init(&fault, &lqi_io_posix);
    snprintf(path, sizeof path, "%s", api_path(*state, "q"));
    lq_queue *queue = open_writing();
    api_put_range(queue, 1, 5, 100);
    OK(lq_close(queue));
    OK(lqi_open_io(&fault.io, path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &looking));
    return 0;
}

static int tear_down(void **state)
{
    io_fault_end(&fault);
    lqi_view_close(&view);
    OK(lq_close(looking));
    io_fault_release(&fault);
    return api_teardown(state);
}

static void is_of_files(uint64_t next_id)
{
    HOLDS(!view.map.head && !view.log.shared && !view.log.state && view.map.file.fd < 0);
    EQUAL(view.log.files_first_id, 1);
    EQUAL(view.log.files_first_position, 0);
    EQUAL(view.log.files_next_id, next_id);
    HOLDS(view.log.files_end == view.files.end && view.log.files_end >= 5 * 144);
}

static void is_of_memory(uint64_t next_id)
{
    HOLDS(view.map.head && view.log.shared == view.map.head && view.log.state == &view.map.head->log);
    HOLDS(view.log.ring.bytes == (const uint8_t *)view.map.head + LQI_SHARED_HEAD && view.log.ring.size == 64 << 10);
    HOLDS(!view.map.writable);
    EQUAL(view.log.state->tails[atomic_load(&view.log.state->turn) & 1].next_id, next_id);
}

static void a_view_of_a_handle_that_writes_is_its_own(void **state)
{
    (void)state;
    lq_queue *queue = open_writing();
    api_put_range(queue, 6, 900, 100); /* rolls: files are open for writing */
    OK(lqi_view_open(&view, queue));
    HOLDS(!lqi_view_read_only(&view) && view.queue == queue);
    HOLDS(view.log.shared == queue->map.head && view.log.state == queue->log.state && !view.map.head);
    EQUAL(view.log.writing.file.fd, -1);
    EQUAL(view.log.syncing.file.fd, -1);
    OK(lqi_view_refresh(&view));
    HOLDS(view.log.shared == queue->map.head && !view.map.head);
    lqi_view_close(&view);
    api_put_range(queue, 901, 901, 100);
    OK(lq_close(queue));
}

static void a_look_is_of_the_files_until_somebody_opens_and_again_when_all_have_closed(void **state)
{
    (void)state;
    OK(lqi_view_open(&view, looking));
    is_of_files(6);
    for (uint64_t id = 6; id <= 8; id++) {
        lq_queue *queue = open_writing();
        api_put_range(queue, id, id, 100);
        OK(lqi_view_refresh(&view));
        is_of_memory(id + 1);
        const struct lqi_shared *before = view.map.head;
        io_fault_plan(&fault, IO_OPEN, 1, false, EIO); /* as long as it is in use, there is nothing to be opened again */
        OK(lqi_view_refresh(&view));
        EQUAL(fault.calls[IO_OPEN], 0);
        io_fault_end(&fault);
        HOLDS(view.map.head == before);
        OK(lq_close(queue));
        OK(lqi_view_refresh(&view));
        is_of_files(id + 1);
    }
}

/* The lowest number that is free. */
static int next_descriptor(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void a_view_leaves_nothing_open(void **state)
{
    (void)state;
    lq_queue *queue = open_writing();
    const int before = next_descriptor();
    OK(lqi_view_open(&view, looking));
    is_of_memory(6);
    for (int i = 0; i < 3; i++) { /* what is of nobody any more is let go of, and what there is then, mapped */
        atomic_store(&queue->map.head->clean, 1);
        OK(lqi_view_refresh(&view));
        EQUAL(next_descriptor(), before);
        atomic_store(&queue->map.head->clean, 0);
        OK(lqi_view_refresh(&view));
        HOLDS(next_descriptor() > before);
    }
    lqi_view_close(&view);
    EQUAL(next_descriptor(), before);
    OK(lq_close(queue));
}

/* A consumer knows how far the log was durable; what `meta` knows of it is lost, and so is the log's last file. */
static void where_the_log_begins_and_how_far_it_went_is_known_to_who_looks_at_files(void **state)
{
    (void)state;
    lq_queue *queue = open_writing();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 6, 900, 100);
    api_take_range(consumer, 1, 900, 100);
    OK(lq_sync(queue));
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    OK(lqi_view_open(&view, looking));
    HOLDS(view.files.first_position > 0 && view.log.files_first_position == view.files.first_position);
    EQUAL(view.log.files_next_id, 901);
    lqi_view_close(&view);
    damage_zero(api_path(path, "meta"), LQI_META_SIZE - 1024, 1024);
    damage_remove(api_segment(path, 0));
    OK(lqi_view_open(&view, looking));
    EQUAL(view.log.files_next_id, 901);
}

static void memory_that_is_just_being_set_up_is_not_looked_at(void **state)
{
    (void)state;
    lq_queue *queue = open_writing();
    api_put_range(queue, 6, 6, 100);
    OK(lqi_view_open(&view, looking));
    is_of_memory(7);
    atomic_store(&queue->map.head->identity.ready, 0);
    OK(lqi_view_refresh(&view));
    is_of_files(6);
    atomic_store(&queue->map.head->identity.ready, 1);
    OK(lqi_view_refresh(&view));
    is_of_memory(7);
    OK(lq_close(queue));
}

/* A mounted file system that broke down has what the kernel wrote last of that file. */
static void what_retention_has_deleted_is_known_to_who_looks_at_old_memory(void **state)
{
    struct lqi_trim trim;
    (void)state;
    lq_queue *queue = open_writing();
    OK(lqi_trim_load(&queue->meta_file, queue->meta.uuid, &trim));
    trim.first_id = trim.next_id = 4;
    trim.position = trim.synced = 432;
    OK(lqi_trim_store(&queue->meta_file, queue->meta.uuid, &trim));
    OK(lqi_view_open(&view, looking));
    EQUAL(view.log.files_first_id, 4);
    EQUAL(view.log.files_first_position, 432);
    damage_zero(api_path(path, "meta"), LQI_META_SIZE - 1024, 1024); /* which no slot tells any more */
    lqi_view_close(&view);
    OK(lqi_view_open(&view, looking));
    is_of_memory(6);
    EQUAL(view.log.files_first_id, 0);
    OK(lq_close(queue));
}

static void memory_that_makes_no_sense_leaves_the_files_to_be_looked_at(void **state)
{
    const uint64_t nonsense = 12345;
    (void)state;
    lq_queue *queue = open_writing();
    api_put_range(queue, 6, 6, 100);
    uint64_t ring_size = queue->map.head->identity.ring_size;
    queue->map.head->identity.ring_size = nonsense;
    OK(lqi_view_open(&view, looking));
    is_of_files(6);
    queue->map.head->identity.ring_size = ring_size;
    OK(lq_close(queue));
}

/* Messages that are nowhere else would be missing, and nobody would be told. */
static void want_of_memory_or_descriptors_hides_nothing(void **state)
{
    static const struct {
        enum io_kind kind;
        int error, code;
    } wants[] = {{IO_MAP, ENOMEM, LQ_ENOMEM}, {IO_OPEN, EMFILE, LQ_ELIMIT}, {IO_OPEN, ENFILE, LQ_ELIMIT}, {IO_OPEN, ENOMEM, LQ_ENOMEM}};
    lq_reader *reader;
    (void)state;
    lq_queue *queue = open_writing();
    api_put_range(queue, 6, 6, 100);
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
        io_fault_plan(&fault, wants[i].kind, 1, false, wants[i].error);
        IS(wants[i].code, lqi_view_open(&view, looking));
        HOLDS(fault.hits == 1 && !view.map.head);
        TEXT_HAS("shared");
        io_fault_plan(&fault, wants[i].kind, 1, false, wants[i].error);
        IS(wants[i].code, lq_reader_open(looking, &reader));
        io_fault_end(&fault);
    }
    api_read_range(looking, 1, 6, 100);
    OK(lq_close(queue));
}

static void whatever_fails_while_the_files_are_looked_at_is_told_or_makes_no_difference(void **state)
{
    static const enum io_kind kinds[] = {IO_READ, IO_DIR_LIST, IO_STAT};
    unsigned failures = 0;
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (uint64_t nth = 1; nth == 1 || fault.hits; nth++) {
            io_fault_plan(&fault, kinds[i], nth, false, ENOMEM);
            int err = lqi_view_open(&view, looking);
            HOLDS(!err || (err == LQ_ENOMEM && fault.hits)); /* or it does not matter */
            failures += err != LQ_OK;
            if (!err) is_of_files(6);
            lqi_view_close(&view);
            lqi_view_close(&view);
        }
    HOLDS(failures >= 4);
    io_fault_plan(&fault, IO_READ, 2, false, EIO); /* after what says that the memory is of nobody */
    IS(LQ_EIO, lqi_view_open(&view, looking));
    TEXT_HAS("read meta");
    io_fault_plan(&fault, IO_DIR_LIST, 1, false, EIO);
    IS(LQ_EIO, lqi_view_open(&view, looking));
    TEXT_HAS("consumers");
    io_fault_end(&fault);
    damage_zero(api_path(path, "meta"), LQI_META_SIZE - 1024, 1024);
    OK(lqi_view_open(&view, looking)); /* without a trim slot, the oldest file is where it begins */
    is_of_files(6);
}

int main(void)
{
#define LOOKING(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LOOKING(a_view_of_a_handle_that_writes_is_its_own),
        LOOKING(a_look_is_of_the_files_until_somebody_opens_and_again_when_all_have_closed),
        LOOKING(a_view_leaves_nothing_open),
        LOOKING(where_the_log_begins_and_how_far_it_went_is_known_to_who_looks_at_files),
        LOOKING(memory_that_is_just_being_set_up_is_not_looked_at),
        LOOKING(what_retention_has_deleted_is_known_to_who_looks_at_old_memory),
        LOOKING(memory_that_makes_no_sense_leaves_the_files_to_be_looked_at),
        LOOKING(want_of_memory_or_descriptors_hides_nothing),
        LOOKING(whatever_fails_while_the_files_are_looked_at_is_told_or_makes_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
