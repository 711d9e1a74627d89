/* The files that repair writes by its plan: each good byte where it was, holes where none was, index and trailer made anew; put in
 * place, they are a log of which nothing is to be mended any more. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/each_fault.h"
#include "support/made_plan.h"
#include "support/scratch.h"

static int new_dir;
static char new_path[4300];

static void new_place(void **state)
{
    new_log(state);
    snprintf(new_path, sizeof new_path, "%s.new", log_path);
    HOLDS(mkdir(new_path, 0700) == 0);
    EQUAL(lqi_io_posix.dir_open(&lqi_io_posix, -1, new_path, &new_dir), 0);
}

static void drop_place(void)
{
    lqi_io_posix.close(&lqi_io_posix, new_dir);
    HOLDS(scratch_delete(log_path) == 0 && scratch_delete(new_path) == 0);
}

static const char *new_file(const struct lqi_mending *mending)
{
    static char path[4400];
    snprintf(path, sizeof path, "%s/%s", new_path, mending->name);
    return path;
}

/* ---- what must be in a file -------------------------------------------------------------- */

static bool all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

/* A patch of a file that was read: nothing but a header, and that tells what is given up. */
static void is_patched(const struct lqi_mending *mending, const struct lqi_patch *patch, const uint8_t *file)
{
    const uint8_t *bytes = file + lqi_segment_offset(&mending->head, patch->position);
    struct lqi_record record;

    if (!patch->next_id) {
        HOLDS(all_zero(bytes, patch->to - patch->position));
        return;
    }
    HOLDS(lqi_record_decode(bytes, patch->position, mending->head.salt, &record));
    EQUAL(record.kind, LQI_RECORD_HOLE);
    EQUAL(record.durable, patch->position);
    EQUAL(record.first_id, patch->first_id);
    EQUAL(lqi_record_next_id(&record), patch->next_id);
    EQUAL(record.time_us, patch->time_us);
    EQUAL(lqi_record_span(record.size), patch->to - patch->position);
    HOLDS(all_zero(bytes + LQI_RECORD_HEADER, record.size));
}

static void has_end(const struct lqi_mending *mending, const struct api_bytes *file)
{
    uint64_t offset = lqi_segment_offset(&mending->head, mending->end);
    struct lqi_segment_end end;
    struct lqi_index_entry entry;

    if (!mending->sealed) {
        EQUAL(file->size, offset);
        return;
    }
    HOLDS(lqi_segment_end_decode(file->bytes + file->size - LQI_SEGMENT_TRAILER, file->size, &mending->head, &end));
    EQUAL(end.end, mending->end);
    EQUAL(end.next_id, mending->next_id);
    EQUAL(end.first_time_us, mending->first_time_us);
    EQUAL(end.last_time_us, mending->last_time_us);
    EQUAL(end.index_count, mending->index_count);
    EQUAL(end.index_check, lqi_checksum(file->bytes + offset, (size_t)end.index_count * LQI_INDEX_ENTRY));
    for (uint32_t i = 0; i < end.index_count; i++) {
        lqi_index_entry_decode(file->bytes + offset + (size_t)i * LQI_INDEX_ENTRY, &entry);
        EQUAL(entry.first_id, mending->index[i].first_id);
        EQUAL(entry.time_us, mending->index[i].time_us);
        EQUAL(entry.position, mending->index[i].position);
    }
}

static void is_written_as(const struct lqi_mending *mending, const struct api_bytes *old)
{
    struct api_bytes file = api_file_read(new_file(mending));
    uint64_t offset = LQI_SEGMENT_HEADER;
    uint8_t header[LQI_SEGMENT_HEADER];
    struct stat stat_of_it;

    lqi_segment_head_encode(header, &mending->head);
    HOLDS(file.size >= sizeof header && memcmp(file.bytes, header, sizeof header) == 0);
    for (size_t i = 0; i <= mending->patch_count; i++) {
        const struct lqi_patch *patch = i < mending->patch_count ? &mending->patches[i] : NULL;
        uint64_t to = lqi_segment_offset(&mending->head, patch ? patch->position : mending->end);
        HOLDS(to >= offset && to <= file.size);
        if (to > offset) HOLDS(old->size >= to && memcmp(file.bytes + offset, old->bytes + offset, to - offset) == 0);
        if (!patch) break;
        is_patched(mending, patch, file.bytes);
        offset = lqi_segment_offset(&mending->head, patch->to);
    }
    has_end(mending, &file);
    free(file.bytes);
    HOLDS(stat(new_file(mending), &stat_of_it) == 0);
    EQUAL(stat_of_it.st_mode & 0777, 0600);
}

/* Plans, writes, looks at what was written, puts it in place, and finds nothing left to do. */
static void is_mended(const struct lqi_trim *trim, size_t files)
{
    OK(plan_log(trim, &nothing));
    EQUAL(plan_count, files);
    for (size_t i = 0; i < files; i++) {
        const struct lqi_mending *mending = &plans[i].mending;
        const char *place = path_of(mending->head.first_id);
        if (plans[i].only_taken) {
            char name[LQI_SEGMENT_NAME_SIZE], path[4300];
            HOLDS(sscanf(plans[i].path, "log/%31s", name) == 1);
            snprintf(path, sizeof path, "%s/%s", log_path, name);
            HOLDS(unlink(path) == 0);
            continue;
        }
        struct api_bytes old = mending->there ? api_file_read(place) : (struct api_bytes){NULL, 0};
        OK(lqi_mend_write(&the_log, new_dir, mending));
        is_written_as(mending, &old);
        free(old.bytes);
        HOLDS(rename(new_file(mending), place) == 0);
    }
    only_planned(trim, &nothing, NULL);
}

static void fill(const struct made *made)
{
    for (uint64_t at = made->head.position; at < made->found.end; at += SPAN) { /* bodies that are not only zeroes */
        uint8_t bytes[BODY], header[LQI_RECORD_HEADER];
        struct lqi_record record;
        HOLDS(pread(made->fd, header, sizeof header, (off_t)offset_of(made, at)) == sizeof header);
        HOLDS(lqi_record_decode(header, at, made->head.salt, &record));
        api_fill(bytes, sizeof bytes, at + 1);
        record.payload_check = lqi_checksum(bytes, sizeof bytes);
        lqi_record_encode(header, &record, made->head.salt);
        put_bytes(made, offset_of(made, at), header, sizeof header);
        put_bytes(made, offset_of(made, at) + LQI_RECORD_HEADER, bytes, sizeof bytes);
    }
}

static const struct lqi_trim *known(const struct made *first, const struct made *last)
{
    static struct lqi_trim trim;
    trim = (struct lqi_trim){.sequence = 1, .first_id = first->head.first_id, .position = first->head.position, .synced = last->found.end,
                             .next_id = last->found.next_id};
    return &trim;
}

/* ---- files ------------------------------------------------------------------------------------ */

/* Of 40 records, more than are copied at once. */
static void what_is_good_is_where_it_was_and_what_is_bad_is_a_hole(void **state)
{
    static const int bad[][5] = {{0, -1}, {39, -1}, {1, 3, 5, 7, -1}, {20, 21, 22, -1}, {0, 17, 39, -1}, {-1}};
    for (int sealed = 0; sealed < 2; sealed++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            new_place(state);
            struct made made = make_segment(4, 800, 0);
            add_many(&made, 40);
            fill(&made);
            for (const int *which = bad[i]; *which >= 0; which++)
                put_bytes(&made, offset_of(&made, 800 + (uint64_t)*which * SPAN) + (*which % 2 ? 10 : 100), "bad", 3);
            if (sealed) seal(&made, 44);
            if (bad[i][0] < 0) put_bytes(&made, 10, "bad", 3); /* nothing but the header */
            struct made next = make_segment(44, made.found.end, 0);
            is_mended(known(&made, &next), 1);
            done(&made);
            done(&next);
            drop_place();
        }
    }
}

static void what_follows_the_end_is_cut_off(void **state)
{
    for (int torn = 0; torn < 2; torn++) {
        new_place(state);
        struct made made = make_segment(4, 800, 0);
        add_many(&made, 3);
        fill(&made);
        struct made then = made;
        if (torn) damage(&made, add(&made));
        else put_bytes(&made, offset_of(&made, 800 + SPAN) + 100, "bad", 3);
        allocate(&made);
        is_mended(known(&then, &then), 1);
        done(&made);
        drop_place();
    }
}

static void bytes_behind_a_record_become_zero(void **state)
{
    new_place(state);
    struct made made = make_segment(4, 800, 0);
    add_record(&made, LQI_RECORD_MESSAGES, 1001, 0, 5000);
    put_bytes(&made, offset_of(&made, made.found.end) - 7, "padding", 7);
    add(&made);
    is_mended(known(&made, &made), 1);
    done(&made);
    drop_place();
}

static void the_place_of_what_is_missing_or_unreadable_is_nothing_but_a_hole(void **state)
{
    struct made three[3];
    for (int which = 0; which < 3; which++) {
        for (int missing = 0; missing < 2; missing++) {
            new_place(state);
            make_three(three);
            struct lqi_trim trim = *known(&three[0], &three[2]);
            if (missing) HOLDS(unlink(path_of(three[which].head.first_id)) == 0);
            else break_header(&three[which]);
            if (which == 2) { /* the open one */
                OK(plan_log(&trim, &nothing));
                trim.synced = plans[0].mending.end;
                trim.next_id = plans[0].mending.next_id;
            }
            is_mended(&trim, 1);
            for (int i = 0; i < 3; i++) done(&three[i]);
            drop_place();
        }
    }
    new_place(state);
    make_three(three);
    for (int i = 0; i < 2; i++) break_header(&three[i]);
    is_mended(known(&three[0], &three[2]), 2);
    for (int i = 0; i < 3; i++) done(&three[i]);
    drop_place();
}

/* It was made by repair, and its room needed no disk. */
static void a_hole_whose_room_was_cut_off_is_whole_again(void **state)
{
    struct made three[3];
    new_place(state);
    make_three(three);
    const struct lqi_trim trim = *known(&three[0], &three[2]);
    HOLDS(unlink(path_of(4)) == 0);
    is_mended(&trim, 1);
    HOLDS(truncate(path_of(4), LQI_SEGMENT_HEADER + 1000) == 0);
    OK(plan_log(&trim, &nothing));
    EQUAL(plan_count, 1);
    OK(lqi_mend_write(&the_log, new_dir, &plans[0].mending));
    HOLDS(rename(new_file(&plans[0].mending), path_of(4)) == 0);
    only_planned(&trim, &nothing, NULL);
    for (int i = 0; i < 3; i++) done(&three[i]);
    drop_place();
}

/* Each of at most 1 GiB, none shorter than its header; the first one tells all that is lost. */
static void a_long_hole_is_several_records(void **state)
{
    static const uint64_t most = (uint64_t)1 << 30;
    static const struct {
        uint64_t length;
        int count;
        uint64_t spans[3];
    } cases[] = {
        {most, 1, {most}},
        {most + 8, 2, {most - 40, 48}},
        {most + 32, 2, {most - 40, 72}},
        {most + 40, 2, {most, 40}},
        {2 * most, 2, {most, most}},
        {2 * most + 8, 3, {most, most - 40, 48}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        new_place(state);
        struct lqi_patch patch = {800, 800 + cases[i].length, 4, 9, 5000};
        struct lqi_mending mending = {.head = {.first_id = 4, .position = 800, .salt = 77}, .name = "long", .end = patch.to, .next_id = 9,
                                      .patches = &patch, .patch_count = 1};
        OK(lqi_mend_write(&the_log, new_dir, &mending));
        int fd = open(new_file(&mending), O_RDONLY);
        uint64_t at = 800;
        for (int k = 0; k < cases[i].count; k++) {
            uint8_t bytes[LQI_RECORD_HEADER];
            struct lqi_record record;
            HOLDS(pread(fd, bytes, sizeof bytes, (off_t)lqi_segment_offset(&mending.head, at)) == sizeof bytes);
            HOLDS(lqi_record_decode(bytes, at, 77, &record) && record.kind == LQI_RECORD_HOLE);
            EQUAL(record.first_id, k ? 9 : 4);
            EQUAL(lqi_record_next_id(&record), 9);
            EQUAL(record.time_us, 5000);
            EQUAL(lqi_record_span(record.size), cases[i].spans[k]);
            at += cases[i].spans[k];
        }
        EQUAL(at, patch.to);
        struct stat stat_of_it;
        HOLDS(fstat(fd, &stat_of_it) == 0 && (uint64_t)stat_of_it.st_size == LQI_SEGMENT_HEADER + cases[i].length);
        HOLDS(stat_of_it.st_blocks * 512 < 1 << 20);
        close(fd);
        drop_place();
    }
}

/* ---- on a machine that fails ------------------------------------------------------------------------ */

static int syncs;

static int count_sync(const struct lqi_io *io, int fd)
{
    syncs++;
    return lqi_io_posix.sync(io, fd);
}

static void write_on_a_sick_machine(struct io_fault *fault, void *unused)
{
    const struct lqi_mending *mending = &plans[0].mending;
    (void)unused;
    the_log.io = &fault->io;
    int err = lqi_mend_write(&the_log, new_dir, mending);
    the_log.io = &lqi_io_posix;
    if (!err) {
        struct api_bytes old = api_file_read(path_of(4));
        is_written_as(mending, &old);
        free(old.bytes);
    } else {
        IS(LQ_EIO, err);
        HOLDS(fault->hits > 0);
    }
    (void)unlink(new_file(mending));
}

static void what_is_said_to_be_written_is_written_and_synced(void **state)
{
    struct made three[3];
    struct lqi_io io = lqi_io_posix;
    for (int missing = 0; missing < 2; missing++) {
        new_place(state);
        make_three(three);
        damage(&three[1], three[1].head.position + SPAN);
        if (missing) HOLDS(unlink(path_of(4)) == 0);
        OK(plan_log(known(&three[0], &three[2]), &nothing));
        EQUAL(plan_count, 1);
        if (!missing) HOLDS(each_fault(write_on_a_sick_machine, NULL) > 2 * 8);
        io.sync = count_sync;
        the_log.io = &io;
        syncs = 0;
        OK(lqi_mend_write(&the_log, new_dir, &plans[0].mending));
        EQUAL(syncs, 1);
        IS(LQ_EIO, lqi_mend_write(&the_log, new_dir, &plans[0].mending)); /* never over what is there */
        TEXT_HAS("aside/new/00000000000000000004.seg");
        the_log.io = &lqi_io_posix;
        for (int i = 0; i < 3; i++) done(&three[i]);
        drop_place();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_good_is_where_it_was_and_what_is_bad_is_a_hole),
        IN_DIRECTORY(what_follows_the_end_is_cut_off),
        IN_DIRECTORY(bytes_behind_a_record_become_zero),
        IN_DIRECTORY(the_place_of_what_is_missing_or_unreadable_is_nothing_but_a_hole),
        IN_DIRECTORY(a_hole_whose_room_was_cut_off_is_whole_again),
        IN_DIRECTORY(a_long_hole_is_several_records),
        IN_DIRECTORY(what_is_said_to_be_written_is_written_and_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
