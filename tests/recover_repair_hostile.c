/* Repair of queues whose files verify and whose numbers lie: what it fills with holes, the disk it takes and the time are
 * bounded whatever they say; its LQ_OK means that lq_verify() finds nothing, and no message that could be read before is gone. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "view.h"
#include "support/api.h"
#include "support/forge.h"
#include "support/scratch.h"
#include "support/survey.h"

/* More than the holes of a repair may take, each in a block of its own; and what is as good as an endless loop. */
enum { DISK_MAX = 6 << 20, SECONDS_MAX = 60 };

#define TIB (UINT64_C(1) << 40)
#define FAR (UINT64_C(501) << 40)

static const uint64_t numbers[] = {
    0, 1, 8, 1000, 0x10000, 300 << 20, 2 * TIB, FAR, UINT64_C(1) << 61, (UINT64_C(1) << 62) - 8, UINT64_C(1) << 62,
    INT64_MAX - 8, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - 7, UINT64_MAX,
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static const char *place(void **state)
{
    static unsigned count;
    char name[16];
    snprintf(name, sizeof name, "q%u", count++);
    return api_path(*state, name);
}

/* Segments of messages 1-3, 4-6 and 7-9, all but the last sealed, and what the trim slot knows of them. */
struct triple {
    struct forge_segment *parts[3];
    struct forge_meta meta;
    uint64_t trailer_end, trailer_next_id; /* of the first; 0: the truth */
};

static struct triple triple(void)
{
    struct triple triple = {.meta = forge_meta};
    for (unsigned i = 0; i < 3; i++) {
        triple.parts[i] = forge_segment_new(1 + 3 * i, i ? triple.parts[i - 1]->end : 0);
        for (uint64_t id = 1 + 3 * i; id < 4 + 3 * i; id++) forge_message(triple.parts[i], id, "body");
    }
    triple.meta.trims[1].synced = triple.parts[2]->end;
    triple.meta.trims[1].next_id = 10;
    return triple;
}

static void write_triple(const struct triple *triple, const char *queue)
{
    forge_queue(queue, &triple->meta);
    for (unsigned i = 0; i < 3; i++) {
        if (i < 2) forge_trailer(triple->parts[i], NULL, 0, i ? 0 : triple->trailer_end, i ? 0 : triple->trailer_next_id);
        forge_segment_write(triple->parts[i], queue);
    }
}

/* What lq_repair() says, having kept its word. Of the messages that could be read, so many at most are not there any more, and told. */
static int repaired_but(const char *queue, uint64_t may_give_up)
{
    lq_repair_result planned = {.size = sizeof planned}, result = {.size = sizeof result};
    struct survey before = survey_look(queue);
    uint64_t used = api_disk_used(queue);

    alarm(SECONDS_MAX);
    int dry = lq_repair(queue, LQ_REPAIR_DRY_RUN, NULL, NULL, &planned);
    int code = lq_repair(queue, 0, NULL, NULL, &result);
    HOLDS(code == LQ_OK || code == LQ_ECORRUPT);
    char text[600] = "";
    if (code) snprintf(text, sizeof text, "%s", lq_error_text());
    alarm(0);
    if (dry) EQUAL(code, dry); /* what cannot be mended, only the end of a repair knows */
    HOLDS(api_disk_used(queue) <= used + DISK_MAX);
    struct survey after = survey_look(queue);
    uint64_t gone = 0;
    for (uint64_t i = 0; i < before.read && i < SURVEY_IDS; i++) gone += !survey_read(&after, before.ids[i]);
    HOLDS(gone <= may_give_up && gone <= result.lost);
    if (code) {
        HOLDS(*text != 0);
        HOLDS(after.verified == LQ_ECORRUPT); /* it is not the sound that it refuses */
        return code;
    }
    EQUAL(after.verified, LQ_OK);
    HOLDS(after.holes == 0);
    struct survey used_again = survey(queue);
    HOLDS(used_again.opened_to_write == LQ_OK && used_again.closed == LQ_OK);
    HOLDS(used_again.put == LQ_OK || used_again.put == LQ_ELIMIT);
    return code;
}

static int repaired(const char *queue)
{
    return repaired_but(queue, 0);
}

/* ---- one number that lies ------------------------------------------------------ */

/* Refused, with the file and the reason, and not begun with. */
static void is_refused(const char *queue, const char *file)
{
    struct api_tree *before = api_tree_read(queue);
    EQUAL(repaired(queue), LQ_ECORRUPT);
    IS(LQ_ECORRUPT, lq_repair(queue, 0, NULL, NULL, NULL));
    TEXT_HAS(file, "missing", "no damage");
    HOLDS(api_tree_same(before, NULL));
    HOLDS(!api_file_exists(api_path(queue, "aside")));
    api_tree_free(before);
}

static void a_trim_slot_far_ahead_of_the_log_is_refused_and_nothing_is_filled(void **state)
{
    for (int with_id = 0; with_id < 2; with_id++) {
        const char *queue = place(state);
        struct triple forged = triple();
        forged.meta.trims[1].synced = FAR;
        if (with_id) forged.meta.trims[1].next_id = FAR;
        write_triple(&forged, queue);
        is_refused(queue, "log/00000000000000000007.seg");
    }
}

/* The last segment is of message `id`, at that position. */
static struct triple with_last_at(uint64_t id, uint64_t position)
{
    struct triple forged = triple();
    free(forged.parts[2]->bytes);
    free(forged.parts[2]);
    forged.parts[2] = forge_segment_new(id, position);
    forge_message(forged.parts[2], id, "body");
    forged.meta.trims[1].synced = forged.parts[2]->end;
    forged.meta.trims[1].next_id = id + 1;
    return forged;
}

static void a_segment_far_behind_those_before_it_is_refused_and_nothing_is_filled(void **state)
{
    const char *queue = place(state);
    struct triple forged = with_last_at(100, FAR);
    write_triple(&forged, queue);
    is_refused(queue, "log/00000000000000000100.seg");
}

static void a_segment_far_behind_those_before_it_of_which_no_message_is_missing_is_as_good_as_any(void **state)
{
    const char *queue = place(state);
    lq_repair_result result = {.size = sizeof result};
    struct triple forged = with_last_at(7, FAR);
    write_triple(&forged, queue);
    OK(lq_repair(queue, 0, NULL, NULL, &result));
    EQUAL(result.steps, 0);
    EQUAL(repaired(queue), LQ_OK);
}

/* Positions may be as wrong as they like: of many gaps, all count together. */
static void many_gaps_that_are_each_within_bounds_are_refused_together(void **state)
{
    const char *queue = place(state);
    struct triple forged = with_last_at(100, TIB / 4 * 6);
    free(forged.parts[1]->bytes);
    free(forged.parts[1]);
    forged.parts[1] = forge_segment_new(50, TIB / 4 * 3);
    forge_message(forged.parts[1], 50, "body");
    write_triple(&forged, queue);
    is_refused(queue, "log/00000000000000000100.seg");
}

static void an_offset_file_that_has_seen_the_log_far_ahead_is_refused_too(void **state)
{
    const char *queue = place(state);
    struct triple forged = triple();
    write_triple(&forged, queue);
    forge_position(queue, "c", 64, 2, &(struct forge_position_entry){.sequence = 1, .durable = FAR, .durable_id = 9}, 1);
    is_refused(queue, "log/00000000000000000007.seg");
}

static void a_gap_within_bounds_is_filled_and_takes_next_to_no_disk(void **state)
{
    const char *queue = place(state);
    struct triple forged = triple();
    uint64_t far = forged.parts[2]->end + (UINT64_C(300) << 20);
    forged.meta.trims[1].synced = far;
    forged.meta.trims[1].next_id = 1000;
    write_triple(&forged, queue);
    uint64_t used = api_disk_used(queue);
    OK(lq_repair(queue, 0, NULL, NULL, NULL));
    HOLDS(api_disk_used(queue) < used + (64 << 10));
    EQUAL(repaired(queue), LQ_OK);
}

/* False: there are no such files here. */
static bool repairs_sparse(void **state, uint64_t size)
{
    for (unsigned which = 0; which < 3; which++) {
        const char *queue = place(state);
        struct triple forged = triple();
        char name[64];
        write_triple(&forged, queue);
        snprintf(name, sizeof name, "log/%020u.seg", 1 + 3 * which);
        if (truncate(api_path(queue, name), (off_t)size) != 0) return false;
        int code = repaired(queue);
        if (size < UINT64_C(1) << 32) EQUAL(code, LQ_OK);
        scratch_delete(queue);
    }
    return true;
}

/* More than fits into a file: in the middle of the log, and behind its end. */
static void a_gap_longer_than_any_file_is_filled_by_a_small_one(void **state)
{
    static const uint64_t gaps[] = {UINT64_C(2) << 30, UINT64_C(10) << 30, TIB / 2};

    for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++)
        for (int all = 0; all < 2; all++) { /* the files are lost altogether */
            const char *queue = place(state);
            struct triple forged = with_last_at(100, gaps[i] + 4096);
            write_triple(&forged, queue);
            for (unsigned k = 0; all && k < 3; k++) remove(api_path(queue, (const char *[]){"log/00000000000000000001.seg", "log/00000000000000000004.seg",
                                                                                           "log/00000000000000000100.seg"}[k]));
            uint64_t used = api_disk_used(queue);
            OK(lq_repair(queue, 0, NULL, NULL, NULL));
            HOLDS(api_disk_used(queue) < used + (64 << 10));
            EQUAL(repaired(queue), LQ_OK);
        }
}

static void a_sparse_segment_is_repaired(void **state)
{
    HOLDS(repairs_sparse(state, 300 << 20));
}

static void a_sparse_segment_of_terabytes_is_repaired(void **state)
{
    if (!repairs_sparse(state, TIB) || !repairs_sparse(state, 8 * TIB)) skip();
}

/* ---- any numbers ---------------------------------------------------------------- */

static void whatever_a_trim_slot_says_repair_ends_and_keeps_its_word(void **state)
{
    for (unsigned field = 0; field < 5; field++)
        for (size_t i = 0; i < NUMBERS; i++) {
            const char *queue = place(state);
            struct triple forged = triple();
            struct forge_trim *trim = &forged.meta.trims[1];
            uint64_t *fields[] = {&trim->sequence, &trim->first_id, &trim->position, &trim->synced, &trim->next_id};
            *fields[field] = numbers[i];
            write_triple(&forged, queue);
            repaired(queue);
            scratch_delete(queue);
        }
}

static void whatever_a_segment_says_repair_ends_and_keeps_its_word(void **state)
{
    for (unsigned part = 0; part < 3; part++)
        for (unsigned field = 0; field < 4; field++)
            for (size_t i = 0; i < NUMBERS; i++) {
                const char *queue = place(state);
                struct triple forged = triple();
                struct forge_segment *segment = forged.parts[part];
                uint64_t *fields[] = {&segment->first_id, &segment->position, &segment->durable, &segment->salt};
                *fields[field] = numbers[i];
                write_triple(&forged, queue);
                repaired(queue);
                scratch_delete(queue);
            }
}

static void whatever_a_trailer_says_repair_ends_and_keeps_its_word(void **state)
{
    for (unsigned field = 0; field < 2; field++)
        for (size_t i = 0; i < NUMBERS; i++)
            for (int damaged = 0; damaged < 2; damaged++) {
                const char *queue = place(state);
                struct triple forged = triple();
                *(field ? &forged.trailer_end : &forged.trailer_next_id) = numbers[i];
                write_triple(&forged, queue);
                if (damaged) api_file_flip(api_path(queue, "log/00000000000000000001.seg"), 256 + 48 + 20, 1);
                repaired(queue);
                scratch_delete(queue);
            }
}

/* Records that stand one behind the other, and ids are missing between them: there is no room for a hole, so that the one that
 * says so is given up. */
static void whatever_ids_records_have_repair_ends_and_keeps_its_word(void **state)
{
    for (size_t i = 0; i < NUMBERS; i++)
        for (unsigned part = 0; part < 3; part++) {
            const char *queue = place(state);
            struct triple forged = triple();
            struct forge_segment *last = forged.parts[2], *changed = forge_segment_new(last->first_id, last->position);
            for (unsigned k = 0; k < 3; k++) forge_message(changed, k == part ? numbers[i] : 7 + k, "body");
            free(last->bytes);
            free(last);
            forged.parts[2] = changed;
            write_triple(&forged, queue);
            repaired_but(queue, 3);
            scratch_delete(queue);
        }
}

/* Nothing is bad in it that a hole could take the place of. */
static void what_repair_cannot_mend_is_not_called_repaired(void **state)
{
    const char *queue = place(state);
    const struct forge_entry entries[] = {{.size = 1}, {.size = 1}};
    struct triple forged = triple();
    struct forge_segment *again = forge_segment_new(7, forged.parts[2]->position);
    size_t size;
    uint8_t *payload = forge_payload(entries, 2, 2, &size);
    forge_message(again, 7, "body");
    forge_record(again, &(struct forge_record){.first_id = 7, .count = 2, .time_us = 1, .payload = payload, .payload_size = size});
    free(payload);
    forged.meta.trims[1].synced = again->end;
    forged.meta.trims[1].next_id = 9;
    free(forged.parts[2]->bytes);
    free(forged.parts[2]);
    forged.parts[2] = again;
    write_triple(&forged, queue);
    EQUAL(repaired(queue), LQ_ECORRUPT);
    IS(LQ_ECORRUPT, lq_repair(queue, 0, NULL, NULL, NULL));
    TEXT_HAS("repaired as far as it can be", "log/00000000000000000007.seg", "first ids");
}

int main(void)
{
    lqi_view_pause_us = 0;
    signal(SIGXFSZ, SIG_IGN); /* a limit to the size of files is an answer */
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_trim_slot_far_ahead_of_the_log_is_refused_and_nothing_is_filled),
        IN_DIRECTORY(a_segment_far_behind_those_before_it_is_refused_and_nothing_is_filled),
        IN_DIRECTORY(a_segment_far_behind_those_before_it_of_which_no_message_is_missing_is_as_good_as_any),
        IN_DIRECTORY(many_gaps_that_are_each_within_bounds_are_refused_together),
        IN_DIRECTORY(an_offset_file_that_has_seen_the_log_far_ahead_is_refused_too),
        IN_DIRECTORY(a_gap_within_bounds_is_filled_and_takes_next_to_no_disk),
        IN_DIRECTORY(a_gap_longer_than_any_file_is_filled_by_a_small_one),
        IN_DIRECTORY(a_sparse_segment_is_repaired),
        IN_DIRECTORY(a_sparse_segment_of_terabytes_is_repaired),
        IN_DIRECTORY(what_repair_cannot_mend_is_not_called_repaired),
        IN_DIRECTORY(whatever_a_trim_slot_says_repair_ends_and_keeps_its_word),
        IN_DIRECTORY(whatever_a_segment_says_repair_ends_and_keeps_its_word),
        IN_DIRECTORY(whatever_a_trailer_says_repair_ends_and_keeps_its_word),
        IN_DIRECTORY(whatever_ids_records_have_repair_ends_and_keeps_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
