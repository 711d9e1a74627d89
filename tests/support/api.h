/* What the tests of the public header share: answers that explain themselves, messages
 * that prove themselves, and looking at (and damaging) the files of a queue from outside. Usable in
 * children and threads too, where cmocka's own assertions are not: there a failure ends the process. */
#ifndef SUPPORT_API_H
#define SUPPORT_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libqueue.h>

/* ---- assertions -------------------------------------------------------- */

void api_code(int expected, int got, const char *call, const char *file, int line);
void api_holds(bool holds, const char *what, const char *file, int line);
void api_equal(uint64_t a, uint64_t b, const char *what, const char *file, int line);

#define IS(code, call) api_code((code), (call), #call, __FILE__, __LINE__)
#define OK(call) IS(LQ_OK, call)
#define HOLDS(condition) api_holds((condition), #condition, __FILE__, __LINE__)
#define EQUAL(a, b) api_equal((uint64_t)(a), (uint64_t)(b), #a " == " #b, __FILE__, __LINE__)
/* The text of the last failure has all these words (up to a NULL). */
#define TEXT_HAS(...) api_text_has((const char *[]){__VA_ARGS__, NULL}, __FILE__, __LINE__)
void api_text_has(const char *const words[], const char *file, int line);

/* ---- queues ------------------------------------------------------------ */

/* cmocka's setup: *state is an empty directory; and its teardown. */
int api_setup(void **state);
int api_teardown(void **state);
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, api_setup, api_teardown)

/* DIRECTORY/name; valid until the eighth next call. */
const char *api_path(const char *directory, const char *name);
/* Opens the queue "q" of the test's directory (or fails the test). `size` of the options is set for the caller. */
lq_queue *api_open(void **state, const lq_options *options);
lq_consumer *api_consumer(lq_queue *queue, const char *name, const lq_consumer_options *options);

uint64_t api_put(lq_queue *queue, const char *text);
/* GET that must give this text; the message is the caller's to settle. */
lq_message api_get(lq_consumer *consumer, const char *text);
void api_get_ack(lq_consumer *consumer, const char *text);
bool api_is_text(const lq_message *message, const char *text);

/* Bodies that know their number: any size, the same bytes for the same number. */
void api_fill(void *bytes, size_t size, uint64_t number);
bool api_is_filled(const lq_message *message, size_t size, uint64_t number);
/* Puts messages `first` to `last` of `size` bytes; the ids must be these numbers. */
void api_put_range(lq_queue *queue, uint64_t first, uint64_t last, size_t size);
/* GETs and acks them, in this order. */
void api_take_range(lq_consumer *consumer, uint64_t first, uint64_t last, size_t size);
/* A reader finds exactly them in the whole queue. */
void api_read_range(lq_queue *queue, uint64_t first, uint64_t last, size_t size);

lq_stats api_stats(lq_queue *queue);
lq_consumer_stats api_consumer_stats(lq_queue *queue, const char *name);

/* ---- files ------------------------------------------------------------- */

struct api_bytes {
    uint8_t *bytes;
    size_t size;
};

struct api_bytes api_file_read(const char *path); /* free() .bytes */
void api_file_write(const char *path, const void *bytes, size_t size);
void api_file_flip(const char *path, uint64_t offset, uint8_t mask);
bool api_file_exists(const char *path);
/* The name of the n-th log file, from 0; NULL when there are fewer. Valid until the eighth next call. */
const char *api_segment(const char *queue_path, size_t n);

/* All files in and below a directory, in memory. */
struct api_tree;
struct api_tree *api_tree_read(const char *path);
void api_tree_free(struct api_tree *tree);
/* Every file of the tree is there and has the same bytes as then, except those called one of `but` (NULL-terminated, may be NULL);
 * a file that is shorter counts as changed. The first that is not is printed. */
bool api_tree_same(const struct api_tree *tree, const char *const but[]);
void api_tree_copy(const char *from, const char *to);
uint64_t api_disk_used(const char *path); /* bytes of blocks, below a directory */
unsigned api_open_files(void); /* descriptors of this process, to be compared */

/* ---- time and processes ------------------------------------------------ */

int64_t api_now_us(void);
void api_sleep_ms(unsigned ms);

/* Reports a finding of the test that is no assertion, on standard output. */
void api_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Sanitizers: everything takes many times as long and as much memory. */
extern const bool api_sanitized;

#endif
