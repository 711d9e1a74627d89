/* See api.h. */
#include "api.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
const bool api_sanitized = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
const bool api_sanitized = true;
#else
const bool api_sanitized = false;
#endif
#else
const bool api_sanitized = false;
#endif

/* ---- assertions -------------------------------------------------------- */

static pid_t test_process;

static void failed(const char *file, int line)
{
    pid_t thread = (pid_t)syscall(SYS_gettid);
    if (test_process == 0 || thread == test_process) _fail(file, line);
    /* cmocka jumps back to its own stack: not from here. */
    _exit(98);
}

static void say(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fflush(stdout);
    dprintf(2, "%s:%d: %s\n", file, line, text);
}

void api_code(int expected, int got, const char *call, const char *file, int line)
{
    if (got == expected) return;
    say(file, line, "%s is %s, not %s; the text is: %s", call, lq_error_name(got), lq_error_name(expected), lq_error_text());
    failed(file, line);
}

void api_holds(bool holds, const char *what, const char *file, int line)
{
    if (holds) return;
    say(file, line, "not so: %s", what);
    failed(file, line);
}

void api_equal(uint64_t a, uint64_t b, const char *what, const char *file, int line)
{
    if (a == b) return;
    say(file, line, "%s: %" PRIu64 " is not %" PRIu64, what, a, b);
    failed(file, line);
}

void api_text_has(const char *const words[], const char *file, int line)
{
    for (size_t i = 0; words[i]; i++) {
        if (strstr(lq_error_text(), words[i])) continue;
        say(file, line, "the text does not say '%s': %s", words[i], lq_error_text());
        failed(file, line);
    }
}

/* ---- queues ------------------------------------------------------------ */

int api_setup(void **state)
{
    test_process = getpid();
    return scratch_make(state);
}

static int open_to_all(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    (void)place;
    if (kind == FTW_D || kind == FTW_DNR) chmod(path, stat->st_mode | 0700);
    return 0;
}

int api_teardown(void **state)
{
    nftw(*state, open_to_all, 16, FTW_PHYS);
    return scratch_remove(state);
}

enum { PATHS = 8 };

static char *next_path(void)
{
    static _Thread_local char paths[PATHS][4096];
    static _Thread_local unsigned next;
    return paths[next++ % PATHS];
}

const char *api_path(const char *directory, const char *name)
{
    char *path = next_path();
    snprintf(path, 4096, "%s/%s", directory, name);
    return path;
}

lq_queue *api_open(void **state, const lq_options *options)
{
    lq_options sized = {0};
    lq_queue *queue = NULL;
    if (options) sized = *options;
    sized.size = sizeof sized;
    OK(lq_open(api_path(*state, "q"), &sized, &queue));
    return queue;
}

lq_consumer *api_consumer(lq_queue *queue, const char *name, const lq_consumer_options *options)
{
    lq_consumer_options sized = {0};
    lq_consumer *consumer = NULL;
    if (options) sized = *options;
    sized.size = sizeof sized;
    OK(lq_consumer_open(queue, name, &sized, &consumer));
    return consumer;
}

uint64_t api_put(lq_queue *queue, const char *text)
{
    uint64_t id = 0;
    OK(lq_put(queue, text, strlen(text), &id));
    return id;
}

bool api_is_text(const lq_message *message, const char *text)
{
    bool same = message->size == strlen(text) && memcmp(message->data, text, message->size) == 0;
    if (!same) say(__FILE__, __LINE__, "message %" PRIu64 " is '%.*s', not '%s'", message->id, (int)message->size,
                   (const char *)message->data, text);
    return same;
}

lq_message api_get(lq_consumer *consumer, const char *text)
{
    lq_message message;
    OK(lq_get(consumer, &message, 5000));
    HOLDS(api_is_text(&message, text));
    return message;
}

void api_get_ack(lq_consumer *consumer, const char *text)
{
    lq_message message = api_get(consumer, text);
    OK(lq_ack(consumer, &message));
}

static uint64_t next_random(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15u;
    uint64_t mixed = (*seed ^ *seed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

void api_fill(void *bytes, size_t size, uint64_t number)
{
    uint64_t seed = number;
    uint8_t *to = bytes;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = next_random(&seed);
        memcpy(to + i, &word, size - i < 8 ? size - i : 8);
    }
}

bool api_is_filled(const lq_message *message, size_t size, uint64_t number)
{
    uint64_t seed = number;
    const uint8_t *from = message->data;
    bool same = message->size == size;
    for (size_t i = 0; i < size && same; i += 8) {
        uint64_t word = next_random(&seed);
        same = memcmp(from + i, &word, size - i < 8 ? size - i : 8) == 0;
    }
    if (!same)
        say(__FILE__, __LINE__, "message %" PRIu64 " of %zu bytes is not number %" PRIu64 " of %zu bytes", message->id,
            message->size, number, size);
    return same;
}

void api_put_range(lq_queue *queue, uint64_t first, uint64_t last, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    for (uint64_t number = first; number <= last; number++) {
        uint64_t id = 0;
        api_fill(bytes, size, number);
        OK(lq_put(queue, bytes, size, &id));
        EQUAL(id, number);
    }
    free(bytes);
}

void api_take_range(lq_consumer *consumer, uint64_t first, uint64_t last, size_t size)
{
    for (uint64_t number = first; number <= last; number++) {
        lq_message message;
        OK(lq_get(consumer, &message, 5000));
        EQUAL(message.id, number);
        HOLDS(api_is_filled(&message, size, number));
        OK(lq_ack(consumer, &message));
    }
}

void api_read_range(lq_queue *queue, uint64_t first, uint64_t last, size_t size)
{
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t number = first; number <= last; number++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, number);
        HOLDS(api_is_filled(&message, size, number));
    }
    IS(LQ_EMPTY, lq_reader_next(reader, &message));
    lq_reader_close(reader);
}

lq_stats api_stats(lq_queue *queue)
{
    lq_stats stats = {.size = sizeof stats};
    OK(lq_get_stats(queue, &stats));
    return stats;
}

lq_consumer_stats api_consumer_stats(lq_queue *queue, const char *name)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    OK(lq_get_consumer_stats(queue, name, &stats));
    return stats;
}

/* ---- files ------------------------------------------------------------- */

static struct api_bytes read_or_none(const char *path)
{
    struct api_bytes file = {NULL, 0};
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return file;
    if (fstat(fd, &stat) == 0 && (file.bytes = malloc((size_t)stat.st_size + 1)) != NULL) {
        while (file.size < (size_t)stat.st_size) {
            ssize_t got = read(fd, file.bytes + file.size, (size_t)stat.st_size - file.size);
            if (got <= 0) break;
            file.size += (size_t)got;
        }
    }
    close(fd);
    return file;
}

struct api_bytes api_file_read(const char *path)
{
    struct api_bytes file = read_or_none(path);
    if (!file.bytes) say(__FILE__, __LINE__, "cannot read %s: %s", path, strerror(errno));
    HOLDS(file.bytes != NULL);
    return file;
}

void api_file_write(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    HOLDS(fd >= 0);
    for (size_t done = 0; done < size;) {
        ssize_t wrote = write(fd, (const uint8_t *)bytes + done, size - done);
        HOLDS(wrote > 0);
        done += (size_t)wrote;
    }
    close(fd);
}

void api_file_flip(const char *path, uint64_t offset, uint8_t mask)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    HOLDS(fd >= 0);
    HOLDS(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= mask;
    HOLDS(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}

bool api_file_exists(const char *path)
{
    struct stat stat;
    return lstat(path, &stat) == 0;
}

/* nftw() has no context. */
static _Thread_local struct walk {
    struct api_tree *tree;
    const char *root, *to;
    uint64_t blocks;
    char (*names)[300];
    size_t count;
} walk;

static int note_segment(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    (void)stat;
    size_t length = strlen(path);
    if (kind != FTW_F || length < 4 || strcmp(path + length - 4, ".seg") != 0) return 0;
    walk.names = realloc(walk.names, (walk.count + 1) * sizeof *walk.names);
    snprintf(walk.names[walk.count++], sizeof *walk.names, "%s", path + place->base);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

const char *api_segment(const char *queue_path, size_t n)
{
    char *path = NULL;
    walk = (struct walk){0};
    nftw(api_path(queue_path, "log"), note_segment, 16, FTW_PHYS);
    if (walk.count) qsort(walk.names, walk.count, sizeof *walk.names, by_name);
    if (n < walk.count) {
        path = next_path();
        snprintf(path, 4096, "%s/log/%s", queue_path, walk.names[n]);
    }
    free(walk.names);
    return path;
}

struct api_tree {
    struct leaf {
        char path[4096];
        struct api_bytes file;
    } *leaves;
    size_t count;
};

static int add_leaf(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    struct api_tree *tree = walk.tree;
    (void)stat;
    (void)place;
    if (kind != FTW_F) return 0;
    tree->leaves = realloc(tree->leaves, (tree->count + 1) * sizeof *tree->leaves);
    snprintf(tree->leaves[tree->count].path, sizeof tree->leaves->path, "%s", path);
    tree->leaves[tree->count++].file = read_or_none(path);
    return 0;
}

struct api_tree *api_tree_read(const char *path)
{
    walk = (struct walk){.tree = calloc(1, sizeof(struct api_tree))};
    nftw(path, add_leaf, 16, FTW_PHYS);
    return walk.tree;
}

void api_tree_free(struct api_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) free(tree->leaves[i].file.bytes);
    free(tree->leaves);
    free(tree);
}

static bool is_one_of(const char *path, const char *const names[])
{
    const char *base = strrchr(path, '/') + 1;
    for (size_t i = 0; names && names[i]; i++)
        if (strcmp(base, names[i]) == 0) return true;
    return false;
}

bool api_tree_same(const struct api_tree *tree, const char *const but[])
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct leaf *leaf = &tree->leaves[i];
        if (is_one_of(leaf->path, but)) continue;
        struct api_bytes now = read_or_none(leaf->path);
        size_t at = 0;
        while (now.bytes && at < now.size && at < leaf->file.size && now.bytes[at] == leaf->file.bytes[at]) at++;
        bool same = now.bytes && now.size == leaf->file.size && at == now.size;
        if (!same)
            say(__FILE__, __LINE__, "%s has changed: %zu bytes, was %zu; first at byte %zu", leaf->path, now.size,
                leaf->file.size, at);
        free(now.bytes);
        if (!same) return false;
    }
    return true;
}

static int copy_one(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    char to[4096];
    (void)place;
    snprintf(to, sizeof to, "%s%s", walk.to, path + strlen(walk.root));
    if (kind == FTW_D) return mkdir(to, (stat->st_mode & 0777) | 0700);
    if (kind != FTW_F) return 0;
    struct api_bytes file = read_or_none(path);
    api_file_write(to, file.bytes, file.size);
    free(file.bytes);
    return 0;
}

void api_tree_copy(const char *from, const char *to)
{
    walk = (struct walk){.root = from, .to = to};
    HOLDS(nftw(from, copy_one, 16, FTW_PHYS) == 0);
}

static int add_blocks(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    (void)path;
    (void)place;
    if (kind == FTW_F) walk.blocks += (uint64_t)stat->st_blocks * 512;
    return 0;
}

uint64_t api_disk_used(const char *path)
{
    walk = (struct walk){0};
    nftw(path, add_blocks, 16, FTW_PHYS);
    return walk.blocks;
}

unsigned api_open_files(void)
{
    DIR *listing = opendir("/proc/self/fd");
    unsigned count = 0;
    HOLDS(listing != NULL);
    while (readdir(listing) != NULL) count++;
    closedir(listing);
    return count;
}

/* ---- time -------------------------------------------------------------- */

int64_t api_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void api_sleep_ms(unsigned ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {}
}

void api_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("  note: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
}
