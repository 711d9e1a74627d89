/* What lq_verify() says, place by place: which file it is, how many messages were in it and why, also where nothing behind the
 * damage tells, but somebody remembers how far the log went; and that it is no more than that. */
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

#include "support/api.h"
#include "support/damage.h"
#include "support/forge.h"

enum { MESSAGES = 60, BODY = 3000, SECOND = 22, THIRD = 43, SPAN = 3040, FINDINGS = 8 };

static const lq_options small = {.segment_size = 64 << 10, .ring_size = 64 << 10};

/* Segments of the messages 1 to 21, 22 to 42, 43 to 60. */
static const char *make_queue(void **state)
{
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, MESSAGES, BODY);
    OK(lq_consumer_close(api_consumer(queue, "c", NULL)));
    OK(lq_close(queue));
    return api_path(*state, "q");
}

struct found {
    unsigned count;
    struct {
        char file[128], text[400];
        uint64_t offset, first_id, count;
        int code;
    } all[FINDINGS];
    lq_verify_result result;
};

static void note(void *context, const lq_finding *finding)
{
    struct found *found = context;
    HOLDS(finding->size == sizeof *finding && found->count < FINDINGS);
    HOLDS((finding->first_id != 0) == (finding->count != 0));
    snprintf(found->all[found->count].file, sizeof found->all->file, "%s", finding->file);
    snprintf(found->all[found->count].text, sizeof found->all->text, "%s", finding->text);
    found->all[found->count].offset = finding->offset;
    found->all[found->count].first_id = finding->first_id;
    found->all[found->count].count = finding->count;
    found->all[found->count].code = finding->code;
    found->count++;
}

static struct found verify(const char *queue)
{
    struct found found = {.result = {.size = sizeof found.result}};
    uint64_t lost = 0;
    int code = lq_verify(queue, 0, note, &found, &found.result);
    EQUAL(found.result.findings, found.count);
    for (unsigned i = 0; i < found.count; i++) lost += found.all[i].count;
    EQUAL(found.result.lost, lost);
    IS(found.count ? LQ_ECORRUPT : LQ_OK, code);
    return found;
}

/* Exactly one place, and that. */
static void is_one(const char *queue, const char *file, uint64_t first_id, uint64_t last_id, const char *text)
{
    struct found found = verify(queue);
    if (found.count != 1 || strcmp(found.all[0].file, file) != 0 || !strstr(found.all[0].text, text))
        for (unsigned i = 0; i < found.count; i++) api_note("%s: %s", found.all[i].file, found.all[i].text);
    EQUAL(found.count, 1);
    HOLDS(strcmp(found.all[0].file, file) == 0 && strstr(found.all[0].text, text));
    EQUAL(found.all[0].first_id, first_id);
    EQUAL(found.all[0].count, first_id ? last_id - first_id + 1 : 0);
    EQUAL(found.result.messages, MESSAGES - found.all[0].count);
}

static const char *segment_name(uint64_t id)
{
    static char names[4][64];
    static unsigned turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "log/%020u.seg", (unsigned)id);
    return name;
}

/* ---- the end ------------------------------------------------------------------------ */

static void what_a_cut_last_segment_has_lost_is_counted_as_meta_remembers_the_end(void **state)
{
    char path[4096], queue[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_segment(queue, 2));
    struct api_bytes whole = api_file_read(path);
    for (uint64_t kept = 0; kept < MESSAGES - THIRD + 1; kept++)
        for (int inside = -20; inside <= 20; inside += 10) { /* between two records, in the header of one, in the body of one */
            if (kept == 0 && inside < 0) continue;
            uint64_t good = inside < 0 ? kept - 1 : kept;
            damage_cut(path, 256 + kept * SPAN + (uint64_t)inside);
            is_one(queue, segment_name(THIRD), THIRD + good, MESSAGES, "");
            api_file_write(path, whole.bytes, whole.size);
        }
    free(whole.bytes);
    EQUAL(verify(queue).count, 0);
}

static void a_last_segment_of_which_nothing_can_be_read_has_lost_what_meta_remembers(void **state)
{
    char path[4096], queue[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_segment(queue, 2));
    damage_zero(path, 0, 256);
    is_one(queue, segment_name(THIRD), THIRD, MESSAGES, "magic");
    damage_cut(path, 100);
    is_one(queue, segment_name(THIRD), THIRD, MESSAGES, "the file ends inside its header");
    damage_remove(path);
    is_one(queue, segment_name(THIRD), THIRD, MESSAGES, "missing");
}

/* Without meta an offset file may know. */
static void the_end_of_the_log_is_remembered_by_offset_files_too(void **state)
{
    char path[4096], queue[4096];
    strcpy(queue, make_queue(state));
    strcpy(path, api_segment(queue, 2));
    damage_cut(path, 256 + 10 * SPAN + 1000);
    damage_zero(api_path(queue, "meta"), 1024, 1024);
    struct found found = verify(queue);
    EQUAL(found.count, 2);
    HOLDS(strcmp(found.all[0].file, "meta") == 0 && strstr(found.all[0].text, "neither trim slot"));
    EQUAL(found.all[1].first_id, THIRD + 10);
    EQUAL(found.all[1].count, MESSAGES - THIRD - 9);
}

/* Nobody remembers: a torn tail, and no message that was promised. */
static void where_nobody_remembers_the_end_none_is_called_lost(void **state)
{
    const char *queue = api_path(*state, "q");
    struct forge_segment *segment = forge_segment_new(1, 0);
    for (uint64_t id = 1; id < 4; id++) forge_message(segment, id, "body");
    segment->size -= 5;
    forge_queue(queue, &forge_meta);
    forge_segment_write(segment, queue);
    struct found found = verify(queue);
    EQUAL(found.count, 1);
    EQUAL(found.all[0].count, 0);
    EQUAL(found.result.messages, 2);
    HOLDS(strstr(found.all[0].text, "a torn tail of ") && strstr(found.all[0].text, "never promised"));
}

/* ---- the middle ----------------------------------------------------------------------- */

/* The trailer is gone with it, so that nothing but the next segment's name tells how many there were. */
static void what_a_cut_segment_in_the_middle_has_lost_is_one_place_in_its_own_name(void **state)
{
    for (uint64_t kept = 1; kept < THIRD - SECOND; kept += 5) {
        char inner[4096], queue[4096];
        void *inside[1] = {inner};
        snprintf(inner, sizeof inner, "%s/%d", (const char *)*state, (int)kept);
        HOLDS(mkdir(inner, 0700) == 0);
        strcpy(queue, make_queue(inside));
        damage_cut(api_segment(queue, 1), 256 + kept * SPAN + 500);
        struct found found = verify(queue);
        EQUAL(found.count, 2);
        HOLDS(strcmp(found.all[0].file, segment_name(SECOND)) == 0 && strstr(found.all[0].text, "trailer"));
        HOLDS(strcmp(found.all[1].file, segment_name(SECOND)) == 0 && strstr(found.all[1].text, "cut off"));
        EQUAL(found.all[1].offset, 256 + kept * SPAN);
        EQUAL(found.all[1].first_id, SECOND + kept);
        EQUAL(found.all[1].count, THIRD - SECOND - kept);
        EQUAL(found.result.messages, MESSAGES - found.result.lost);
        OK(lq_repair(queue, 0, NULL, NULL, NULL));
        EQUAL(verify(queue).result.messages, MESSAGES - found.result.lost);
    }
}

static void a_segment_that_is_missing_has_lost_what_was_in_it(void **state)
{
    const char *queue = make_queue(state);
    damage_remove(api_segment(queue, 1));
    is_one(queue, segment_name(SECOND), SECOND, THIRD - 1, "this segment is missing");
}

/* ---- reasons ---------------------------------------------------------------------------- */

static void a_directory_that_is_missing_and_one_that_is_a_link_are_told_apart(void **state)
{
    static const char *const parts[] = {"log", "consumers"};
    char path[4096], away[4096], queue[4096];
    lq_queue *opened;
    strcpy(queue, make_queue(state));
    for (int i = 0; i < 2; i++) {
        strcpy(path, api_path(queue, parts[i]));
        strcpy(away, api_path(*state, "away"));
        HOLDS(rename(path, away) == 0);
        struct found missing = verify(queue);
        EQUAL(missing.count, 1);
        HOLDS(strcmp(missing.all[0].file, parts[i]) == 0 && strstr(missing.all[0].text, "missing"));
        IS(LQ_ECORRUPT, lq_open(queue, NULL, &opened));
        TEXT_HAS(parts[i], "missing");
        for (int file = 0; file < 2; file++) {
            if (file) api_file_write(path, "x", 1);
            else HOLDS(symlink(away, path) == 0);
            struct found other = verify(queue);
            EQUAL(other.count, 1);
            HOLDS(strcmp(other.all[0].file, parts[i]) == 0 && strstr(other.all[0].text, "no directory") && strstr(other.all[0].text, "link"));
            IS(LQ_ECORRUPT, lq_open(queue, NULL, &opened));
            TEXT_HAS(parts[i], "no directory");
            HOLDS(remove(path) == 0);
        }
        HOLDS(rename(away, path) == 0);
    }
    EQUAL(verify(queue).count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_a_cut_last_segment_has_lost_is_counted_as_meta_remembers_the_end),
        IN_DIRECTORY(a_last_segment_of_which_nothing_can_be_read_has_lost_what_meta_remembers),
        IN_DIRECTORY(the_end_of_the_log_is_remembered_by_offset_files_too),
        IN_DIRECTORY(where_nobody_remembers_the_end_none_is_called_lost),
        IN_DIRECTORY(what_a_cut_segment_in_the_middle_has_lost_is_one_place_in_its_own_name),
        IN_DIRECTORY(a_segment_that_is_missing_has_lost_what_was_in_it),
        IN_DIRECTORY(a_directory_that_is_missing_and_one_that_is_a_link_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
