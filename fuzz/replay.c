/* Feeds kept inputs to a fuzz target, without a fuzzer: each file given, and each
 * file in the directories given (one level deep), after the empty input.
 *
 *     fuzz_record fuzz/corpus/record crash-1f2e3d
 *
 * A target that dislikes its input crashes, so that coming to the end is success. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What targets may use or have: libFuzzer calls the second if it is there, and
 * custom mutators call the third, though not while replaying. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max)
{
    (void)data;
    (void)size_max;
    return size;
}

static void fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(1);
}

static void replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size);

    if (file == NULL || (data == NULL && size > 0) || fread(data, 1, size, file) != size) fail(path);
    fclose(file);

    /* Said before, so that the last line names the input that crashed. The block
     * is of the exact size: ASan sees a read past the end of the input. */
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static size_t replay(const char *path);

static size_t replay_directory(const char *path)
{
    struct dirent **entries;
    int entry_count = scandir(path, &entries, NULL, alphasort);
    size_t count = 0;

    if (entry_count < 0) fail(path);
    for (int i = 0; i < entry_count; i++) {
        char name[4096];

        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') count += replay(name);
        free(entries[i]);
    }
    free(entries);
    return count;
}

static size_t replay(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) fail(path);
    if (S_ISDIR(st.st_mode)) return replay_directory(path);
    replay_file(path, (size_t)st.st_size);
    return 1;
}

int main(int argc, char **argv)
{
    size_t count = 0;

    if (LLVMFuzzerInitialize != NULL) LLVMFuzzerInitialize(&argc, &argv);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) count += replay(argv[i]);
    printf("%zu inputs replayed\n", count);
    return 0;
}
