/* Standard input, cut into records at a byte (newline or NUL), or taken whole.
 *
 *     while ((got = input_fill(&input)) == INPUT_MORE)
 *         while (input_next(&input, &record, &size)) ...
 *
 * Records point into one buffer that grows with the longest of them; they are
 * valid until the next fill, and may be changed in place. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { INPUT_WHOLE = -1 };                                        /* as delimiter: one record */
enum input_got { INPUT_MORE, INPUT_END, INPUT_FAILED, INPUT_STOPPED }; /* FAILED: see errno */

struct input {
    int delimiter;
    char *buffer;
    size_t start, end, searched, capacity; /* the part not yet taken; searched: no delimiter before it */
    size_t record_max;  /* longer records are given in their first record_max + 1 bytes, and input ends there */
    uint64_t records;   /* given so far: the line number of the last one */
    uint64_t bytes;     /* read so far */
    bool ended;
};

/* False: out of memory. */
bool input_init(struct input *input, int delimiter, size_t record_max);
void input_release(struct input *input);

/* Reads once; waits for it. MORE: there may be records; END: all records have been given. */
enum input_got input_fill(struct input *input);

/* The next whole record; at the end of input the rest, when it is not empty. */
bool input_next(struct input *input, char **record_out, size_t *size_out);

/* Is there something to read within that time? True for files, and at the end of input. */
bool input_ready(int64_t timeout_ms);

/* Bytes that are to be read if standard input is a file, else 0. */
uint64_t input_size(void);

#endif
