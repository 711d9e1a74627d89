/* Whole files with correct checksums and hostile numbers: segments that overlap or claim another place, trailers and indexes
 * that lie, offset files and trim slots beyond the log. See api_hostile.c for the records in them. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/forge.h"
#include "support/survey.h"

static const uint64_t numbers[] = {
    0, 1, 2, 3, 7, 8, 100, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_C(1) << 32, UINT64_C(1) << 40,
    (UINT64_C(1) << 62) - 8, UINT64_C(1) << 62, INT64_MAX - 8, INT64_MAX - 1, INT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 8,
    UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX - 1, UINT64_MAX,
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static const char *place(void **state)
{
    static unsigned count;
    char name[16];
    snprintf(name, sizeof name, "q%u", count++);
    return api_path(*state, name);
}

/* Messages `first` to `first + 2`. */
static struct forge_segment *three(uint64_t first, uint64_t position)
{
    struct forge_segment *segment = forge_segment_new(first, position);
    for (uint64_t id = first; id < first + 3; id++) forge_message(segment, id, "body");
    return segment;
}

static bool has(const struct survey *survey, uint64_t from, uint64_t to)
{
    for (uint64_t id = from; id <= to; id++)
        if (!survey_read(survey, id)) return false;
    return true;
}

/* What is put afterwards is behind all that is there, and is found again. */
static void goes_on(const struct survey *survey)
{
    HOLDS(survey->opened_to_write == LQ_OK && survey->closed == LQ_OK);
    HOLDS(survey->put == LQ_OK || survey->put == LQ_ELIMIT);
    if (survey->put == LQ_OK) EQUAL(survey->put_read, LQ_OK);
}

/* ---- segments ---------------------------------------------------------------- */

/* Segments of 1-3, 4-6 and 7-9; the middle one has been changed. */
struct triple {
    struct forge_segment *parts[3];
    struct forge_meta meta;
};

static struct triple triple(void)
{
    struct triple triple = {.meta = forge_meta};
    for (unsigned i = 0; i < 3; i++) triple.parts[i] = three(1 + 3 * i, i ? triple.parts[i - 1]->end : 0);
    triple.meta.trims[1].synced = triple.parts[2]->end;
    triple.meta.trims[1].next_id = 10;
    return triple;
}

static struct survey survey_triple(void **state, struct triple *triple)
{
    const char *queue = place(state);
    forge_queue(queue, &triple->meta);
    for (unsigned i = 0; i < 3; i++) {
        if (i < 2) forge_trailer(triple->parts[i], NULL, 0, 0, 0);
        forge_segment_write(triple->parts[i], queue);
    }
    return survey(queue);
}

static void a_segment_with_a_header_of_another_costs_itself_alone(void **state)
{
    for (unsigned field = 0; field < 4; field++)
        for (size_t i = 0; i < NUMBERS; i++) {
            struct triple forged = triple();
            struct forge_segment *middle = forged.parts[1];
            uint64_t *fields[] = {&middle->first_id, &middle->position, &middle->durable, &middle->salt};
            uint64_t was = *fields[field];
            *fields[field] = numbers[i];
            struct survey survey = survey_triple(state, &forged);
            if (field == 2 && numbers[i] <= was) continue; /* no lie that could be told */
            HOLDS(has(&survey, 1, 3) && has(&survey, 7, 9));
            EQUAL(survey.verified, numbers[i] == was ? LQ_OK : LQ_ECORRUPT);
            goes_on(&survey);
        }
}

static void a_segment_of_another_queue_is_not_read(void **state)
{
    struct triple forged = triple();
    forged.parts[1]->uuid[3] ^= 1;
    struct survey survey = survey_triple(state, &forged);
    EQUAL(survey.verified, LQ_ECORRUPT);
    HOLDS(strstr(survey.text, "another queue"));
    HOLDS(has(&survey, 1, 3) && has(&survey, 7, 9) && !survey_read(&survey, 4));
    goes_on(&survey);
}

static void segments_that_overlap_or_leave_gaps_give_what_their_names_say(void **state)
{
    for (int shift = -24; shift <= 24; shift += 8) {
        const char *queue = place(state);
        struct forge_segment *first = three(1, 0), *second = three(4, (uint64_t)((int64_t)first->end + shift * 8));
        struct forge_meta meta = forge_meta;
        meta.trims[1].synced = second->end;
        meta.trims[1].next_id = 7;
        forge_queue(queue, &meta);
        forge_trailer(first, NULL, 0, 0, 0);
        forge_segment_write(first, queue);
        forge_segment_write(second, queue);
        struct survey found = survey(queue);
        HOLDS(has(&found, 1, 3));
        if (shift >= 0) HOLDS(has(&found, 4, 6));
        else EQUAL(found.verified, LQ_ECORRUPT);
        goes_on(&found);
    }
}

static void two_segments_at_one_place_are_told(void **state)
{
    const char *queue = place(state);
    struct forge_segment *first = three(1, 0), *second = three(4, 0);
    struct forge_meta meta = forge_meta;
    meta.trims[1].synced = first->end;
    meta.trims[1].next_id = 7;
    forge_queue(queue, &meta);
    forge_trailer(first, NULL, 0, 0, 0);
    forge_segment_write(first, queue);
    forge_segment_write(second, queue);
    struct survey found = survey(queue);
    HOLDS(has(&found, 1, 3));
    EQUAL(found.verified, LQ_ECORRUPT);
    goes_on(&found);
}

static void the_highest_name_that_a_segment_can_have_is_the_logs_end(void **state)
{
    struct triple forged = triple();
    const char *queue = place(state);
    uint64_t last = INT64_MAX;

    forge_queue(queue, &forged.meta);
    for (unsigned i = 0; i < 3; i++) {
        forge_trailer(forged.parts[i], NULL, 0, 0, 0);
        forge_segment_write(forged.parts[i], queue);
    }
    struct forge_segment *highest = forge_segment_new(last, forged.meta.trims[1].synced);
    forge_segment_write(highest, queue);
    struct survey found = survey(queue);
    HOLDS(has(&found, 1, 9));
    EQUAL(found.put, LQ_ELIMIT);
    goes_on(&found);
}

static void a_sparse_segment_of_any_size_is_told_at_once(void **state)
{
    static const uint64_t sizes[] = {UINT64_C(5) << 30, UINT64_C(1) << 40, UINT64_C(1) << 43};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned which = 1; which < 3; which++) {
            const char *queue = place(state);
            struct triple forged = triple();
            char name[64];
            forge_queue(queue, &forged.meta);
            for (unsigned part = 0; part < 3; part++) {
                if (part < which) forge_trailer(forged.parts[part], NULL, 0, 0, 0);
                forge_segment_write(forged.parts[part], queue);
            }
            snprintf(name, sizeof name, "log/%020u.seg", 1 + 3 * which);
            if (truncate(api_path(queue, name), (off_t)sizes[i]) != 0) skip(); /* this file system has no such files */
            int64_t start_us = api_now_us();
            struct survey found = survey(queue);
            EQUAL(found.verified, LQ_ECORRUPT);
            HOLDS(has(&found, 1, 3) && strstr(found.text, "no segment is so long"));
            goes_on(&found);
            if (api_now_us() - start_us > 10000000) api_note("a sparse segment took %lld ms", (long long)(api_now_us() - start_us) / 1000);
        }
}

/* ---- trailers, indexes ----------------------------------------------------------- */

static void a_trailer_that_lies_about_its_end_is_none(void **state)
{
    for (size_t i = 0; i < NUMBERS; i++)
        for (unsigned which = 0; which < 2; which++) {
            const char *queue = place(state);
            struct triple forged = triple();
            uint64_t truth = forged.parts[which]->end;
            forge_queue(queue, &forged.meta);
            for (unsigned part = 0; part < 3; part++) {
                if (part < 2) forge_trailer(forged.parts[part], NULL, 0, part == which ? numbers[i] : 0, 0);
                forge_segment_write(forged.parts[part], queue);
            }
            struct survey found = survey(queue);
            HOLDS(has(&found, 1, 9)); /* it ends where the next one begins */
            EQUAL(found.verified, !numbers[i] || numbers[i] == truth ? LQ_OK : LQ_ECORRUPT);
            goes_on(&found);
        }
}

static void a_trailer_that_lies_about_its_last_id_hides_nothing(void **state)
{
    for (size_t i = 1; i < NUMBERS; i++)
        for (unsigned which = 0; which < 2; which++)
            for (int damaged = 0; damaged < 2; damaged++) {
                const char *queue = place(state);
                struct triple forged = triple();
                char name[64];
                forge_queue(queue, &forged.meta);
                uint64_t last_record = forged.parts[which]->end - forged.parts[which]->position + 256 - 48;
                for (unsigned part = 0; part < 3; part++) {
                    if (part < 2) forge_trailer(forged.parts[part], NULL, 0, 0, part == which ? numbers[i] : 0);
                    forge_segment_write(forged.parts[part], queue);
                }
                snprintf(name, sizeof name, "log/%020u.seg", 1 + 3 * which);
                if (damaged) api_file_flip(api_path(queue, name), last_record + 20, 1);
                struct survey found = survey(queue);
                EQUAL(found.read, damaged ? 8 : 9);
                HOLDS(has(&found, 7, 9) && has(&found, 1, 2));
                goes_on(&found);
            }
}

static void the_last_trailers_word_about_the_next_id_is_kept(void **state)
{
    for (size_t i = 1; i < NUMBERS; i++) {
        const char *queue = place(state);
        struct forge_segment *only = three(1, 0);
        forge_queue(queue, &forge_meta);
        forge_trailer(only, NULL, 0, 0, numbers[i]);
        forge_segment_write(only, queue);
        struct survey found = survey(queue);
        HOLDS(has(&found, 1, 3));
        goes_on(&found);
        if (found.put == LQ_OK) HOLDS(found.put_id >= 4);
        EQUAL(found.put == LQ_ELIMIT, numbers[i] == INT64_MAX);
    }
}

static void an_index_that_points_anywhere_hides_nothing(void **state)
{
    for (size_t i = 0; i < NUMBERS; i++)
        for (size_t j = 0; j < NUMBERS; j += 3) {
            const char *queue = place(state);
            struct forge_segment *segment = forge_segment_new(1, 0);
            struct forge_index_entry index[3] = {{1, 1700000000000000, 0}, {numbers[j], (int64_t)numbers[i], numbers[i]}, {0}};
            struct forge_meta meta = forge_meta;
            for (uint64_t id = 1; id <= 8; id++) forge_message(segment, id, "body");
            index[2] = (struct forge_index_entry){numbers[i], 1700000000000000, numbers[j]};
            meta.trims[1].synced = segment->end;
            meta.trims[1].next_id = 9;
            forge_queue(queue, &meta);
            forge_trailer(segment, index, 3, 0, 0);
            forge_segment_write(segment, queue);
            struct survey found = survey(queue); /* which seeks each id that was read */
            HOLDS(has(&found, 1, 8));
            EQUAL(found.got, 8);
            goes_on(&found);
        }
}

/* The first record of a mark and a lie of a neighbour's entry: records that are there, but not those of the entry. */
static void an_index_of_other_records_hides_nothing(void **state)
{
    for (uint64_t id = 1; id <= 8; id++)
        for (uint64_t at = 0; at < 8; at++) {
            const char *queue = place(state);
            struct forge_segment *segment = forge_segment_new(1, 0);
            struct forge_index_entry entry = {id, 1700000000000000, at * 48};
            for (uint64_t next = 1; next <= 8; next++) forge_message(segment, next, "body");
            forge_queue(queue, &forge_meta);
            forge_trailer(segment, &entry, 1, 0, 0);
            forge_segment_write(segment, queue);
            struct survey found = survey(queue);
            HOLDS(has(&found, 1, 8));
            EQUAL(found.got, 8);
        }
}

/* ---- meta -------------------------------------------------------------------------- */

static void trim_slots_beyond_the_log_or_all_sense_lose_no_message_that_is_put(void **state)
{
    for (unsigned field = 0; field < 5; field++)
        for (size_t i = 0; i < NUMBERS; i++) {
            const char *queue = place(state);
            struct forge_segment *segment = three(1, 0);
            struct forge_meta meta = forge_meta;
            struct forge_trim *trim = &meta.trims[1];
            uint64_t *fields[] = {&trim->sequence, &trim->first_id, &trim->position, &trim->synced, &trim->next_id};
            trim->synced = segment->end;
            trim->next_id = 4;
            *fields[field] = numbers[i];
            if (field == 0 && numbers[i] % 2 == 0) meta.trims[0] = *trim, *trim = (struct forge_trim){0};
            forge_queue(queue, &meta);
            forge_segment_write(segment, queue);
            struct survey found = survey(queue);
            goes_on(&found);
            if (field != 1) HOLDS(has(&found, 1, 3));
            if (found.put == LQ_OK) HOLDS(found.put_id >= 4 && found.put_id >= (field == 1 && numbers[i] <= 4 ? numbers[i] : 0));
        }
}

static void a_log_given_up_beyond_its_end_goes_on_behind(void **state)
{
    static const uint64_t firsts[] = {5, 1000, UINT64_C(1) << 40, INT64_MAX - 2, INT64_MAX - 1, INT64_MAX};

    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++)
        for (int segments = 0; segments < 2; segments++) {
            const char *queue = place(state);
            struct forge_meta meta = forge_meta;
            meta.trims[1] = (struct forge_trim){.sequence = 1, .first_id = firsts[i], .next_id = firsts[i]};
            forge_queue(queue, &meta);
            if (segments) forge_segment_write(three(1, 0), queue);
            struct survey found = survey(queue);
            goes_on(&found);
            EQUAL(found.put, firsts[i] >= INT64_MAX ? LQ_ELIMIT : LQ_OK);
            if (found.put == LQ_OK) EQUAL(found.put_id, firsts[i]);
        }
}

static void options_beyond_their_ranges_are_told_and_the_messages_stay_readable(void **state)
{
    for (unsigned field = 0; field < 11; field++)
        for (size_t i = 0; i < NUMBERS; i++) {
            const char *queue = place(state);
            struct forge_meta meta = forge_meta;
            uint32_t *small[] = {&meta.sync, &meta.sync_interval_ms, &meta.retention, &meta.full, &meta.compression, &meta.mode};
            uint64_t *large[] = {&meta.size_max, &meta.age_max_ms, &meta.segment_size, &meta.ring_size, &meta.message_size_max};
            if (field < 6) *small[field] = (uint32_t)numbers[i];
            else *large[field - 6] = numbers[i];
            forge_queue(queue, &meta);
            forge_segment_write(three(1, 0), queue);
            struct survey found = survey(queue);
            HOLDS(has(&found, 1, 3));
            if (found.opened_to_write == LQ_OK) HOLDS(found.closed == LQ_OK && (found.put == LQ_OK || found.put == LQ_ETOOBIG));
            else HOLDS(found.opened_to_write == LQ_ECORRUPT && found.verified == LQ_ECORRUPT && strstr(found.text, "option"));
        }
}

/* ---- offset files ------------------------------------------------------------------- */

/* The survey's own consumer has had a past that somebody made up. */
static struct survey with_position(void **state, uint32_t window, uint32_t blocks, const struct forge_position_entry *entries, size_t count)
{
    const char *queue = place(state);
    forge_queue(queue, &forge_meta);
    forge_segment_write(three(1, 0), queue);
    forge_position(queue, "survey", window, blocks, entries, count);
    struct survey found = survey(queue);
    HOLDS(has(&found, 1, 3)); /* the log is none of its affair */
    HOLDS(found.opened_to_write == LQ_OK && found.closed == LQ_OK && (found.put == LQ_OK || found.put == LQ_ELIMIT));
    HOLDS(found.consumer_opened == LQ_OK || found.consumer_opened == LQ_ECORRUPT);
    return found;
}

static void offset_entries_with_any_numbers_stop_their_consumer_at_most(void **state)
{
    for (unsigned field = 0; field < 7; field++)
        for (size_t i = 0; i < NUMBERS; i++) {
            struct forge_position_entry entry = {.sequence = 1, .floor = 1, .delivered = 2, .incarnation = 9, .durable = 8, .durable_id = 1};
            uint64_t *fields[] = {&entry.sequence, &entry.floor, &entry.delivered, &entry.incarnation, &entry.durable, &entry.durable_id};
            if (field < 6) *fields[field] = numbers[i];
            else entry.time_us = (int64_t)numbers[i];
            struct survey found = with_position(state, 64, 2, &entry, 1);
            HOLDS(found.verified == LQ_OK || found.verified == LQ_ECORRUPT);
            if (found.consumer_opened == LQ_ECORRUPT) EQUAL(found.verified, LQ_ECORRUPT);
        }
}

static void an_older_entry_counts_when_the_newer_makes_no_sense(void **state)
{
    const struct forge_position_entry lies[] = {
        {.sequence = 3, .floor = 3, .delivered = 2}, {.sequence = 3, .floor = 0, .delivered = 65}, {.sequence = 3, .delivered = UINT64_MAX, .floor = UINT64_MAX},
        {.sequence = 3, .floor = 2, .delivered = 2, .durable = UINT64_MAX}, {.sequence = 3, .floor = 2, .delivered = 2, .durable_id = UINT64_MAX},
        {.sequence = UINT64_MAX - 60, .floor = 2, .delivered = 2},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const struct forge_position_entry entries[] = {{.sequence = 2, .floor = 1, .delivered = 1}, lies[i]};
        struct survey found = with_position(state, 64, 2, entries, 2);
        EQUAL(found.consumer_opened, LQ_OK);
        EQUAL(found.got, 2);
        EQUAL(found.got_ids[0], 2);
        EQUAL(found.verified, LQ_ECORRUPT);
    }
}

static void windows_of_any_size_are_told(void **state)
{
    static const struct {
        uint32_t window, blocks;
        bool good;
    } cases[] = {{64, 2, true}, {65536, 65536 / 122 + 2, true}, {0, 2, false}, {63, 2, false}, {64, 3, false}, {64, 0, false},
                 {16777216, 16777216 / 122 + 2, true}, {16777217, 16777217 / 122 + 2, false}, {UINT32_MAX, UINT32_MAX / 122 + 2, false},
                 {UINT32_MAX, 1, false}, {1u << 31, 2, false}, {64, UINT32_MAX, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct forge_position_entry entry = {.sequence = 1};
        struct survey found = with_position(state, cases[i].window, cases[i].blocks, &entry, 1);
        EQUAL(found.consumer_opened, cases[i].good ? LQ_OK : LQ_ECORRUPT);
        EQUAL(found.got, cases[i].good ? 3 : 0);
    }
}

static void blocks_of_any_ids_and_words_are_messages_again_at_most(void **state)
{
    for (size_t i = 0; i < NUMBERS; i++)
        for (uint32_t word = 0; word < 4; word++) {
            static const uint32_t words[] = {0, 0xffffffff, 0x7fffffff, 0x80000000};
            const char *queue = place(state);
            const struct forge_position_entry entry = {.sequence = 1, .floor = 0, .delivered = 3, .incarnation = 5};
            forge_queue(queue, &forge_meta);
            forge_segment_write(three(1, 0), queue);
            forge_position(queue, "survey", 64, 2, &entry, 1);
            forge_block(queue, "survey", 0, numbers[i] - numbers[i] % 122, 5, numbers[i], words[word]);
            forge_block(queue, "survey", 1, numbers[i], 5, numbers[i], words[word]);
            struct survey found = survey(queue);
            goes_on(&found);
            EQUAL(found.consumer_opened, LQ_OK);
            /* Settled, if the block is that of these ids; else they come again. */
            HOLDS(found.got == 3 || (found.got == 0 && numbers[i] < 122 && words[word] & 1u << 31));
        }
}

/* ---- all that lq shows ---------------------------------------------------------------- */

static void lq_shows_what(const char *lq, const char *queue)
{
    static const char *const views[] = {"stat", "stat --json", "ls", "ls --json", "segments", "segments --json", "cat", "cat --json", "cat --hex",
                                        "tail -n 5", "tail -n 3 --since 1970-01-02", "peek -n 9", "peek -c survey", "verify", "verify --json",
                                        "replay --pace 1x -", "cat --since -1d", "cat --until now", "cat --from -2", "cat --to survey"};
    char command[9000];
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        const char *space = strchr(views[i], ' ');
        int length = space ? (int)(space - views[i]) : (int)strlen(views[i]);
        bool may_wait = strncmp(views[i], "replay", 6) == 0; /* for a message that was put a very long time later */
        snprintf(command, sizeof command, "timeout %d '%s' %.*s '%s' %s >/dev/null 2>&1", may_wait ? 1 : 60, lq, length, views[i], queue, space ? space : "");
        int status = system(command);
        if (may_wait && WIFEXITED(status) && WEXITSTATUS(status) == 124) continue;
        if (!(WIFEXITED(status) && WEXITSTATUS(status) <= 4)) api_note("%s: status %x", command, (unsigned)status);
        HOLDS(WIFEXITED(status) && WEXITSTATUS(status) <= 4);
    }
}

static void lq_shows_whatever_they_say(void **state)
{
    static const int64_t times[] = {INT64_MIN, INT64_MAX, -1};
    const char *lq = getenv("LQ");

    if (!lq) skip(); /* not run by make */
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char queue[4096];
        struct forge_meta meta = forge_meta;
        struct forge_segment *segment = forge_segment_new(1, 0);
        const struct forge_position_entry entry = {.sequence = 1, .floor = 1, .delivered = 2, .time_us = times[i]};
        snprintf(queue, sizeof queue, "%s", place(state));
        meta.retention = LQ_RETAIN_BOTH;
        meta.age_max_ms = INT64_MAX;
        segment->created_us = times[i];
        for (uint64_t id = 1; id <= 3; id++)
            forge_record(segment, &(struct forge_record){.first_id = id == 3 ? INT64_MAX - 1 : id, .flags = FORGE_LONE, .payload = "x", .payload_size = 1,
                                                         .time_us = id == 2 ? -times[i] - 1 : times[i]});
        if (i == 1) forge_trailer(segment, NULL, 0, 0, 0);
        forge_queue(queue, &meta);
        forge_segment_write(segment, queue);
        forge_position(queue, "survey", 64, 2, &entry, 1);
        lq_shows_what(lq, queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_segment_with_a_header_of_another_costs_itself_alone),
        IN_DIRECTORY(a_segment_of_another_queue_is_not_read),
        IN_DIRECTORY(segments_that_overlap_or_leave_gaps_give_what_their_names_say),
        IN_DIRECTORY(two_segments_at_one_place_are_told),
        IN_DIRECTORY(the_highest_name_that_a_segment_can_have_is_the_logs_end),
        IN_DIRECTORY(a_sparse_segment_of_any_size_is_told_at_once),
        IN_DIRECTORY(a_trailer_that_lies_about_its_end_is_none),
        IN_DIRECTORY(a_trailer_that_lies_about_its_last_id_hides_nothing),
        IN_DIRECTORY(the_last_trailers_word_about_the_next_id_is_kept),
        IN_DIRECTORY(an_index_that_points_anywhere_hides_nothing),
        IN_DIRECTORY(an_index_of_other_records_hides_nothing),
        IN_DIRECTORY(trim_slots_beyond_the_log_or_all_sense_lose_no_message_that_is_put),
        IN_DIRECTORY(a_log_given_up_beyond_its_end_goes_on_behind),
        IN_DIRECTORY(options_beyond_their_ranges_are_told_and_the_messages_stay_readable),
        IN_DIRECTORY(offset_entries_with_any_numbers_stop_their_consumer_at_most),
        IN_DIRECTORY(an_older_entry_counts_when_the_newer_makes_no_sense),
        IN_DIRECTORY(windows_of_any_size_are_told),
        IN_DIRECTORY(lq_shows_whatever_they_say),
        IN_DIRECTORY(blocks_of_any_ids_and_words_are_messages_again_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
