/* Appending records of every size, wherever the log stands: what goes in comes out, and what is refused changes nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "bytes.h"
#include "support/child.h"
#include "support/hold.h"
#include "support/sized_log.h"
#include "writeout.h"

/* ---- sizes --------------------------------------------------------------------------- */

static void records_of_every_size_come_out_as_they_went_in(void **state)
{
    for (int sync = LQ_SYNC_ALWAYS; sync <= LQ_SYNC_NEVER; sync += 2) {
        begin(state, (lq_options){.sync = sync});
        const size_t capacity = lqi_segment_capacity(&queue->log.options);
        const size_t these[] = {1000, LARGE, 0, LARGE - 1, 7, 20001, 8, 40000, 1, capacity - LQI_RECORD_HEADER, 9, capacity - LQI_RECORD_HEADER + 1,
                                100, 70003, 200006, 3, 30001, 30002, 15, 500 * KIB, 16, LARGE};
        const size_t count = sizeof these / sizeof *these;
        for (size_t i = 0; i < 2 * count; i++) put(these[i * 3 % count]);
        end();
    }
}

/* Straight to the file: it is not in the ring, nor is what was before it. */
static void what_went_to_its_file_is_written_when_it_is_appended(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    put(100);
    HOLDS(atomic_load(&shared->written) < tail().end);
    for (int i = 0; i < 4; i++) {
        put(LARGE + 10000 * (size_t)i);
        EQUAL(atomic_load(&shared->written), tail().end);
        EQUAL(atomic_load(&shared->ring.appended), tail().end);
        EQUAL(lqi_ring_oldest(&queue->log.ring), tail().end);
        EQUAL(tail().direct, tail().end);
    }
    uint64_t before = tail().end;
    put(100);
    EQUAL(tail().direct, before);
    EQUAL(atomic_load(&shared->written), before);
    EQUAL(lqi_ring_oldest(&queue->log.ring), before);
    end();
}

static void a_large_record_gets_a_segment_of_its_size_and_the_next_ones_are_as_usual(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    const uint64_t usual = lqi_segment_capacity(&queue->log.options);
    put(100);
    put(300 * KIB);
    struct lqi_span *span = &shared->spans[tail().span & 1];
    EQUAL(span->limit - span->position, lqi_record_span(300 * KIB));
    EQUAL(span->position, lqi_record_span(100));
    EQUAL(tail().end, span->limit);
    struct stat file;
    HOLDS(stat(api_segment(path, 1), &file) == 0);
    EQUAL(file.st_size, lqi_segment_file_size(&queue->log.options, lqi_record_span(300 * KIB)));
    put(100);
    span = &shared->spans[tail().span & 1];
    EQUAL(span->limit - span->position, usual);
    EQUAL(span->position, lqi_record_span(100) + lqi_record_span(300 * KIB));
    uint64_t number = tail().span;
    put(LARGE); /* which fits */
    EQUAL(tail().span, number);
    end();
}

/* The present segment moves on by one, and the present record begins with it. */
static void next_segment(void)
{
    const uint64_t number = tail().span;
    while (tail().span == number) put(10000);
}

static uint64_t allocations(size_t size)
{
    io_fault_plan(&fault, IO_ALLOCATE, 0, false, 0);
    put(size);
    return fault.calls[IO_ALLOCATE];
}

static uint64_t last_file_size(void)
{
    struct stat file;
    size_t count = 0;
    while (api_segment(path, count)) count++;
    HOLDS(count > 0 && stat(api_segment(path, count - 1), &file) == 0);
    return (uint64_t)file.st_size;
}

static void a_large_record_that_fits_takes_the_place_that_there_is(void **state)
{
    for (int rolls = 0; rolls < 3; rolls++) {
        begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        const uint64_t capacity = lqi_segment_capacity(&queue->log.options), usual = lqi_segment_file_size(&queue->log.options, capacity);
        put(100);
        for (int i = 0; i < rolls; i++) next_segment();
        const uint64_t number = tail().span;
        const struct lqi_span *span = &shared->spans[number & 1];
        EQUAL(allocations(LARGE), 0);
        EQUAL(tail().span, number);
        /* To the last byte, when its disk space has been given back, too. */
        OK(lqi_give_back_space(&queue->log));
        EQUAL(allocations(LARGE), 1);
        EQUAL(allocations(10), 0);
        io_fault_plan(&fault, IO_ALLOCATE, 0, false, 0);
        put(span->limit - tail().end - LQI_RECORD_HEADER);
        EQUAL(tail().span, number);
        EQUAL(tail().end, span->limit);
        EQUAL(span->limit - span->position, capacity);
        EQUAL(last_file_size(), usual);
        /* There is no more: another file, which is made once. */
        put(LARGE);
        EQUAL(fault.calls[IO_ALLOCATE], 1);
        EQUAL(tail().span, number + 1);
        EQUAL(last_file_size(), usual);
        EQUAL(atomic_load(&shared->prepared), 0);
        end();
    }
}

static void a_segment_that_was_begun_for_a_large_record_grows_for_a_larger_one(void **state)
{
    for (int rolls = 0; rolls < 2; rolls++) {
        begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        put(100);
        for (int i = 0; i < rolls; i++) next_segment();
        OK(lqi_write_out(&queue->log));
        const uint64_t number = tail().span, end_of_log = tail().end;
        io_fault_plan(&fault, IO_WRITE, 4, true, EIO); /* behind index and header of the roll */
        IS(LQ_EIO, try_to_put(100 * KIB));
        io_fault_end(&fault);
        EQUAL(tail().span, number + 1);
        EQUAL(tail().end, end_of_log);
        const struct lqi_span *span = &shared->spans[(number + 1) & 1];
        EQUAL(span->limit, end_of_log + lqi_record_span(100 * KIB));
        io_fault_plan(&fault, IO_ALLOCATE, 1, true, ENOSPC);
        IS(LQ_ENOSPC, try_to_put(200 * KIB));
        EQUAL(span->limit, end_of_log + lqi_record_span(100 * KIB));
        io_fault_end(&fault);
        EQUAL(allocations(200 * KIB), 1);
        EQUAL(tail().span, number + 1);
        EQUAL(span->limit, end_of_log + lqi_record_span(200 * KIB));
        EQUAL(last_file_size(), lqi_segment_file_size(&queue->log.options, lqi_record_span(200 * KIB)));
        put(100);
        EQUAL(tail().span, number + 2);
        end();
    }
}

/* For what it has room for when its disk space was given back meanwhile. */
static void a_segment_that_was_begun_for_a_large_record_keeps_its_size_when_it_is_allocated_again(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    put(100);
    OK(lqi_write_out(&queue->log));
    const uint64_t number = tail().span;
    io_fault_plan(&fault, IO_WRITE, 4, true, EIO); /* behind index and header of the roll */
    IS(LQ_EIO, try_to_put(200 * KIB));
    io_fault_end(&fault);
    const struct lqi_span *span = &shared->spans[(number + 1) & 1];
    const uint64_t limit = span->limit;
    for (int i = 0; i < 100; i++) put(1000);
    OK(lqi_write_out(&queue->log));
    OK(lqi_give_back_space(&queue->log));
    put(LARGE);
    EQUAL(span->limit, limit);
    EQUAL(tail().span, number + 1);
    EQUAL(last_file_size(), lqi_segment_file_size(&queue->log.options, lqi_record_span(200 * KIB)));
    end();
}

static uint64_t behind_writes;

static int note_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    behind_writes = lqi_max64(behind_writes, offset + size);
    return quick.write(io, fd, offset, data, size);
}

/* Whatever was there before: a record that could not be written leaves its bytes. */
static void a_record_that_goes_to_its_file_is_filled_up_with_zeroes_and_no_byte_is_written_behind_it(void **state)
{
    static uint8_t ones[2 * LARGE];
    struct lqi_io io;
    memset(ones, 0xff, sizeof ones);
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1 << 20});
    put(100);
    OK(lqi_write_out(&queue->log));
    for (size_t odd = 1; odd <= 8; odd++) {
        const size_t size = LARGE + 7 + odd;
        io_fault_plan(&fault, IO_WRITE, 3, true, EIO); /* the header, behind body and padding */
        IS(LQ_EIO, lq_put(queue, ones, sizeof ones, NULL));
        io_fault_end(&fault);
        const uint64_t at = tail().end - shared->spans[tail().span & 1].position + LQI_SEGMENT_HEADER;
        behind_writes = 0;
        io = fault.io;
        fault.io.write = note_write;
        put(size);
        fault.io = io;
        EQUAL(behind_writes, at + lqi_record_span((uint32_t)size));
        struct api_bytes file = api_file_read(api_segment(path, 0));
        for (uint64_t i = at + LQI_RECORD_HEADER + size; i < behind_writes; i++) EQUAL(file.bytes[i], 0);
        EQUAL(file.bytes[behind_writes], 0xff);
        free(file.bytes);
    }
    end();
}

/* ---- what fails ------------------------------------------------------------------------ */

/* Where the log stands when a record is to be appended. */
static void stand(int where)
{
    if (where == 0) return; /* at its beginning */
    put(100);
    if (where == 1) return;
    while (tail().end + 2 * lqi_record_span(1000) < shared->spans[tail().span & 1].limit) put(1000); /* at the end of a segment */
    if (where == 2) return;
    OK(lqi_write_out(&queue->log));
    OK(lqi_give_back_space(&queue->log)); /* where there is no disk space any more */
}

/* What counts as prepared is there. */
static void prepared_is_there(void)
{
    uint64_t number = atomic_load(&shared->prepared);
    char name[4200];
    snprintf(name, sizeof name, "%s/log/%llu.new", path, (unsigned long long)number);
    HOLDS(!number || api_file_exists(name));
}

static unsigned fail_each(void **state, int where, enum io_kind kind, bool for_ever)
{
    static const size_t these[] = {1900, LARGE, 100 * KIB};
    unsigned failures = 0;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        if (nth == 1 || where == 0) begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        stand(where);
        for (size_t i = 0; i < sizeof these / sizeof *these; i++) {
            struct lqi_tail before = tail();
            io_fault_plan(&fault, kind, nth, for_ever, ENOSPC);
            int err = try_to_put(these[i]);
            failed = fault.hits > 0;
            io_fault_end(&fault);
            failures += err != LQ_OK;
            if (kind == IO_RANDOM) EQUAL(failed, err != LQ_OK);
            prepared_is_there();
            HOLDS(!shared->spans[tail().span & 1].limit || tail().end <= shared->spans[tail().span & 1].limit);
            if (err && kind == IO_ALLOCATE) EQUAL(tail().span, before.span);
            if (err) {
                HOLDS(failed);
                IS(LQ_ENOSPC, err);
                HOLDS(kind != IO_RANDOM || !strstr(lq_error_text(), "at byte"));
                EQUAL(tail().end, before.end);
                EQUAL(tail().next_id, before.next_id);
                EQUAL(tail().records, before.records);
                put(these[i] + 1000 * nth); /* another one gets the place, and if its segment is there already and empty, that grows */
            }
            put(10);
            if (failed) break;
        }
        if (!failed || where == 0) end();
    }
    return failures;
}

static void what_cannot_be_appended_leaves_no_trace(void **state)
{
    static const enum io_kind kinds[] = {IO_OPEN, IO_WRITE, IO_ALLOCATE, IO_RENAME, IO_RANDOM};
    unsigned failures = 0;
    for (int where = 0; where < 4; where++)
        for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
            for (int for_ever = 0; for_ever < 2; for_ever++) failures += fail_each(state, where, kinds[kind], for_ever);
    HOLDS(failures > 60);
}

/* What is in the log has its disk space: who cannot have it is refused, and does not wait for it in memory. */
static void a_poisoned_queue_takes_nothing_whoever_waits_for_the_disk(void **state)
{
    for (int sync = LQ_SYNC_ALWAYS; sync <= LQ_SYNC_NEVER; sync++) {
        begin(state, (lq_options){.sync = sync});
        put(100);
        OK(lq_sync(queue));
        lqi_poison(&queue->log);
        const struct lqi_tail before = tail();
        IS(LQ_EPOISONED, try_to_put(100));
        TEXT_HAS("poisoned", "open it again");
        IS(LQ_EPOISONED, try_to_put(LARGE));
        EQUAL(tail().end, before.end);
        EQUAL(tail().next_id, before.next_id);
        atomic_store(&queue->log.shared->poisoned, 0);
        end();
    }
}

static void nothing_is_accepted_without_disk_space(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .ring_size = 256 * KIB});
    put(100);
    OK(lqi_write_out(&queue->log));
    const struct lqi_span *span = &shared->spans[tail().span & 1];
    io_fault_plan(&fault, IO_ALLOCATE, 1, true, ENOSPC);
    int err;
    while (!(err = try_to_put(3000))) {}
    IS(LQ_ENOSPC, err);
    TEXT_HAS("log/", ".new");
    EQUAL(span->limit - span->position, lqi_segment_capacity(&queue->log.options));
    HOLDS(tail().end <= span->limit && tail().end + lqi_record_span(3000) > span->limit);
    put(10); /* for which there is some */
    io_fault_end(&fault);
    put(3000);

    OK(lqi_write_out(&queue->log));
    OK(lqi_give_back_space(&queue->log));
    io_fault_plan(&fault, IO_ALLOCATE, 1, true, ENOSPC);
    for (int i = 0; i < 3; i++) IS(LQ_ENOSPC, try_to_put(10));
    io_fault_end(&fault);
    end();
}

/* There is memory for two: the third would take the place of the one that is being written out. */
static void no_third_segment_begins_before_the_first_is_in_its_file(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .ring_size = 256 * KIB});
    put(100);
    OK(lqi_write_out(&queue->log));
    const uint64_t first = tail().span, limit = 2 * lqi_segment_capacity(&queue->log.options);
    OK(lqi_prepare(&queue->log, first + 1));
    io_fault_plan(&fault, IO_WRITE, 1, true, EIO);
    int err;
    while (!(err = try_to_put(3000))) {}
    IS(LQ_EIO, err);
    EQUAL(tail().span, first + 1);
    EQUAL(atomic_load(&shared->write_span), first);
    HOLDS(tail().end <= limit && tail().end + 2 * lqi_record_span(3000) > limit);
    io_fault_end(&fault);
    put(3000);
    end();
}

/* Nobody waits for a lock here for longer than a moment. */
static void a_lock_that_cannot_be_had_is_told_and_nothing_is_appended(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    put(100);
    struct lqi_tail before = tail(), unused;
    lqi_lock_patience_ms = 1;
    hold(&shared->append);
    IS(LQ_EBUSY, try_to_put(100));
    IS(LQ_EBUSY, try_to_put(LARGE));
    IS(LQ_EBUSY, lqi_append_mark(&queue->log));
    IS(LQ_EBUSY, lqi_log_tail(&queue->log, &unused));
    IS(LQ_EBUSY, lqi_commit_all(&queue->log));
    IS(LQ_EBUSY, lq_sync(queue));
    let_go();
    EQUAL(tail().end, before.end);
    OK(lqi_write_out(&queue->log));
    OK(lqi_give_back_space(&queue->log));
    hold(&shared->write);
    IS(LQ_EBUSY, lqi_allocate(&queue->log));
    IS(LQ_EBUSY, try_to_put(10));
    let_go();
    put(100);
    before = tail();
    hold(&shared->write);
    IS(LQ_EBUSY, try_to_put(LARGE));
    IS(LQ_EBUSY, lqi_write_out(&queue->log));
    IS(LQ_EBUSY, lqi_prepare(&queue->log, atomic_load(&shared->write_span) + 1));
    IS(LQ_EBUSY, lqi_allocate(&queue->log));
    IS(LQ_EBUSY, lqi_give_back_space(&queue->log));
    IS(LQ_EBUSY, lqi_commit_all(&queue->log));
    EQUAL(tail().end, before.end);
    put(100); /* for which nobody needs to write */
    let_go();
    lqi_lock_patience_ms = LQI_LOCK_PATIENCE_MS;
    put(LARGE); /* whoever could not have the second lock has let go of the first */
    end();
}

/* ---- two spans in the ring --------------------------------------------------------------- */

static void a_span_that_is_not_written_out_yet_is_read_beside_the_next_one(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .ring_size = 256 * KIB});
    put(1000);
    OK(lqi_write_out(&queue->log)); /* the first span of all is none */
    for (int rolls = 0; rolls < 2; rolls++) {
        while (atomic_load(&shared->append_span) == atomic_load(&shared->write_span)) put(1000);
        put(1000);
        uint64_t number = atomic_load(&shared->append_span), salt, until, end_of_log = tail().end;
        const struct lqi_span *newer = &shared->spans[number & 1], *older = &shared->spans[~number & 1];
        uint64_t begins = atomic_load(&newer->position), oldest = atomic_load(&older->position);
        HOLDS(lqi_log_in_ring(&queue->log, begins, &salt, &until));
        EQUAL(salt, atomic_load(&newer->salt));
        EQUAL(until, end_of_log);
        HOLDS(lqi_log_in_ring(&queue->log, begins - 8, &salt, &until));
        EQUAL(salt, atomic_load(&older->salt));
        EQUAL(until, begins);
        HOLDS(lqi_log_in_ring(&queue->log, oldest, &salt, &until));
        EQUAL(until, begins);
        EQUAL(lqi_ring_oldest(&queue->log.ring), 0); /* what is older is there, too, but of which segment was it? */
        if (oldest) HOLDS(!lqi_log_in_ring(&queue->log, oldest - 8, &salt, &until));
        HOLDS(!lqi_log_in_ring(&queue->log, end_of_log, &salt, &until));
        read_all(rolls ? "second" : "first");
        /* Its slot is another's as soon as its file is complete. */
        OK(lqi_write_out(&queue->log));
        EQUAL(atomic_load(&shared->write_span), number);
        HOLDS(!lqi_log_in_ring(&queue->log, begins - 8, &salt, &until));
        HOLDS(lqi_log_in_ring(&queue->log, begins, &salt, &until));
    }
    end();
}

static void index_entries_of(void **state, size_t size, size_t each_seventh)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER, .segment_size = 1024 * KIB});
    const uint64_t stride = lqi_index_stride(&queue->log.options);
    for (int i = 0; i < 60; i++) put(i % 7 ? size : each_seventh);
    const struct lqi_tail now = tail();
    const struct lqi_span *span = &shared->spans[now.span & 1];
    uint64_t position = 0, expected = 0, count = 0;
    for (uint64_t id = 1; id <= last; position += lqi_record_span(sizes[id]), id++) {
        if (position < expected) continue;
        HOLDS(count < now.index_count);
        EQUAL(span->index[count].position, position);
        EQUAL(span->index[count].first_id, id);
        count++;
        expected = position + stride;
    }
    EQUAL(now.index_count, count);
    HOLDS(count >= 5);
    put(200 * KIB); /* one that goes straight to the file, and one for the next segment */
    put(500 * KIB);
    OK(lqi_write_out(&queue->log));
    end();
}

static void an_index_entry_comes_with_the_first_record_behind_each_stride(void **state)
{
    index_entries_of(state, 9000, 100);
    index_entries_of(state, 8192 - LQI_RECORD_HEADER, 8192 - LQI_RECORD_HEADER); /* which begin where strides end */
}

static int64_t now_us;

static int64_t count_up(const struct lqi_io *io)
{
    (void)io;
    return now_us += 1000;
}

static void a_segment_knows_the_times_of_its_first_and_last_message_and_has_a_salt_of_its_own(void **state)
{
    uint64_t salts[4] = {0};
    int64_t first_us = 0;
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    now_us = 1700000000000000;
    fault.io.wall_us = count_up;
    for (int i = 0; i < 4; i++) {
        uint64_t number = tail().span, synced = atomic_load(&shared->synced);
        while (tail().span == number) put(3000); /* the last one is the first of the next segment */
        const struct lqi_span *span = &shared->spans[tail().span & 1], *old = &shared->spans[~tail().span & 1];
        HOLDS(span->durable >= synced && span->durable <= atomic_load(&shared->synced));
        salts[i] = atomic_load(&span->salt);
        for (int j = 0; j < i; j++) HOLDS(salts[j] != salts[i]);
        EQUAL(span->first_time_us, tail().time_us);
        EQUAL(span->first_id, last);
        EQUAL(span->position, tail().end - lqi_record_span(3000));
        if (i) {
            EQUAL(old->end.first_time_us, first_us);
            EQUAL(old->end.last_time_us, now_us - 1000);
            EQUAL(old->end.next_id, last);
            EQUAL(old->end.end, atomic_load(&span->position));
            EQUAL(old->end.salt, salts[i - 1]);
            EQUAL(span->created_us, now_us - 1000);
        }
        first_us = now_us;
        put(10);
        OK(lq_sync(queue));
        HOLDS(atomic_load(&shared->synced) > synced);
    }
    end();
}

/* ---- death between the stores of a record that goes to its file -------------------------------- */

struct death {
    int step;
};

static int put_large_and_die(void *context)
{
    const struct death *death = context;
    OK(lq_open(path, NULL, &queue));
    shared = queue->log.state;
    uint64_t written = atomic_load(&shared->written), from = atomic_load(&shared->ring.ring_from), appended = atomic_load(&shared->ring.appended);
    put(LARGE + 5);
    HOLDS(lqi_lock(&shared->append, "append lock") == LQI_LOCKED);
    /* Behind the committing store nothing was shown, or ring_from, or `written` too. */
    atomic_store(&shared->ring.appended, appended);
    if (death->step < 2) atomic_store(&shared->written, written);
    if (death->step < 1) atomic_store(&shared->ring.ring_from, from);
    _exit(0);
}

static void a_large_record_is_there_wherever_behind_its_commit_its_putter_dies(void **state)
{
    for (int step = 0; step < 3; step++) {
        begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
        put(100);
        OK(lqi_write_out(&queue->log));
        put(100);
        struct death death = {.step = step};
        EQUAL(child_run(put_large_and_die, &death), 0);
        sizes[++last] = LARGE + 5;
        put(100);
        EQUAL(lqi_ring_oldest(&queue->log.ring), tail().end - lqi_record_span(100));
        EQUAL(tail().direct, tail().end - lqi_record_span(100));
        HOLDS(atomic_load(&shared->written) >= tail().direct);
        end();
    }
}

/* As recovery leaves one none of whose messages can be read. */
static void a_segment_of_whose_messages_no_time_is_known_ends_with_none(void **state)
{
    begin(state, (lq_options){.sync = LQ_SYNC_NEVER});
    put(3000);
    struct lqi_span *span = &shared->spans[tail().span & 1];
    const uint64_t number = tail().span;
    while (tail().end + lqi_record_span(3000) <= span->limit) put(3000);
    const int64_t first_us = span->first_time_us;
    span->first_time_us = 0;
    put(3000);
    EQUAL(tail().span, number + 1);
    EQUAL(span->end.first_time_us, 0);
    EQUAL(span->end.last_time_us, 0);
    HOLDS(first_us > 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(records_of_every_size_come_out_as_they_went_in),
        IN_DIRECTORY(what_went_to_its_file_is_written_when_it_is_appended),
        IN_DIRECTORY(a_large_record_gets_a_segment_of_its_size_and_the_next_ones_are_as_usual),
        IN_DIRECTORY(a_large_record_that_fits_takes_the_place_that_there_is),
        IN_DIRECTORY(a_segment_that_was_begun_for_a_large_record_grows_for_a_larger_one),
        IN_DIRECTORY(a_segment_that_was_begun_for_a_large_record_keeps_its_size_when_it_is_allocated_again),
        IN_DIRECTORY(a_record_that_goes_to_its_file_is_filled_up_with_zeroes_and_no_byte_is_written_behind_it),
        IN_DIRECTORY(what_cannot_be_appended_leaves_no_trace),
        IN_DIRECTORY(a_poisoned_queue_takes_nothing_whoever_waits_for_the_disk),
        IN_DIRECTORY(nothing_is_accepted_without_disk_space),
        IN_DIRECTORY(no_third_segment_begins_before_the_first_is_in_its_file),
        IN_DIRECTORY(a_segment_knows_the_times_of_its_first_and_last_message_and_has_a_salt_of_its_own),
        IN_DIRECTORY(a_segment_of_whose_messages_no_time_is_known_ends_with_none),
        IN_DIRECTORY(a_lock_that_cannot_be_had_is_told_and_nothing_is_appended),
        IN_DIRECTORY(a_span_that_is_not_written_out_yet_is_read_beside_the_next_one),
        IN_DIRECTORY(an_index_entry_comes_with_the_first_record_behind_each_stride),
        IN_DIRECTORY(a_large_record_is_there_wherever_behind_its_commit_its_putter_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
