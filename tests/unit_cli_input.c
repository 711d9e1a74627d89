/* What lq put reads its input with: it cuts standard input into records, whatever comes at a time, and knows a pause of a pipe.
 */
#include "support/cli_calls.h"

#include "../cli/input.h"

static void use_as_input(void **state, const char *text, size_t size)
{
    api_file_write(api_path(*state, "in"), text, size);
    int fd = open(api_path(*state, "in"), O_RDONLY);
    assert_true(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
    close(fd);
}

/* Lines of 0, 1, 2... bytes, of which the n-th begins with n: whatever comes at a time, each is given once, whole and in order. */
static void records_come_whole_however_they_are_read(void **state)
{
    static char text[1100 * 1100 / 2 + 4400];
    struct input reading;
    size_t size = 0, length;
    char *record;

    for (int i = 0; i < 1100; i++) {
        memset(text + size, 'a' + i % 26, (size_t)i);
        size += (size_t)i;
        text[size++] = '\n';
    }
    size--; /* the last one has no end */
    for (unsigned way = 0; way < 5; way++) {
        int given = 0;
        use_as_input(state, text, size);
        on = true;
        piece = (size_t[]){0, 1000, 131072, 131071, 4097}[way];
        assert_int_equal(__real_read(STDIN_FILENO, (char[1]){0}, 1), 1); /* somebody has read a line before us */
        assert_int_equal(input_size(), size - 1);
        assert_true(input_init(&reading, '\n', 2000));
        while (input_fill(&reading) == INPUT_MORE)
            while (input_next(&reading, &record, &length)) {
                given++;
                assert_int_equal(length, given);
                for (size_t at = 0; at < length; at++) assert_int_equal(record[at], 'a' + given % 26);
            }
        on = false;
        assert_int_equal(given, 1099);
        assert_int_equal(reading.records, 1099);
        assert_int_equal(reading.bytes, size - 1);
        assert_in_range(reading.capacity, 1, 600000); /* it grows with the longest record, and no further */
        assert_int_equal(input_fill(&reading), INPUT_END);
        input_release(&reading);
        assert_int_equal(input_size(), 0);
        assert_true(input_ready(0)); /* its end can be read */
        assert_true(lseek(STDIN_FILENO, (off_t)size + 5, SEEK_SET) > 0);
        assert_int_equal(input_size(), 0); /* it was longer, some time ago */
    }
    piece = 0;
}

static void a_silent_pipe_is_waited_for(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(input_size(), 0); /* nobody knows */
    int64_t before_us = api_now_us();
    assert_false(input_ready(30));
    assert_in_range(api_now_us() - before_us, 29000, 5000000);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_true(input_ready(10000));
    close(fds[0]);
    close(fds[1]);
    assert_true(api_now_us() - before_us < 9000000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        IN_DIRECTORY(records_come_whole_however_they_are_read),
        IN_DIRECTORY(a_silent_pipe_is_waited_for),
    };

    return cmocka_run_group_tests_name("input of lq", tests, share_what_is_seen, NULL);
}
