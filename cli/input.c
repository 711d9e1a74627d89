/* Reading standard input in large blocks. */
#include "input.h"

#include "stop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_SIZE = 256 * 1024 };

bool input_init(struct input *input, int delimiter, size_t record_max)
{
    *input = (struct input){.delimiter = delimiter, .record_max = record_max, .capacity = BLOCK_SIZE};
    input->buffer = malloc(input->capacity);
    return input->buffer != NULL;
}

void input_release(struct input *input)
{
    free(input->buffer);
}

/* Room for another read: what is left moves to the front, or the buffer doubles. */
static bool make_room(struct input *input)
{
    char *larger;

    memmove(input->buffer, input->buffer + input->start, input->end - input->start);
    input->end -= input->start;
    input->searched -= input->start;
    input->start = 0;
    if (input->capacity - input->end >= BLOCK_SIZE / 2) return true;
    larger = realloc(input->buffer, input->capacity * 2);
    if (!larger) return false;
    input->buffer = larger;
    input->capacity *= 2;
    return true;
}

enum input_got input_fill(struct input *input)
{
    ssize_t got;

    if (input->ended) return INPUT_END;
    if (!make_room(input)) return INPUT_FAILED;
    for (;;) {
        if (stop_asked()) return INPUT_STOPPED;
        got = read(STDIN_FILENO, input->buffer + input->end, input->capacity - input->end);
        if (got >= 0) break;
        if (errno == EAGAIN) input_ready(STOP_SLICE_MS); /* somebody has made it non-blocking */
        else if (errno != EINTR) return INPUT_FAILED;
    }
    input->end += (size_t)got;
    input->bytes += (uint64_t)got;
    if (got == 0) input->ended = true;
    return INPUT_MORE;
}

/* Gives the bytes up to `record_end` and goes on behind `next`. */
static bool give(struct input *input, size_t record_end, size_t next, char **record_out, size_t *size_out)
{
    *record_out = input->buffer + input->start;
    *size_out = record_end - input->start;
    input->start = input->searched = next;
    input->records++;
    return true;
}

bool input_next(struct input *input, char **record_out, size_t *size_out)
{
    char *found = NULL;

    if (input->delimiter != INPUT_WHOLE)
        found = memchr(input->buffer + input->searched, input->delimiter, input->end - input->searched);
    if (found) {
        size_t at = (size_t)(found - input->buffer);

        return give(input, at, at + 1, record_out, size_out);
    }
    input->searched = input->end;
    if (input->end - input->start > input->record_max) { /* hopeless: do not read it all into memory */
        input->ended = true;
        return give(input, input->start + input->record_max + 1, input->end, record_out, size_out);
    }
    if (!input->ended) return false;
    /* A last record without delimiter counts, and so does a whole input that is empty. */
    if (input->start < input->end || (input->delimiter == INPUT_WHOLE && input->records == 0))
        return give(input, input->end, input->end, record_out, size_out);
    return false;
}

bool input_ready(int64_t timeout_ms)
{
    struct pollfd poll_in = {.fd = STDIN_FILENO, .events = POLLIN};

    return poll(&poll_in, 1, (int)timeout_ms) != 0;
}

uint64_t input_size(void)
{
    struct stat status = {0};
    off_t at;

    fstat(STDIN_FILENO, &status); /* main() has seen to it that there is one */
    if (!S_ISREG(status.st_mode)) return 0;
    at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    return at < status.st_size ? (uint64_t)(status.st_size - at) : 0;
}
