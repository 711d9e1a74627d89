/* Files with correct checksums and hostile numbers. Nothing crashes, loops or takes memory without bound; each is told
 * with a clear code; what is good beside it stays readable, and the queue goes on. The numbers are those
 * where arithmetic goes wrong: 0, 1, 2^31, 2^32, 2^63, 2^64 and their neighbours. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/api.h"
#include "support/child.h"
#include "support/forge.h"
#include "support/survey.h"

static const uint64_t numbers[] = {
    0, 1, 2, 3, 7, 8, 100, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_C(1) << 32, UINT64_C(1) << 40,
    (UINT64_C(1) << 62) - 8, UINT64_C(1) << 62, INT64_MAX - 8, INT64_MAX - 1, INT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 8,
    UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX - 1, UINT64_MAX,
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

/* A fresh place for a queue; the one before is not needed any more. */
static const char *place(void **state)
{
    static unsigned count;
    char name[16];
    snprintf(name, sizeof name, "q%u", count++);
    return api_path(*state, name);
}

/* A queue of messages 1, 2 | the record | 4, 5, in one segment, and all of it known to have been durable; the record
 * stands where message 3 should. */
static const char *make_around(void **state, const struct forge_record *record, bool sealed)
{
    const char *queue = place(state);
    struct forge_segment *segment = forge_segment_new(1, 0);
    struct forge_meta meta = forge_meta;

    forge_message(segment, 1, "one");
    forge_message(segment, 2, "two");
    forge_record(segment, record);
    forge_message(segment, 4, "four");
    forge_message(segment, 5, "five");
    meta.trims[1].synced = segment->end;
    meta.trims[1].next_id = 6;
    if (sealed) forge_trailer(segment, NULL, 0, 0, 6);
    forge_queue(queue, &meta);
    forge_segment_write(segment, queue);
    return queue;
}

static struct survey around(void **state, const struct forge_record *record, bool sealed)
{
    return survey(make_around(state, record, sealed));
}

static bool all_around(const struct survey *survey)
{
    return survey_read(survey, 1) && survey_read(survey, 2) && survey_read(survey, 4) && survey_read(survey, 5);
}

/* ---- records ----------------------------------------------------------------- */

static void a_forged_queue_that_tells_no_lies_is_a_queue(void **state)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        struct survey survey = around(state, &(struct forge_record){.first_id = 3, .flags = FORGE_LONE, .payload = "x", .payload_size = 1}, sealed);
        EQUAL(survey.verified, LQ_OK);
        EQUAL(survey.read, 5);
        EQUAL(survey.got, 5);
        EQUAL(survey.put, LQ_OK);
        EQUAL(survey.put_id, 6);
        EQUAL(survey.put_read, LQ_OK);
    }
}

static void a_record_of_any_size_costs_at_most_its_neighbours_bytes(void **state)
{
    for (size_t i = 0; i < NUMBERS && numbers[i] <= 0xffffffff; i++)
        for (int sealed = 0; sealed < 2; sealed++) {
            /* What it claims is behind it belongs to others, or to nobody. */
            struct forge_record record = {.first_id = 3, .flags = FORGE_LONE, .payload = "payload", .payload_size = 7,
                                          .size = (uint32_t)numbers[i], .empty = !numbers[i]};
            struct survey survey = around(state, &record, sealed);
            HOLDS(survey.verified == (numbers[i] == 7 ? LQ_OK : LQ_ECORRUPT));
            HOLDS(survey_read(&survey, 1) && survey_read(&survey, 2));
            /* Swallowed: its header proves itself, and what stands there is its own. Else all the rest is there. */
            if (numbers[i] <= 8 || numbers[i] > 200) HOLDS(!sealed || all_around(&survey));
            EQUAL(survey.put, LQ_OK);
            EQUAL(survey.put_read, LQ_OK);
        }
}

static void a_record_with_any_id_is_a_hole_or_a_jump(void **state)
{
    for (size_t i = 0; i < NUMBERS; i++)
        for (uint16_t count = 1; count; count = count == 1 ? 2 : count == 2 && i % 8 == 3 ? 0xffff : 0) {
            struct forge_record record = {.first_id = numbers[i], .count = count, .payload_size = 0, .empty = true};
            struct forge_entry *entries = calloc(count, sizeof *entries);
            record.payload = forge_payload(entries, count, 0, &record.payload_size);
            record.empty = false;
            struct survey survey = around(state, &record, true);
            HOLDS(survey_read(&survey, 1) && survey_read(&survey, 2));
            /* Ids do not go back: behind a jump the smaller ones are not messages any more. */
            if (numbers[i] < 3 || numbers[i] > (uint64_t)INT64_MAX - count) HOLDS(all_around(&survey));
            HOLDS(numbers[i] == 3 || survey.verified == LQ_ECORRUPT);
            HOLDS(survey.put == LQ_OK || survey.put == LQ_ELIMIT);
            HOLDS(survey.put != LQ_OK || (survey.put_id > 5 && survey.put_read == LQ_OK));
            free(entries);
            free((void *)(uintptr_t)record.payload);
        }
}

static void a_record_with_any_kind_or_flags_is_stepped_over(void **state)
{
    for (unsigned kind = 0; kind < 256; kind += kind < 4 || kind > 250 ? 1 : 50)
        for (unsigned flags = 0; flags < 256; flags += flags < 8 || flags > 250 ? 1 : 41) {
            struct forge_record record = {.first_id = 3, .kind = (uint8_t)kind, .flags = (uint8_t)flags, .payload = "0123456789abcdef",
                                          .payload_size = 16};
            struct survey survey = around(state, &record, flags & 1);
            HOLDS(all_around(&survey));
            EQUAL(survey.put, LQ_OK);
            EQUAL(survey.put_read, LQ_OK);
        }
}

static void a_record_of_any_time_is_read(void **state)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        struct forge_record record = {.first_id = 3, .time_us = (int64_t)numbers[i], .flags = FORGE_LONE, .payload = "x", .payload_size = 1};
        for (int sealed = 0; sealed < 2; sealed++) {
            struct survey survey = around(state, &record, sealed);
            EQUAL(survey.read, 5);
            EQUAL(survey.got, 5);
            EQUAL(survey.put_read, LQ_OK);
        }
    }
}

/* A mark beyond its own position cannot be told (it counts back), one before the log's beginning can. */
static void a_record_with_any_durable_mark_loses_nothing_that_verifies(void **state)
{
    for (size_t i = 1; i < NUMBERS && numbers[i] <= 0xffffffff; i++) {
        struct forge_record record = {.first_id = 3, .back = (uint32_t)numbers[i], .flags = FORGE_LONE, .payload = "x", .payload_size = 1};
        struct survey survey = around(state, &record, true);
        HOLDS(all_around(&survey));
        EQUAL(survey.put_read, LQ_OK);
    }
}

static void a_record_at_the_end_that_says_it_goes_on_is_cut_off(void **state)
{
    static const uint32_t sizes[] = {100, 104, 96, 99, 101, 105, 1 << 20, (1u << 30) + 8 * 65536, (1u << 30) + 8 * 65536 + 1, UINT32_MAX};
    char body[100] = "body";

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int sealed = 0; sealed < 2; sealed++) {
            const char *queue = place(state);
            forge_queue(queue, &forge_meta);
            struct forge_segment *segment = forge_segment_new(1, 0);
            forge_message(segment, 1, "one");
            forge_record(segment, &(struct forge_record){.first_id = 2, .flags = FORGE_LONE, .payload = body, .payload_size = 100, .size = sizes[i]});
            if (sealed) forge_trailer(segment, NULL, 0, 0, 3);
            forge_segment_write(segment, queue);
            struct survey survey = survey_look(queue);
            HOLDS(survey_read(&survey, 1));
            EQUAL(survey.read, sizes[i] == 100 ? 2 : 1);
        }
}

/* ---- payloads ----------------------------------------------------------------- */

static struct survey with_payload(void **state, const struct forge_entry *entries, size_t count, uint16_t told, size_t body)
{
    struct forge_record record = {.first_id = 3, .count = told};
    record.payload = forge_payload(entries, count, body, &record.payload_size);
    struct survey survey = around(state, &record, false);
    free((void *)(uintptr_t)record.payload);
    return survey;
}

static void sizes_that_do_not_add_up_cost_their_record(void **state)
{
    static const struct {
        struct forge_entry entries[3];
        size_t count, body;
        uint16_t told;
    } cases[] = {
        {{{10, 0, 0}}, 1, 9, 1},                                   /* longer than there is */
        {{{10, 0, 0}}, 1, 11, 1},                                  /* shorter */
        {{{0, 11, 0}}, 1, 10, 1}, {{{0, 0, 11}}, 1, 10, 1},        /* a key, headers beyond the message */
        {{{0, 0xffff, 0xffff}}, 1, 10, 1},
        {{{UINT32_MAX, 0, 0}}, 1, 10, 1}, {{{1u << 31, 0, 0}}, 1, 10, 1},
        {{{UINT32_MAX, 1, 0}}, 1, 0, 1},                           /* 2^32 in all: 0, if one adds in 32 bits */
        {{{UINT32_MAX, 0, 0}, {11, 0, 0}}, 2, 10, 2},              /* the sum overflows to what is there */
        {{{1u << 31, 0, 0}, {1u << 31, 0, 0}, {10, 0, 0}}, 3, 10, 3},
        {{{10, 0, 0}}, 1, 10, 2},                                  /* more messages than the table has */
        {{{1, 0, 0}, {1, 0, 0}}, 2, 2, 1},                         /* fewer */
        {{{0, 0, 0}}, 1, 0, 0xffff},                               /* a table longer than the payload */
        {{{0, 0, 0}}, 0, 7, 1}, {{{0, 0, 0}}, 0, 0, 2},            /* less than a table */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct survey survey = with_payload(state, cases[i].entries, cases[i].count, cases[i].told, cases[i].body);
        EQUAL(survey.verified, LQ_ECORRUPT);
        HOLDS(survey.findings == 1 && strstr(survey.text, "log/00000000000000000001.seg: the sizes of the messages"));
        HOLDS(survey_read(&survey, 1) && survey_read(&survey, 2) && !survey_read(&survey, 3));
        if (cases[i].told == 1) HOLDS(all_around(&survey));
        EQUAL(survey.put_read, LQ_OK);
    }
}

static struct survey with_packed(void **state, const uint8_t *packed, size_t size)
{
    return around(state, &(struct forge_record){.first_id = 3, .flags = FORGE_PACKED | FORGE_LONE, .payload = packed, .payload_size = size}, false);
}

static void a_packed_body_that_lies_about_its_size_costs_its_record(void **state)
{
    static const uint32_t claims[] = {0, 1, 999, 1000, 1001, 2000, 1u << 20, 1u << 30, (1u << 30) + 8 * 65536, 1u << 31, UINT32_MAX};
    size_t size;

    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        uint8_t *packed = forge_packed(1000, claims[i], &size);
        struct survey survey = with_packed(state, packed, size);
        EQUAL(survey.verified, claims[i] == 1000 ? LQ_OK : LQ_ECORRUPT);
        HOLDS(all_around(&survey) && survey_read(&survey, 3) == (claims[i] == 1000));
        free(packed);
    }
}

static void a_packed_body_with_more_or_less_behind_it_costs_its_record(void **state)
{
    size_t size;
    uint8_t *packed = forge_packed(1000, 1000, &size);

    for (size_t less = 0; less <= size; less++) {
        struct survey survey = with_packed(state, packed, size - less);
        HOLDS(all_around(&survey) && survey_read(&survey, 3) == !less);
    }
    packed[size] = 0; /* there is room */
    struct survey survey = with_packed(state, packed, size + 1);
    HOLDS(all_around(&survey) && !survey_read(&survey, 3));
    free(packed);
}

/* ---- memory -------------------------------------------------------------------- */

/* How much address space the survey may take beyond what the process has. */
static int within(void *context)
{
    const char *queue = ((const char **)context)[0];
    uint64_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");

    if (!statm || fscanf(statm, "%lu", &pages) != 1) return 98;
    fclose(statm);
    rlim_t most = pages * (uint64_t)sysconf(_SC_PAGESIZE) + (32u << 20);
    if (setrlimit(RLIMIT_AS, &(struct rlimit){most, most}) != 0) return 97;
    struct survey survey = survey_look(queue);
    if (survey.opened != LQ_OK || !all_around(&survey)) return 1;
    return strstr(survey.text, "memory") ? 2 : 0;
}

static void a_claim_of_a_gigabyte_takes_no_memory(void **state)
{
    static const uint32_t claims[] = {1u << 28, 1u << 30, (1u << 30) + 8 * 65536, UINT32_MAX};
    char small[4096] = "small";

    if (api_sanitized) skip(); /* a sanitizer needs all the address space there is */
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
        for (int packed = 0; packed < 2; packed++) {
            size_t size = sizeof small;
            uint8_t *body = packed ? forge_packed(100000, claims[i], &size) : NULL;
            struct forge_record record = {.first_id = 3, .flags = FORGE_LONE | (packed ? FORGE_PACKED : 0), .payload = packed ? body : (uint8_t *)small,
                                          .payload_size = size, .size = packed ? 0 : claims[i]};
            const char *queue = make_around(state, &record, true);
            EQUAL(child_run(within, &queue), 0);
            free(body);
        }
}

/* The library's own bound: what deflate can make of so few bytes. A megabyte may be a gigabyte, and is read as one. */
static void a_body_that_unpacks_to_very_much_is_bounded_by_its_packed_size(void **state)
{
    size_t size;
    uint8_t *packed = forge_packed(30u << 20, 30u << 20, &size);
    struct survey survey = with_packed(state, packed, size);

    HOLDS(size > 30000 && size < 40000);
    EQUAL(survey.verified, LQ_OK);
    EQUAL(survey.read, 5);
    free(packed);
    /* The same claim with a hundredth of the bytes cannot be true. */
    packed = forge_packed(300000, 30u << 20, &size);
    survey = with_packed(state, packed, size);
    EQUAL(survey.verified, LQ_ECORRUPT);
    HOLDS(all_around(&survey));
    free(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_forged_queue_that_tells_no_lies_is_a_queue),
        IN_DIRECTORY(a_record_of_any_size_costs_at_most_its_neighbours_bytes),
        IN_DIRECTORY(a_record_with_any_id_is_a_hole_or_a_jump),
        IN_DIRECTORY(a_record_with_any_kind_or_flags_is_stepped_over),
        IN_DIRECTORY(a_record_of_any_time_is_read),
        IN_DIRECTORY(a_record_with_any_durable_mark_loses_nothing_that_verifies),
        IN_DIRECTORY(a_record_at_the_end_that_says_it_goes_on_is_cut_off),
        IN_DIRECTORY(sizes_that_do_not_add_up_cost_their_record),
        IN_DIRECTORY(a_packed_body_that_lies_about_its_size_costs_its_record),
        IN_DIRECTORY(a_packed_body_with_more_or_less_behind_it_costs_its_record),
        IN_DIRECTORY(a_claim_of_a_gigabyte_takes_no_memory),
        IN_DIRECTORY(a_body_that_unpacks_to_very_much_is_bounded_by_its_packed_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
