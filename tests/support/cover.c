/* Counts that outlive the process, for `make cover`: linked last into each of its programs.
 *
 * LLVM's counters lie in two sections of the program's data, and are written to a file when it ends. Ours end by
 * SIGKILL and _exit() too, that being what the tests are about. So the pages of the sections are
 * mapped over a file, one of each program: what its processes and their children count, they count together,
 * and it stays where it is when they die. (LLVM's own "continuous mode" does this for the counters, but not for the
 * bitmaps of MC/DC.)
 *
 * LQ_COVER is the directory of these files. With LQ_COVER_DUMP=FILE, a program writes what was counted as
 * a raw profile and ends, before main. Without LQ_COVER, nothing is kept. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* Being aligned, these make the sections start on a page; and being last in them, they are where whole pages end. */
#define LAST_IN(section_name) __attribute__((section(section_name), aligned(PAGE), used))
static char counters_end[PAGE] LAST_IN("__llvm_prf_cnts");
static char bitmaps_end[PAGE] LAST_IN("__llvm_prf_bits");

/* The linker's, and the profile runtime's. */
extern char __start___llvm_prf_cnts[], __start___llvm_prf_bits[];
void __llvm_profile_set_filename(const char *name);
int __llvm_profile_write_file(void);

static void fail(const char *path)
{
    dprintf(2, "cover: %s: %s\n", path, strerror(errno));
    abort();
}

/* All begin with zeroes, as the file does. */
static void map_over(char *start, const char *end, const char *path)
{
    struct stat status;
    size_t size = (size_t)(end - start);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    if (size == 0) return;
    /* Not when it has its size: some run under a limit on the size of files. */
    if (fd < 0 || fstat(fd, &status) != 0 || ((size_t)status.st_size != size && ftruncate(fd, (off_t)size) != 0) ||
        mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        fail(path);
    close(fd);
}

__attribute__((constructor(101))) static void count_together(void)
{
    const char *directory = getenv("LQ_COVER"), *dump = getenv("LQ_COVER_DUMP");
    char program[2048], path[4096];

    /* Once mapped, they must not be written at exit as well. */
    __llvm_profile_set_filename("/dev/null");
    if (!directory) return;

    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size < 0) fail("/proc/self/exe");
    program[size] = 0;
    for (char *c = program; *c; c++)
        if (*c == '/') *c = '%';

    snprintf(path, sizeof path, "%s/%s.counters", directory, program);
    map_over(__start___llvm_prf_cnts, counters_end, path);
    snprintf(path, sizeof path, "%s/%s.bitmaps", directory, program);
    map_over(__start___llvm_prf_bits, bitmaps_end, path);

    if (dump) {
        __llvm_profile_set_filename(dump);
        _exit(__llvm_profile_write_file() != 0);
    }
}
