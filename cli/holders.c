/* Looking for open files below a directory. */
#include "holders.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Does one of the descriptors in /proc/PID/fd point below `path`? */
static bool holds(const char *fd_dir, const char *path)
{
    size_t length = strlen(path);
    struct dirent *entry;
    char target[PATH_MAX];
    bool found = false;
    DIR *dir = opendir(fd_dir);

    while (dir && !found && (entry = readdir(dir)) != NULL) {
        ssize_t size = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);

        if (size < 0) continue;
        target[size] = '\0';
        found = strncmp(target, path, length) == 0 && target[length] == '/';
    }
    if (dir) closedir(dir);
    return found;
}

static void read_name(pid_t pid, char *name, size_t size)
{
    char file[64];
    FILE *comm;

    snprintf(name, size, "?");
    snprintf(file, sizeof file, "/proc/%d/comm", (int)pid);
    comm = fopen(file, "re");
    if (!comm) return;
    if (fgets(name, (int)size, comm)) name[strcspn(name, "\n")] = '\0';
    fclose(comm);
}

size_t holders_find(const char *path, struct holder *holders, size_t max)
{
    char *real = realpath(path, NULL), fd_dir[64];
    DIR *proc = real ? opendir("/proc") : NULL;
    struct dirent *entry;
    size_t count = 0;

    while (proc && count < max && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid <= 0 || pid == getpid()) continue;
        snprintf(fd_dir, sizeof fd_dir, "/proc/%d/fd", (int)pid);
        if (!holds(fd_dir, real)) continue;
        holders[count].pid = pid;
        read_name(pid, holders[count].name, sizeof holders[count].name);
        count++;
    }
    if (proc) closedir(proc);
    free(real);
    return count;
}
