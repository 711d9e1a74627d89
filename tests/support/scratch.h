/* A directory for one test, in $TMPDIR, and away with it. */
#ifndef SUPPORT_SCRATCH_H
#define SUPPORT_SCRATCH_H

/* cmocka's setup and teardown: make an empty directory and remove it with all that is in it.
 * *state is its path, a string. */
int scratch_make(void **state);
int scratch_remove(void **state);

/* Removes a directory with all that is in it. */
int scratch_delete(const char *path);

#endif
