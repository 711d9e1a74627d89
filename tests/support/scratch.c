/* See scratch.h. */
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int scratch_make(void **state)
{
    const char *where = getenv("TMPDIR");
    char *path = malloc(4096);

    if (path == NULL) return -1;
    snprintf(path, 4096, "%s/scratch.XXXXXX", where ? where : "/tmp");
    if (mkdtemp(path) == NULL) {
        perror(path);
        free(path);
        return -1;
    }
    *state = path;
    return 0;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    (void)stat;
    (void)kind;
    (void)place;
    return remove(path);
}

int scratch_delete(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int scratch_remove(void **state)
{
    int result = scratch_delete(*state);
    free(*state);
    *state = NULL;
    return result;
}
