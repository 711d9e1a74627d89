/* What the dead left in the ring, to the record: what of it goes to which place of which file, and what does not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/made_log.h"

enum { RING = 65536, NUMBER = 5 /* of the span whose file is being written */ };

static struct lqi_shared_map dead = {.io = &lqi_io_posix, .ring_size = RING};
static struct lqi_found found;
static uint64_t messages;

static struct lqi_tail *tail(void)
{
    return &dead.head->log.tails[1];
}

static void set_span(uint64_t number, const struct made *made)
{
    struct lqi_span *span = &dead.head->log.spans[number & 1];
    atomic_store(&span->position, made->head.position);
    atomic_store(&span->salt, made->head.salt);
    atomic_store(&span->first_id, made->head.first_id);
    span->durable = made->head.durable;
    span->created_us = made->head.created_us;
}

/* They had this segment open, and nothing in the ring. */
static void let_them_die(const struct made *made)
{
    free(dead.head);
    dead.head = calloc(1, LQI_SHARED_HEAD + 2 * RING);
    struct lqi_log_state *state = &dead.head->log;
    atomic_store(&state->append_span, NUMBER);
    atomic_store(&state->write_span, NUMBER);
    atomic_store(&state->turn, 3);
    tail()->span = NUMBER;
    tail()->end = made->found.end;
    set_span(NUMBER, made);
}

/* And the next one, too, which begins where that one ends. */
static void let_them_roll(const struct made *made)
{
    atomic_store(&dead.head->log.append_span, NUMBER + 1);
    tail()->span = NUMBER + 1;
    set_span(NUMBER + 1, made);
}

static void put_ring(uint64_t position, const void *bytes, size_t size)
{
    uint8_t *ring = (uint8_t *)dead.head + LQI_SHARED_HEAD;
    for (size_t i = 0; i < size; i++) {
        uint64_t at = (position + i) % RING;
        ring[at] = ring[at + RING] = ((const uint8_t *)bytes)[i];
    }
}

/* The next record of the segment, into the ring; it is what add() would have put into the file. */
static uint64_t to_ring_sized(struct made *made, uint32_t size)
{
    static const uint8_t zeroes[BODY];
    uint8_t header[LQI_RECORD_HEADER];
    uint64_t position = note_record(made, LQI_RECORD_MESSAGES, size, 0, made->found.time_us + 10, header);
    put_ring(position, header, sizeof header);
    put_ring(position + sizeof header, zeroes, size);
    tail()->end = made->found.end;
    return position;
}

static uint64_t to_ring(struct made *made)
{
    return to_ring_sized(made, BODY);
}

/* The files that were written to since they were synced: in the end there are none. */
static ino_t dirty[16];

static void note(int fd, bool synced)
{
    struct stat stat;
    HOLDS(fstat(fd, &stat) == 0);
    size_t i = 0;
    while (i < 15 && dirty[i] && dirty[i] != stat.st_ino) i++;
    HOLDS(i < 15);
    if (!synced) dirty[i] = stat.st_ino;
    else if (dirty[i]) memmove(&dirty[i], &dirty[i + 1], sizeof dirty - (i + 1) * sizeof *dirty);
}

static int note_write(const struct lqi_io *io, int fd, uint64_t offset, const void *data, size_t size)
{
    note(fd, false);
    return lqi_io_posix.write(io, fd, offset, data, size);
}

static int note_truncate(const struct lqi_io *io, int fd, uint64_t size)
{
    note(fd, false);
    return lqi_io_posix.truncate(io, fd, size);
}

static int note_sync(const struct lqi_io *io, int fd)
{
    note(fd, true);
    return lqi_io_posix.sync(io, fd);
}

static int recover_with(const struct lqi_io *io, const struct lqi_promise *promise)
{
    struct lqi_io careful = lqi_io_posix;
    careful.write = note_write;
    careful.truncate = note_truncate;
    careful.sync = note_sync;
    if (io == &lqi_io_posix) io = &careful;
    memset(dirty, 0, sizeof dirty);
    memset(&found, 0, sizeof found);
    messages = 77;
    the_log.io = io;
    int err = lqi_recover_log(&the_log, &untrimmed, promise, &dead, &found, &messages);
    the_log.io = &lqi_io_posix;
    EQUAL(dirty[0], 0);
    return err;
}

/* So much must have come from the ring, and this be the log now. */
static void recover(const struct made *expected, uint64_t count)
{
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, count);
    same(&found, &expected->found);
    OK(recover_with(&lqi_io_posix, &nothing)); /* and nothing is left to do */
    EQUAL(messages, 0);
    same(&found, &expected->found);
}

static void start(void **state, struct made *made, int count)
{
    new_log(state);
    *made = make_segment(5, 80000, 0);
    add_many(made, count);
    let_them_die(made);
}

/* Written and deleted, so that the next one can be made in the same place. */
static void away(struct made *made)
{
    done(made);
    (void)unlink(path_of(made->head.first_id));
}

/* ---- one file -------------------------------------------------------------------------- */

static void what_is_in_no_file_yet_goes_to_its_place(void **state)
{
    for (int before = 0; before < 3; before++) { /* in the file already */
        for (int count = 0; count < 4; count++) {
            struct made made;
            start(state, &made, before);
            for (int i = 0; i < count; i++) to_ring(&made);
            recover(&made, count);
            EQUAL(size_of(&made), offset_of(&made, made.found.end));
            away(&made);
            HOLDS(rmdir(log_path) == 0);
        }
    }
}

static void a_record_may_end_with_the_ring_and_have_no_body(void **state)
{
    struct made made;
    start(state, &made, 1);
    to_ring(&made);
    to_ring_sized(&made, 0);
    recover(&made, 2);
    away(&made);
}

static void the_published_end_counts_as_the_committed_one_does(void **state)
{
    for (int published = 0; published < 2; published++) {
        struct made made;
        start(state, &made, 1);
        to_ring(&made);
        struct made then = made;
        to_ring(&made); /* whole, and in the ring, and yet of nobody: it was in the middle of being put */
        tail()->end = published ? 0 : then.found.end;
        atomic_store(&dead.head->log.ring.appended, published ? then.found.end : 0);
        recover(&then, 1);
        away(&made);
        HOLDS(rmdir(log_path) == 0);
    }
}

static void the_number_of_the_tail_counts_only_if_it_is_the_next(void **state)
{
    struct made made;
    start(state, &made, 1);
    to_ring(&made);
    tail()->span = NUMBER + 3; /* written over: another place */
    recover(&made, 1);
    away(&made);
}

/* Of what was put there: older laps, stale copies, lies. */
static void what_does_not_fit_what_was_found_is_not_believed(void **state)
{
    struct made made, stale;
    start(state, &made, 3);
    stale = made;
    stale.found.next_id = made.head.first_id + 2; /* an id that is in the file */
    to_ring(&stale);
    struct made then = made;
    recover(&then, 0);

    stale.found = made.found;
    to_ring(&stale);
    stale.found.next_id--; /* the same id again */
    to_ring(&stale);
    then = made;
    add(&then);
    HOLDS(ftruncate(made.fd, (off_t)offset_of(&made, made.found.end)) == 0);
    recover(&then, 1);
    away(&made);
}

static void what_lies_before_the_end_that_was_found_is_not_looked_at(void **state)
{
    struct made made, lie;
    start(state, &made, 3);
    lie = made;
    lie.found.end -= SPAN;
    lie.found.next_id += 10;
    to_ring(&lie);
    tail()->end = made.found.end + SPAN;
    recover(&made, 0);
    away(&made);
}

static void a_record_that_goes_beyond_the_end_is_none(void **state)
{
    struct made made;
    start(state, &made, 1);
    struct made then = made;
    to_ring(&made);
    tail()->end -= 8;
    recover(&then, 0);
    tail()->end += 8;
    struct made behind = made;
    behind.found.end += 8;
    to_ring(&behind); /* a whole one, where nothing was committed */
    tail()->end = made.found.end;
    recover(&made, 1);
    away(&made);
}

/* A header that verifies in its place, in the middle of a message: a body is a body. */
static void what_is_in_a_message_is_no_record(void **state)
{
    struct made made, inner;
    start(state, &made, 1);
    uint64_t first = to_ring(&made);
    inner = made;
    inner.found.end = first + LQI_RECORD_HEADER;
    to_ring_sized(&inner, 0);
    const uint8_t *at = (uint8_t *)dead.head + LQI_SHARED_HEAD + first % RING;
    uint8_t header[LQI_RECORD_HEADER];
    struct lqi_record record;
    HOLDS(lqi_record_decode(at, first, made.head.salt, &record));
    record.payload_check = lqi_checksum(at + LQI_RECORD_HEADER, BODY);
    lqi_record_encode(header, &record, made.head.salt);
    put_ring(first, header, sizeof header);
    tail()->end = made.found.end;
    recover(&made, 1);
    away(&made);
}

/* It went over what it held, or begins anew: from where on, three say, and the last of them counts. */
static void what_the_ring_does_not_hold_any_more_is_not_taken_from_it(void **state)
{
    for (int who = 0; who < 4; who++) {
        struct made made;
        start(state, &made, 1);
        uint64_t first = to_ring(&made), second = to_ring(&made);
        to_ring(&made);
        struct lqi_log_state *log = &dead.head->log;
        if (who == 0) tail()->direct = second;
        if (who == 1) atomic_store(&log->ring.ring_from, second);
        if (who == 2) atomic_store(&log->ring.ring_from, first + 1); /* made up: no record begins there */
        if (who == 3) tail()->end = second + RING;
        OK(recover_with(&lqi_io_posix, &nothing));
        EQUAL(messages, 2);
        EQUAL(found.end, made.found.end);
        EQUAL(found.next_id, made.found.next_id);
        EQUAL(found.damage, 1); /* the first is missing */
        EQUAL(found.torn_bytes, 0);
        struct api_bytes bytes = api_file_read(path_of(5));
        for (uint64_t at = offset_of(&made, first); at < offset_of(&made, second); at++) EQUAL(bytes.bytes[at], 0);
        free(bytes.bytes);
        away(&made);
        HOLDS(rmdir(log_path) == 0);
    }
}

/* The ring still has it. */
static void what_was_damaged_at_the_end_is_mended_from_the_ring(void **state)
{
    struct made made;
    start(state, &made, 2);
    struct made then = made;
    uint64_t bad = to_ring(&made);
    to_ring(&made);
    add(&then);
    damage(&then, bad);
    OK(recover_with(&lqi_io_posix, &(struct lqi_promise){bad + 8, 0, 0}));
    EQUAL(messages, 2);
    same(&found, &made.found);
    away(&made);
}

/* ---- which file --------------------------------------------------------------------------- */

static void a_file_whose_turn_had_not_come_is_made(void **state)
{
    struct made made;
    new_log(state);
    made = make_segment(5, 80000, 70000);
    let_them_die(&made);
    away(&made);
    struct made before = made;
    before.found.end -= SPAN;
    to_ring(&before); /* before the span begins there is nothing of it */
    to_ring(&made);
    to_ring(&made);
    recover(&made, 2);
    EQUAL(found.last.durable, 70000);
    EQUAL(found.last.position, 80000);
    EQUAL(found.last.created_us, made.head.created_us);
    struct stat stat;
    HOLDS(lstat(path_of(5), &stat) == 0);
    EQUAL(stat.st_size, offset_of(&made, made.found.end));
    EQUAL(stat.st_mode & 0777, 0600);
    HOLDS(unlink(path_of(5)) == 0);
}

/* A sealed one, one of another salt, one that begins later: none of them is the file that it was of. */
static void what_is_another_file_is_not_written_to(void **state)
{
    for (int how = 0; how < 3; how++) {
        struct made made;
        start(state, &made, 2);
        struct made then = made;
        if (how == 0) {
            seal(&made, made.found.next_id);
            then.found.usable = false;
            then.found.mark = then.found.end;
        }
        uint64_t first = to_ring(&made);
        if (how == 1) {
            struct made other = made;
            other.head.salt++;
            other.found = then.found;
            atomic_store(&dead.head->log.spans[NUMBER & 1].salt, other.head.salt);
            to_ring(&other);
        }
        if (how == 2) { /* the header lies, of the place of what is in it */
            uint8_t bytes[LQI_SEGMENT_HEADER];
            then.head.position = first + SPAN;
            lqi_segment_head_encode(bytes, &then.head);
            put_bytes(&then, 0, bytes, sizeof bytes);
        }
        uint64_t end = tail()->end;
        to_ring(&made); /* was not committed */
        tail()->end = end;
        struct api_bytes before = api_file_read(path_of(5));
        OK(recover_with(&lqi_io_posix, &nothing));
        EQUAL(messages, 0);
        if (how < 2) {
            struct api_bytes after = api_file_read(path_of(5));
            EQUAL(after.size, before.size);
            HOLDS(memcmp(before.bytes, after.bytes, before.size) == 0);
            free(after.bytes);
        }
        free(before.bytes);
        away(&made);
        HOLDS(rmdir(log_path) == 0);
    }
}

static void what_the_damaged_file_cannot_take_goes_to_one_of_its_own(void **state)
{
    struct made made;
    start(state, &made, 0);
    uint64_t first = to_ring(&made), second = to_ring(&made);
    to_ring(&made);
    break_header(&made);
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, 2); /* the first record's name is taken */
    EQUAL(found.last.first_id, 6);
    EQUAL(found.last.position, second);
    EQUAL(found.last.salt, made.head.salt);
    EQUAL(found.end, made.found.end);
    EQUAL(found.next_id, made.found.next_id);
    HOLDS(first < second && unlink(path_of(6)) == 0);
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, 2);

    HOLDS(unlink(path_of(6)) == 0); /* with nothing but the first, none is made */
    tail()->end = second;
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, 0);
    HOLDS(access(path_of(6), F_OK) != 0);
    away(&made);
}

/* ---- two files ------------------------------------------------------------------------------ */

/* One of them is bad in the ring, and what is in the first one is a body. */
static void what_is_passed_over_is_passed_over_to_the_record(void **state)
{
    struct made made, inner;
    start(state, &made, 0);
    uint64_t first = to_ring(&made);
    inner = made;
    inner.found.end = first + LQI_RECORD_HEADER;
    to_ring_sized(&inner, 0);
    uint64_t bad = to_ring_sized(&made, 112), third = to_ring(&made);
    put_ring(bad, "bad", 3);
    break_header(&made);
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, 1);
    EQUAL(found.last.first_id, 7);
    EQUAL(found.last.position, third);
    EQUAL(found.end, made.found.end);
    HOLDS(unlink(path_of(7)) == 0);
    away(&made);
}

static void what_was_promised_behind_all_that_is_left_keeps_its_ids(void **state)
{
    struct made made;
    start(state, &made, 1);
    to_ring(&made);
    OK(recover_with(&lqi_io_posix, &(struct lqi_promise){made.found.end + 8, 99, 0}));
    EQUAL(messages, 1);
    HOLDS(found.given_up);
    EQUAL(found.next_id, 99);
    EQUAL(found.good_end, made.found.end);
    away(&made);
}

static void assert_file_is(uint64_t first_id, const struct api_bytes *expected)
{
    struct api_bytes bytes = api_file_read(path_of(first_id));
    EQUAL(bytes.size, expected->size);
    HOLDS(memcmp(bytes.bytes, expected->bytes, bytes.size) == 0);
    free(bytes.bytes);
}

/* As they would be, had nobody died: made by hand, read and deleted. */
static struct api_bytes whole_file(uint64_t first_id, uint64_t position, int count, bool sealed, struct made *made)
{
    *made = make_segment(first_id, position, 0);
    add_many(made, count);
    if (sealed) seal(made, made->found.next_id);
    struct api_bytes bytes = api_file_read(path_of(first_id));
    away(made);
    return bytes;
}

static void the_file_before_the_last_is_sealed(void **state)
{
    for (int written = 0; written < 4; written++) {      /* records of the first that are in its file */
        for (int published = 0; published < 2; published++) { /* or death came in between */
            struct made first, second;
            new_log(state);
            struct api_bytes whole_first = whole_file(5, 80000, 3, true, &first);
            struct api_bytes whole_second = whole_file(8, first.found.end, 2, false, &second);
            struct made expected = second;
            first = make_segment(5, 80000, 0);
            add_many(&first, written);
            if (written < 3) allocate(&first);
            let_them_die(&first);
            for (int i = written; i < 3; i++) to_ring(&first);
            second.found = (struct lqi_found){.end = first.found.end, .next_id = 8, .time_us = second.head.created_us};
            let_them_roll(&second);
            if (!published) atomic_store(&dead.head->log.append_span, NUMBER);
            to_ring(&second);
            to_ring(&second);
            OK(recover_with(&lqi_io_posix, &nothing));
            EQUAL(messages, 5 - written);
            same(&found, &expected.found);
            EQUAL(found.first_id, 5);
            EQUAL(found.second_id, 8);
            if (written < 3) assert_file_is(5, &whole_first); /* else it is sealed by whoever rolls: nothing of it is in doubt */
            assert_file_is(8, &whole_second);
            free(whole_first.bytes);
            free(whole_second.bytes);
            away(&first);
            HOLDS(unlink(path_of(8)) == 0 && rmdir(log_path) == 0);
        }
    }
}

static struct made the_next_to(const struct made *first, uint64_t first_id)
{
    struct made second = {.fd = -1, .head = {.first_id = first_id, .position = first->found.end, .salt = first_id * 77 + 1,
                                             .created_us = (int64_t)(1000 + first_id)}};
    memcpy(second.head.uuid, uuid, sizeof uuid);
    second.found = (struct lqi_found){.end = first->found.end, .next_id = first_id, .time_us = second.head.created_us,
                                      .any_segment = true, .usable = true, .last = second.head};
    return second;
}

static struct lqi_segment_end end_of(uint64_t first_id)
{
    struct lqi_segment segment;
    OK(lqi_segment_open(&segment, &lqi_io_posix, the_log.log_dir, first_id, uuid, false));
    HOLDS(segment.sealed);
    struct lqi_segment_end end = segment.end;
    lqi_segment_close(&segment);
    return end;
}

/* They had begun a new one, and put nothing there. */
static void a_file_with_nothing_behind_it_is_not_sealed(void **state)
{
    struct made first, second;
    start(state, &first, 1);
    to_ring(&first);
    second = the_next_to(&first, 7);
    let_them_roll(&second);
    recover(&first, 1);
    HOLDS(access(path_of(7), F_OK) != 0);
    away(&first);
}

static void of_what_is_in_the_next_file_already_nothing_is_written_to_the_first(void **state)
{
    struct made first, second;
    start(state, &first, 3);
    seal(&first, first.found.next_id);
    struct api_bytes whole = api_file_read(path_of(5));
    second = make_segment(8, first.found.end, 0);
    add(&second);
    let_them_roll(&second);
    to_ring(&second);
    recover(&second, 1);
    assert_file_is(5, &whole);
    free(whole.bytes);
    away(&second);

    away(&first); /* it was consumed, and is gone */
    struct lqi_trim trim = {.sequence = 1, .first_id = 8, .position = first.found.end, .next_id = 8};
    second = the_next_to(&first, 8);
    to_ring(&second);
    OK(lqi_recover_log(&the_log, &trim, &nothing, &dead, &found, &messages));
    EQUAL(messages, 1);
    same(&found, &second.found);
    HOLDS(access(path_of(5), F_OK) != 0);
    HOLDS(unlink(path_of(8)) == 0);
}

/* The ring has lost one that no file has; those behind it are there, and count. */
static void what_is_missing_before_the_next_file_does_not_end_the_first(void **state)
{
    struct made first, second;
    start(state, &first, 1);
    to_ring(&first);
    uint64_t third = to_ring(&first);
    second = the_next_to(&first, 8);
    let_them_roll(&second);
    to_ring(&second);
    atomic_store(&dead.head->log.ring.ring_from, third);
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, 2);
    same(&found, &second.found);
    EQUAL(end_of(5).end, first.found.end);
    EQUAL(end_of(5).next_id, 8);
    away(&first);
    HOLDS(unlink(path_of(8)) == 0);
}

static void a_file_without_messages_is_sealed_without_times(void **state)
{
    struct made first, second;
    start(state, &first, 0);
    add_mark(&first);
    second = the_next_to(&first, 8);
    let_them_roll(&second);
    to_ring(&second);
    OK(recover_with(&lqi_io_posix, &nothing));
    EQUAL(messages, 1);
    same(&found, &second.found);
    EQUAL(end_of(5).end, first.found.end);
    EQUAL(end_of(5).first_time_us, 0);
    EQUAL(end_of(5).last_time_us, 0);
    away(&first);
    HOLDS(unlink(path_of(8)) == 0);
}

static void a_full_index_is_sealed_with_its_file(void **state)
{
    struct made first, second;
    start(state, &first, 0);
    for (int i = 0; i < LQI_INDEX_MAX; i++) add_record(&first, LQI_RECORD_MESSAGES, STRIDE - LQI_RECORD_HEADER, 0, 2000 + i);
    second = the_next_to(&first, first.found.next_id);
    let_them_roll(&second);
    to_ring(&second);
    OK(recover_with(&lqi_io_posix, &nothing));
    same(&found, &second.found);
    EQUAL(end_of(5).index_count, LQI_INDEX_MAX);
    EQUAL(end_of(5).end, first.found.end);
    HOLDS(unlink(path_of(second.head.first_id)) == 0);
    away(&first);
}

/* ---- a sick machine ------------------------------------------------------------------------- */

static void look_on_a_sick_machine(struct io_fault *fault, void *unused)
{
    (void)unused;
    struct made first = make_segment(5, 80000, 0), second;
    add_many(&first, 1);
    let_them_die(&first);
    to_ring(&first);
    to_ring(&first);
    second = the_next_to(&first, 8);
    let_them_roll(&second);
    to_ring(&second);
    struct lqi_promise promise = {.committed = second.found.end};
    int err = recover_with(&fault->io, &promise);
    if (err) {
        IS(LQ_EIO, err);
        HOLDS(fault->hits > 0);
        OK(recover_with(&lqi_io_posix, &promise)); /* and nothing is lost by it */
    } else {
        EQUAL(messages, 3);
        HOLDS(!fault->hits || fault->kind == IO_OPEN || fault->kind == IO_READ || fault->kind == IO_UNLINK || fault->kind == IO_STAT);
    }
    same(&found, &second.found);
    done(&first);
    HOLDS(unlink(path_of(5)) == 0 && unlink(path_of(8)) == 0);
}

static void whatever_call_fails_what_is_in_the_ring_is_not_lost(void **state)
{
    new_log(state);
    HOLDS(each_fault(look_on_a_sick_machine, NULL) >= 2 * 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_in_no_file_yet_goes_to_its_place),
        IN_DIRECTORY(a_record_may_end_with_the_ring_and_have_no_body),
        IN_DIRECTORY(the_published_end_counts_as_the_committed_one_does),
        IN_DIRECTORY(the_number_of_the_tail_counts_only_if_it_is_the_next),
        IN_DIRECTORY(what_does_not_fit_what_was_found_is_not_believed),
        IN_DIRECTORY(what_lies_before_the_end_that_was_found_is_not_looked_at),
        IN_DIRECTORY(a_record_that_goes_beyond_the_end_is_none),
        IN_DIRECTORY(what_is_in_a_message_is_no_record),
        IN_DIRECTORY(what_the_ring_does_not_hold_any_more_is_not_taken_from_it),
        IN_DIRECTORY(what_was_damaged_at_the_end_is_mended_from_the_ring),
        IN_DIRECTORY(a_file_whose_turn_had_not_come_is_made),
        IN_DIRECTORY(what_is_another_file_is_not_written_to),
        IN_DIRECTORY(what_the_damaged_file_cannot_take_goes_to_one_of_its_own),
        IN_DIRECTORY(what_is_passed_over_is_passed_over_to_the_record),
        IN_DIRECTORY(what_was_promised_behind_all_that_is_left_keeps_its_ids),
        IN_DIRECTORY(the_file_before_the_last_is_sealed),
        IN_DIRECTORY(a_file_with_nothing_behind_it_is_not_sealed),
        IN_DIRECTORY(of_what_is_in_the_next_file_already_nothing_is_written_to_the_first),
        IN_DIRECTORY(what_is_missing_before_the_next_file_does_not_end_the_first),
        IN_DIRECTORY(a_file_without_messages_is_sealed_without_times),
        IN_DIRECTORY(a_full_index_is_sealed_with_its_file),
        IN_DIRECTORY(whatever_call_fails_what_is_in_the_ring_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
