/* Files of a queue that was closed cleanly are cut, emptied, deleted, or joined by others of like names: what is left is
 * read to the last message, what is lost is told, and no id is given twice. */
#include <fcntl.h>
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

enum { COUNT = 300, SIZE = 1000 };

static const lq_options small = {.size = sizeof(lq_options), .segment_size = 65536, .sync = LQ_SYNC_NEVER};
static const lq_options look = {.size = sizeof(lq_options), .flags = LQ_READ_ONLY};

/* Several segments of about 60 messages, closed. */
static const char *fill(void **state)
{
    lq_queue *queue = api_open(state, &small);
    api_put_range(queue, 1, COUNT, SIZE);
    OK(lq_close(queue));
    return api_path(*state, "q");
}

static int keep_last(void *context, const lq_segment *segment)
{
    snprintf(context, 64, "%s", segment->file);
    return 0;
}

/* The path of the last log file, or of the one before it. */
static void path_of_last(const char *path, char file[300])
{
    char name[64] = "";
    lq_queue *queue;
    OK(lq_open(path, &look, &queue));
    OK(lq_each_segment(queue, keep_last, name));
    OK(lq_close(queue));
    snprintf(file, 300, "%s/%s", path, name);
}

struct sum {
    uint64_t messages, holes, last_id;
};

static struct sum read_all(lq_queue *queue)
{
    struct sum sum = {0};
    lq_message message;
    lq_reader *reader;
    int err;
    OK(lq_reader_open(queue, &reader));
    while ((err = lq_reader_next(reader, &message)) != LQ_EMPTY) {
        if (err == LQ_ECORRUPT) {
            sum.holes++;
            continue;
        }
        OK(err);
        HOLDS(message.id > sum.last_id);
        sum.last_id = message.id;
        sum.messages++;
    }
    lq_reader_close(reader);
    return sum;
}

static void is_told_and_goes_on(void **state, const char *path)
{
    lq_queue *queue;
    uint64_t id;
    IS(LQ_ECORRUPT, lq_verify(path, 0, NULL, NULL, NULL));
    queue = api_open(state, &small);
    OK(lq_put(queue, "new", 3, &id));
    HOLDS(id > COUNT);
    struct sum sum = read_all(queue);
    EQUAL(id, sum.last_id);
    HOLDS(sum.holes > 0);
    OK(lq_close(queue));
}

static void the_loss_of_the_last_file_is_told_and_its_ids_are_not_given_again(void **state)
{
    const char *path = fill(state);
    char last[300];
    path_of_last(path, last);
    assert_int_equal(unlink(last), 0);
    is_told_and_goes_on(state, path);
}

static void the_loss_of_all_files_is_told_too(void **state)
{
    char path[300];
    const char *segment;
    lq_verify_result result = {.size = sizeof result};
    snprintf(path, sizeof path, "%s", fill(state));
    while ((segment = api_segment(path, 0)) != NULL) assert_int_equal(unlink(segment), 0);
    IS(LQ_ECORRUPT, lq_verify(path, 0, NULL, NULL, &result));
    EQUAL(result.findings, 1);
    is_told_and_goes_on(state, path);
}

static void without_its_directory_of_consumers_a_queue_is_read_and_told_damaged(void **state)
{
    const char *path = fill(state);
    lq_queue *queue;
    assert_int_equal(rmdir(api_path(path, "consumers")), 0);
    IS(LQ_ECORRUPT, lq_verify(path, 0, NULL, NULL, NULL));
    IS(LQ_ECORRUPT, lq_open(path, &small, &queue)); /* and not: consumers that begin anew */
    TEXT_HAS("consumers");
    OK(lq_open(path, &look, &queue));
    struct sum sum = read_all(queue);
    EQUAL(COUNT, sum.messages);
    EQUAL(0, sum.holes);
    EQUAL(0, api_stats(queue).consumers);
    OK(lq_close(queue));
    HOLDS(!api_file_exists(api_path(path, "consumers")));
}

static void a_last_file_that_was_cut_is_told_wherever_it_was_cut(void **state)
{
    const char *path = fill(state);
    char last[300];
    path_of_last(path, last);
    assert_int_equal(truncate(last, 256 + 2 * (40 + SIZE)), 0); /* behind its second record */
    is_told_and_goes_on(state, path);
}

static void two_unreadable_files_at_the_end_hide_nothing_before_them(void **state)
{
    const char *path = fill(state);
    char file[300];
    uint8_t zeroes[256] = {0};
    lq_queue *queue;
    uint64_t id;

    path_of_last(path, file);
    for (int i = 0; i < 2; i++) {
        int fd = open(file, O_WRONLY);
        HOLDS(fd >= 0);
        assert_int_equal(pwrite(fd, zeroes, sizeof zeroes, 0), sizeof zeroes);
        close(fd);
        char other[320];
        snprintf(other, sizeof other, "%s.aside", file);
        if (i == 1) break;
        assert_int_equal(rename(file, other), 0); /* the one before it is the last one now */
        path_of_last(path, file);
        char back[320];
        snprintf(back, sizeof back, "%.*s", (int)(strlen(other) - 6), other);
        assert_int_equal(rename(other, back), 0);
    }
    OK(lq_open(path, &look, &queue));
    struct sum before = read_all(queue);
    OK(lq_close(queue));
    HOLDS(before.messages >= COUNT / 2 && before.holes > 0);
    queue = api_open(state, &small);
    OK(lq_put(queue, "new", 3, &id));
    struct sum after = read_all(queue);
    EQUAL(before.messages + 1, after.messages);
    EQUAL(id, after.last_id);
    OK(lq_close(queue));
}

static void a_foreign_file_named_like_an_id_inside_a_segment_hides_nothing(void **state)
{
    const char *path = fill(state);
    char foreign[300];
    lq_queue *queue;

    snprintf(foreign, sizeof foreign, "%s/log/00000000000000000003.seg", path);
    int fd = open(foreign, O_WRONLY | O_CREAT, 0600);
    HOLDS(fd >= 0);
    assert_int_equal(write(fd, "foreign", 7), 7);
    close(fd);
    IS(LQ_ECORRUPT, lq_verify(path, 0, NULL, NULL, NULL));
    queue = api_open(state, &small);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_message message;
    uint64_t came = 0;
    int err;
    while ((err = lq_poll(consumer, &message)) != LQ_EMPTY) {
        if (err == LQ_ECORRUPT) continue;
        OK(err);
        OK(lq_ack(consumer, &message));
        came++;
    }
    EQUAL(COUNT, came);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static void without_meta_nothing_is_written_but_everything_is_read(void **state)
{
    const char *path = fill(state);
    char meta[300];
    lq_queue *queue;

    snprintf(meta, sizeof meta, "%s/meta", path);
    for (int how = 0; how < 3; how++) {
        struct stat stat;
        uint8_t zeroes[2048] = {0};
        if (how == 0) { /* zeroed */
            int fd = open(meta, O_WRONLY);
            HOLDS(fd >= 0);
            assert_int_equal(pwrite(fd, zeroes, sizeof zeroes, 0), sizeof zeroes);
            close(fd);
        }
        if (how == 1) assert_int_equal(truncate(meta, 0), 0);
        if (how == 2) assert_int_equal(unlink(meta), 0);
        IS(LQ_ECORRUPT, lq_open(path, &small, &queue));
        TEXT_HAS("meta");
        IS(LQ_ECORRUPT, lq_verify(path, 0, NULL, NULL, NULL));
        OK(lq_open(path, &look, &queue));
        struct sum sum = read_all(queue);
        EQUAL(COUNT, sum.messages);
        EQUAL(1, sum.holes); /* meta itself, told first */
        OK(lq_close(queue));
        EQUAL(how == 2, lstat(meta, &stat) != 0); /* looking made no new one */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(the_loss_of_the_last_file_is_told_and_its_ids_are_not_given_again),
        IN_DIRECTORY(the_loss_of_all_files_is_told_too),
        IN_DIRECTORY(without_its_directory_of_consumers_a_queue_is_read_and_told_damaged),
        IN_DIRECTORY(a_last_file_that_was_cut_is_told_wherever_it_was_cut),
        IN_DIRECTORY(two_unreadable_files_at_the_end_hide_nothing_before_them),
        IN_DIRECTORY(a_foreign_file_named_like_an_id_inside_a_segment_hides_nothing),
        IN_DIRECTORY(without_meta_nothing_is_written_but_everything_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
