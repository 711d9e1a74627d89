/* See disk.h. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/api.h"
#include "../support/child.h"

/* As small as the makers of the file systems allow, and with nothing left to do in the background. Commits of
 * their own every few seconds would sync what we forgot to: as seldom as they may be. */
const struct disk_kind disk_ext4 = {"ext4", "commit=300,errors=remount-ro", 24 << 20,
    {"mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^resize_inode", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", NULL}};
const struct disk_kind disk_xfs = {"xfs", "nouuid", 300 << 20, {"mkfs.xfs", "-q", "-f", "-K", NULL}};
const struct disk_kind disk_btrfs = {"btrfs", "commit=300", 128 << 20, {"mkfs.btrfs", "-q", "-f", "-K", NULL}};
const struct disk_kind disk_tmpfs = {"tmpfs", "size=4m", 0, {NULL}};

/* ---- time --------------------------------------------------------------- */

double disk_now(void)
{
    return (double)api_now_us() / 1e6;
}

double disk_seconds(unsigned percent, unsigned tests)
{
    const char *all = getenv("DISK_SECONDS");
    double seconds = all && *all ? strtod(all, NULL) : 80;
    return seconds * percent / 100 / tests;
}

/* ---- boots -------------------------------------------------------------- */

static int boot_file = -1;

static bool write_boot(void)
{
    static unsigned boot;
    char text[64];
    /* Also another than that of any run before, on whose disks we never look anyway. */
    snprintf(text, sizeof text, "d15cd15c-0000-4000-8000-%012x\n", ++boot);
    return pwrite(boot_file, text, strlen(text), 0) == (ssize_t)strlen(text);
}

void disk_next_boot(void)
{
    HOLDS(write_boot());
}

static bool own_boots(void)
{
    char path[4096];
    const char *where = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/boot_id.XXXXXX", where ? where : "/tmp");
    boot_file = mkstemp(path);
    bool good = boot_file >= 0 && write_boot() && mount(path, "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) == 0;
    int error = errno;
    if (boot_file >= 0) unlink(path); /* the mount keeps it */
    errno = error;
    return good;
}

int disk_begin(void)
{
    if (geteuid() != 0) {
        puts("mounting disks takes root");
        return CHILD_SKIP;
    }
    if (!child_unshare_mounts() || !own_boots()) {
        printf("mounts of our own are cannot be had here: %s\n", strerror(errno));
        return CHILD_SKIP;
    }
    return 0;
}

/* ---- loop devices ------------------------------------------------------- */

static void skip_because(const char *what, int error)
{
    printf("# skipped: %s: %s\n", what, strerror(error));
    skip();
}

/* Somebody else may take the free one before us. */
static int attach(int image, char device[32])
{
    struct loop_config config = {.fd = (uint32_t)image, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return -1;

    int loop = -1;
    for (int tries = 0; tries < 50 && loop < 0; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0) break;
        snprintf(device, 32, "/dev/loop%d", number);
        if (access(device, F_OK) != 0) mknod(device, S_IFBLK | 0600, (dev_t)(7 << 8 | number)); /* a container's /dev */
        loop = open(device, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) != 0) {
            close(loop);
            loop = -1;
            if (errno != EBUSY) break;
            api_sleep_ms(1);
        }
    }
    int error = errno;
    close(control);
    errno = error;
    return loop;
}

/* ---- images ------------------------------------------------------------- */

static int run(const char *const command[16], const char *device)
{
    char *arguments[18];
    int count = 0, status;
    for (; command[count]; count++) arguments[count] = (char *)(uintptr_t)command[count];
    arguments[count++] = (char *)(uintptr_t)device;
    arguments[count] = NULL;

    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

static int new_memory(uint64_t size)
{
    int image = memfd_create("disk", MFD_CLOEXEC);
    HOLDS(image >= 0 && ftruncate(image, (off_t)size) == 0);
    return image;
}

void disk_copy_into(int copy, int image, uint64_t size)
{
    static uint8_t bytes[64 * KIB];
    off_t at = 0, end;

    HOLDS(ftruncate(copy, (off_t)size) == 0);
    while ((at = lseek(image, at, SEEK_DATA)) >= 0) {
        end = lseek(image, at, SEEK_HOLE);
        while (at < end) {
            size_t part = end - at < (off_t)sizeof bytes ? (size_t)(end - at) : sizeof bytes;
            HOLDS(pread(image, bytes, part, at) == (ssize_t)part);
            /* Zeroes stay away: mkfs.xfs writes 64 MiB of them. */
            if (bytes[0] || memcmp(bytes, bytes + 1, part - 1) != 0) HOLDS(pwrite(copy, bytes, part, at) == (ssize_t)part);
            at += (off_t)part;
        }
    }
}

int disk_copy_image(int image, uint64_t size)
{
    int copy = new_memory(size);
    disk_copy_into(copy, image, size);
    return copy;
}

/* Made once for each kind, and copied. */
int disk_new_image(const struct disk_kind *kind)
{
    static struct {
        const struct disk_kind *kind;
        int image;
    } made[8];
    char device[32];
    size_t i = 0;

    while (made[i].kind && made[i].kind != kind) i++;
    if (!made[i].kind) {
        int image = new_memory(kind->size);
        int loop = attach(image, device);
        if (loop < 0) skip_because("no loop device", errno);
        int result = run(kind->mkfs, device);
        close(loop);
        if (result == 127) skip_because(kind->mkfs[0], ENOENT);
        EQUAL(result, 0);
        made[i].kind = kind;
        made[i].image = disk_copy_image(image, kind->size);
        close(image);
    }
    return disk_copy_image(made[i].image, kind->size);
}

/* ---- mounts ------------------------------------------------------------- */

/* btrfs remembers disks that it has seen, and refuses an older state of the same. */
static void forget_disks(void)
{
    struct btrfs_ioctl_vol_args all = {.name = ""};
    int control = open("/dev/btrfs-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return;
    ioctl(control, BTRFS_IOC_FORGET_DEV, &all);
    close(control);
}

int disk_mount(const struct disk *disk, int image)
{
    const struct disk_kind *kind = disk->kind;
    char device[32] = "none";
    int loop = -1, error = 0;

    if (kind->size) {
        loop = attach(image, device);
        if (loop < 0) return errno;
    }
    if (kind == &disk_btrfs) forget_disks();
    if (mount(device, disk->mount, kind->name, MS_NOATIME, kind->options) != 0) error = errno;
    if (loop >= 0) close(loop);
    return error;
}

void disk_fresh(struct disk *disk)
{
    disk_unmount(disk);
    if (disk->image >= 0) close(disk->image);
    disk->image = disk->kind->size ? disk_new_image(disk->kind) : -1;
    int error = disk_mount(disk, disk->image);
    if (error == ENODEV) skip_because(disk->kind->name, error);
    EQUAL(error, 0);
}

void disk_unmount(const struct disk *disk)
{
    /* A moment after a process was killed, its files may still be in use. */
    for (int tries = 0; umount2(disk->mount, 0) != 0 && errno == EBUSY; tries++) {
        HOLDS(tries < 5000);
        api_sleep_ms(1);
    }
}

int disk_remount(const struct disk *disk, unsigned long flags, const char *options)
{
    return mount(NULL, disk->mount, NULL, MS_REMOUNT | MS_NOATIME | flags, options) == 0 ? 0 : errno;
}

int disk_setup(void **state)
{
    const struct disk_kind *kind = *state;
    struct disk *disk = calloc(1, sizeof *disk);
    void *directory = NULL;
    if (!disk || api_setup(&directory) != 0) return -1;

    disk->kind = kind;
    disk->image = -1;
    snprintf(disk->directory, sizeof disk->directory, "%s", (char *)directory);
    free(directory);
    snprintf(disk->mount, sizeof disk->mount, "%s/mount", disk->directory);
    snprintf(disk->queue, sizeof disk->queue, "%s/q", disk->mount);
    *state = disk;
    return mkdir(disk->mount, 0700);
}

int disk_teardown(void **state)
{
    struct disk *disk = *state;
    char recorded[4300]; /* of a recorder, if the test has failed */
    snprintf(recorded, sizeof recorded, "%s/recorded", disk->directory);
    while (umount2(disk->mount, MNT_DETACH) == 0) {}
    while (umount2(recorded, MNT_DETACH) == 0) {}
    unlink(recorded);
    if (disk->image >= 0) close(disk->image);
    rmdir(disk->mount);
    int result = rmdir(disk->directory);
    free(disk);
    return result;
}

/* ---- space -------------------------------------------------------------- */

void disk_sync(const struct disk *disk)
{
    int root = open(disk->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EQUAL(syncfs(root), 0);
    close(root);
}

static void filler_path(const struct disk *disk, char path[4300])
{
    snprintf(path, 4300, "%s/filler", disk->mount);
}

void disk_fill(const struct disk *disk, uint64_t leave)
{
    char path[4300];
    off_t size = 0;
    filler_path(disk, path);
    int filler = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    HOLDS(filler >= 0);
    for (off_t step = 64 << 20; step >= 4096;) {
        if (fallocate(filler, 0, size, step) == 0) size += step;
        else step /= 2;
    }
    HOLDS(size > (off_t)leave);
    EQUAL(ftruncate(filler, size - (off_t)leave), 0);
    EQUAL(syncfs(filler), 0); /* blocks just given back can be had only after a commit */
    close(filler);
}

void disk_release(const struct disk *disk)
{
    char path[4300];
    filler_path(disk, path);
    EQUAL(unlink(path), 0);
    disk_sync(disk);
}

/* ---- power -------------------------------------------------------------- */

/* Ours by number: the headers know it by other names, as far as they do: EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN. */
#define SHUTDOWN _IOR('X', 125, uint32_t)
#define SHUTDOWN_NO_LOG_FLUSH 2u

int disk_cut(const struct disk *disk)
{
    uint32_t how = SHUTDOWN_NO_LOG_FLUSH;
    int root = open(disk->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = root < 0 || ioctl(root, SHUTDOWN, &how) != 0 ? errno : 0;
    if (root >= 0) close(root);
    return error;
}
