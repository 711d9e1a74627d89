/* A command line as people type it: all of main(), with every command's own table of
 * flags, up to where the work would begin.
 *
 * The input is two bytes that set the stage, and then the arguments, a NUL between them. All
 * that main() would do to the machine is wrapped by the linker (WRAPPED in the Makefile):
 * exit() comes back here, standard output is counted, and whoever opens or verifies a queue is told
 * that it cannot be had. What has got so far is looked at: options that make sense, in range.
 *
 * The mutator knows the words of the tables, so that a new flag is tried from its first day. */
#define main lq_main
#include "../cli/main.c"
#undef main

#include <dirent.h>
#include <regex.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../cli/utf8.h"
#include "fuzz_support.h"
#include "libqueue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

enum { ARGUMENTS_MAX = 60, SAID_MAX = 65536 };

static struct {
    bool on;               /* lq_main() is running */
    int code;              /* what the library answers */
    struct args *args;     /* to be released when exit() keeps main() from it */
    size_t written;        /* bytes to standard output */
    unsigned opened;       /* queues that were to be opened or verified */
    jmp_buf over;
} run;

/* ---- what the linker puts in the place of others ----------------------------- */

_Noreturn void __real_exit(int status);
_Noreturn void __wrap_exit(int status);
void __real_args_init(struct args *args, const struct verb *verb, const char *root, int argc, char **argv);
void __wrap_args_init(struct args *args, const struct verb *verb, const char *root, int argc, char **argv);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
int __real_stat(const char *path, struct stat *status);
int __wrap_stat(const char *path, struct stat *status);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_regcomp(regex_t *compiled, const char *pattern, int flags);
int __wrap_regcomp(regex_t *compiled, const char *pattern, int flags);
int __wrap_lq_open(const char *path, const lq_options *options, lq_queue **queue_out);
int __wrap_lq_verify(const char *path, unsigned flags, lq_finding_callback *each, void *context,
                     lq_verify_result *result_out);

void __wrap_exit(int status)
{
    if (!run.on) __real_exit(status);
    if (run.args) args_release(run.args);
    longjmp(run.over, status + 1);
}

void __wrap_args_init(struct args *args, const struct verb *verb, const char *root, int argc, char **argv)
{
    __real_args_init(args, verb, root, argc, argv);
    run.args = args;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (!run.on) return __real_write(fd, bytes, size);
    CHECK(fd == STDOUT_FILENO);
    run.written += size;
    return (ssize_t)size;
}

DIR *__wrap_opendir(const char *path)
{
    return run.on ? NULL : __real_opendir(path);
}

int __wrap_stat(const char *path, struct stat *status)
{
    if (!run.on) return __real_stat(path, status);
    errno = ENOENT;
    return -1;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (!run.on) return __real_mmap(at, size, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

/* The C library's patterns are its own affair: nested repetitions cost it all time and memory. */
int __wrap_regcomp(regex_t *compiled, const char *pattern, int flags)
{
    if (run.on && (strlen(pattern) > 30 || strpbrk(pattern, "{*+"))) pattern = "(";
    return __real_regcomp(compiled, pattern, flags);
}

int __wrap_lq_open(const char *path, const lq_options *options, lq_queue **queue_out)
{
    static const uint32_t flags = LQ_NO_CREATE | LQ_READ_ONLY | LQ_DEFER_SYNC;

    run.opened++;
    CHECK(run.on && queue_out && path && *path);
    CHECK(options && options->size == sizeof *options && !(options->flags & ~flags));
    CHECK(options->mode <= 0777 && options->compression >= 0 && options->compression <= 9);
    CHECK(options->sync >= 0 && options->sync <= LQ_SYNC_NEVER);
    CHECK(options->retention >= 0 && options->retention <= LQ_RETAIN_BOTH);
    CHECK(options->full >= 0 && options->full <= LQ_FULL_DROP);
    CHECK(options->age_max_ms >= 0 && options->full_timeout_ms >= 0);
    return run.code;
}

int __wrap_lq_verify(const char *path, unsigned flags, lq_finding_callback *each, void *context,
                     lq_verify_result *result_out)
{
    run.opened++;
    CHECK(run.on && path && *path && each && context && result_out);
    CHECK(result_out->size == sizeof *result_out && (flags & ~(unsigned)LQ_VERIFY_QUICK) == 0);
    return run.code;
}

int __wrap_lq_repair(const char *path, unsigned flags, lq_repair_callback *each, void *context,
                     lq_repair_result *result_out)
{
    run.opened++;
    CHECK(run.on && path && *path && each && context && result_out);
    CHECK(result_out->size == sizeof *result_out && (flags & ~(unsigned)LQ_REPAIR_DRY_RUN) == 0);
    return run.code;
}

/* ---- one command line ---------------------------------------------------------- */

/* What was said on standard error is lines that move no cursor, from lq, and not without end. */
static void check_said(const char *said, size_t size)
{
    CHECK(utf8_valid(said, size) && (size == 0 || said[size - 1] == '\n'));
    for (size_t i = 0, step; i < size; i += step) {
        uint32_t code;
        step = utf8_decode(said + i, size - i, &code);
        CHECK(code == '\n' || !utf8_unsafe(code));
    }
}

/* The exit code, and what it promises about what was said where. */
static void check_end(int end, const char *said, size_t said_size)
{
    CHECK(end >= END_DONE && end <= END_CANNOT);
    check_said(said, said_size);
    if (end == END_USAGE && !run.opened) {
        CHECK(run.written == 0);
        CHECK(strstr(said, "hint: ") || strstr(said, "lq help COMMAND"));
    } else if (!run.opened) {
        CHECK(end == END_DONE ? run.written > 0 && said_size == 0 : said_size > 0);
    }
    if (end == END_CANNOT) CHECK(strncmp(said, "lq: ", 4) == 0);
}

static void run_line(int argc, char **argv)
{
    static char said[SAID_MAX + 1];
    FILE *standard_error = stderr, *memory;
    volatile int end = 0;

    memset(said, 0, sizeof said);
    memory = fmemopen(said, SAID_MAX, "w");
    CHECK(memory != NULL);
    stderr = memory;
    optind = 0; /* a new program has not called getopt before */
    run.on = true;
    int jumped = setjmp(run.over);
    if (jumped) end = jumped - 1;
    else end = lq_main(argc, argv);
    run.on = false;
    stderr = standard_error;
    fclose(memory);
    check_end(end, said, strlen(said));
}

/* Statics that a process sets once begin as they would in a new one. */
static void set_stage(unsigned stage, unsigned answer)
{
    static const int codes[] = {LQ_ENOTFOUND, LQ_ENOTQUEUE, LQ_EACCESS, LQ_EVERSION, LQ_ECORRUPT, LQ_EMISMATCH,
                                LQ_EINVAL, LQ_ENOSPC, LQ_EBUSY};

    run.code = codes[answer % (sizeof codes / sizeof *codes)];
    run.args = NULL;
    run.written = 0;
    run.opened = 0;
    usage_of(NULL);
    paint_when(PAINT_AUTO);
    if (stage & 1) setenv("LQ_ROOT", stage & 2 ? "/nonexistent" : "", 1);
    else unsetenv("LQ_ROOT");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGUMENTS_MAX + 2] = {0};
    int argc = 1;
    struct input input = {data, size};

    set_stage((unsigned)take(&input, 1), (unsigned)take(&input, 1));
    argv[0] = strdup("lq");
    while (input.size && argc <= ARGUMENTS_MAX) {
        size_t length = strnlen((const char *)input.data, input.size);
        argv[argc] = calloc(1, length + 1);
        CHECK(argv[argc] != NULL);
        memcpy(argv[argc++], input.data, length);
        input.data += length;
        input.size -= length;
        if (input.size) take(&input, 1);
    }
    /* main() may put words of its own in the place of ours. */
    char *ours[ARGUMENTS_MAX + 2];
    memcpy(ours, argv, sizeof ours);
    run_line(argc, argv);
    for (int i = 0; i < argc; i++) free(ours[i]);
    return 0;
}

/* ---- the mutator ----------------------------------------------------------------- */

static const char *const values[] = {
    "0", "1", "-1", "10", "9", "65535", "65536", "18446744073709551615", "18446744073709551616", "9223372036854775808",
    "1.5M", "64k", "9e9", "8191P", "9.2E", "100ms", "30s", "-15m", "@-15m", "@2026-11-20T13:00", "2026-02-30", "today",
    "now", "begin", "end", "-5", "billing", "always", "interval", "never", "consumed", "limits", "both", "reject",
    "block", "drop", "auto", "0640", "0778", "500/s", "1x", "0.5x", "1e999", "nan", "%i %s\\n", "%", "\\", "a|b", "(", "[",
    "--", "-", "orders", "a/b", ".", "", "\033[2J", "\xff\xfe", "stats", "halp",
};

static size_t flags_of(const struct flag *flags)
{
    size_t count = 0;
    while (flags[count].name) count++;
    return count;
}

/* The command in the line, mostly, so that its own flags are tried; or any other. */
static const struct verb *choose_verb(const uint8_t *data, size_t size, unsigned seed)
{
    size_t verb_count = 0;
    while (verbs[verb_count]) verb_count++;
    for (size_t at = 2, length; seed % 8 && at < size; at += length + 1) {
        length = strnlen((const char *)data + at, size - at);
        for (size_t i = 0; i < verb_count; i++)
            if (strlen(verbs[i]->name) == length && memcmp(verbs[i]->name, data + at, length) == 0) return verbs[i];
    }
    return verbs[seed / 8 % verb_count];
}

/* A word: a command, one of its flags in one of the ways to type it, or a value. */
static void choose_word(char *word, size_t room, const struct verb *verb, unsigned seed)
{
    size_t count = 0;
    const struct flag *const *group = verb->groups, *flags = common_flags;
    const char *value = values[(seed >> 16) % (sizeof values / sizeof *values)];

    while (group && group[count]) count++;
    if (count && (seed >> 12) % 8) flags = group[(seed >> 12) % count];
    const struct flag *flag = &flags[(seed >> 20) % flags_of(flags)];
    switch (seed % 8) {
    case 0: snprintf(word, room, "%s", verb->name); break;
    case 1:
    case 2: snprintf(word, room, flag->value ? "--%s=%s" : "--%s", flag->name, value); break;
    case 3: snprintf(word, room, "-%c%s", flag->letter < 256 ? flag->letter : 'n', (seed >> 8) % 2 ? value : ""); break;
    case 4: snprintf(word, room, "--%.*s", (int)(1 + (seed >> 8) % 12), flag->name); break;
    case 5: snprintf(word, room, "--%s", flag->name); break;
    default: snprintf(word, room, "%s", value); break;
    }
}

/* Puts a word where an argument begins, before it or in its place; or leaves it to libFuzzer. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    char word[80];
    uint8_t *copy;
    size_t at = 2, next, length;

    if (seed % 3 == 0 || size < 2) return LLVMFuzzerMutate(data, size, size_max);
    seed = seed / 3 * 2654435761u;
    choose_word(word, sizeof word, choose_verb(data, size, seed >> 7), seed ^ seed >> 15);
    length = strlen(word) + 1;
    for (unsigned skip = (seed >> 3) % 12; skip && at < size; skip--) at += strnlen((char *)data + at, size - at) + 1;
    if (at > size) at = size;
    next = at + (seed & 1 && at < size ? strnlen((char *)data + at, size - at) + 1 : 0);
    if (next > size) next = size;
    if (at + length + (size - next) > size_max) return LLVMFuzzerMutate(data, size, size_max);
    copy = copy_of(data + next, size - next);
    memcpy(data + at, word, length);
    memcpy(data + at + length, copy, size - next);
    free(copy);
    return at + length + (size - next);
}
