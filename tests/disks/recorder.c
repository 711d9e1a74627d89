/* See recorder.h. */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../support/api.h"
#include "../support/child.h"
#include "disk.h"

enum { WRITE_MAX = 1 << 20, REQUEST_MAX = WRITE_MAX + 4096 };

/* ---- the process that serves -------------------------------------------- */

struct server {
    int fuse, image, data;
    uint64_t size;
    struct record *record;
    const struct witness *witness;
};

static void add(const struct server *server, struct record_entry entry)
{
    struct record *record = server->record;
    uint32_t count = atomic_load(&record->count);
    CHECK(count < RECORD_ENTRIES);
    entry.line = witness_now(server->witness);
    record->entries[count] = entry;
    atomic_store(&record->count, count + 1);
}

static int do_write(const struct server *server, const struct fuse_write_in *in)
{
    const uint8_t *bytes = (const uint8_t *)(in + 1);
    uint64_t at = atomic_load(&server->record->data_size);
    if (atomic_load(&server->record->failing)) return EIO;
    add(server, (struct record_entry){.offset = in->offset, .size = in->size, .at = at});
    CHECK(pwrite(server->data, bytes, in->size, (off_t)at) == (ssize_t)in->size);
    CHECK(pwrite(server->image, bytes, in->size, (off_t)in->offset) == (ssize_t)in->size);
    atomic_store(&server->record->data_size, at + in->size);
    return 0;
}

static int do_flush(const struct server *server)
{
    if (atomic_load(&server->record->failing)) return EIO;
    add(server, (struct record_entry){.flush = true});
    return 0;
}

static void reply(const struct server *server, uint64_t unique, int error, const void *bytes, size_t size)
{
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + size), .error = -error, .unique = unique};
    struct iovec parts[2] = {{&out, sizeof out}, {(void *)(uintptr_t)bytes, size}};
    ssize_t written = writev(server->fuse, parts, size ? 2 : 1);
    CHECK(written == (ssize_t)out.len || errno == ENOENT || errno == ENODEV); /* whoever asked may be gone */
}

static void reply_init(const struct server *server, uint64_t unique)
{
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = 0, .max_write = WRITE_MAX,
                                .flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES, .max_pages = WRITE_MAX / 4096, .time_gran = 1};
    reply(server, unique, 0, &out, sizeof out);
}

static void reply_attributes(const struct server *server, uint64_t unique)
{
    struct fuse_attr_out out = {.attr_valid = 3600, .attr = {.ino = FUSE_ROOT_ID, .size = server->size,
                                .blocks = server->size / 512, .mode = S_IFREG | 0600, .nlink = 1, .blksize = 4096}};
    reply(server, unique, 0, &out, sizeof out);
}

static void reply_read(const struct server *server, uint64_t unique, const struct fuse_read_in *in)
{
    static uint8_t bytes[WRITE_MAX];
    ssize_t got = pread(server->image, bytes, in->size < sizeof bytes ? in->size : sizeof bytes, (off_t)in->offset);
    reply(server, unique, got < 0 ? EIO : 0, bytes, got < 0 ? 0 : (size_t)got);
}

static void serve_one(const struct server *server, const struct fuse_in_header *in)
{
    const void *more = in + 1;
    struct fuse_open_out open_out = {.open_flags = FOPEN_DIRECT_IO};
    struct fuse_write_out write_out = {0};
    struct fuse_statfs_out statfs_out = {.st = {.bsize = 4096, .namelen = 255, .frsize = 4096}};
    int error;

    switch (in->opcode) {
    case FUSE_INIT: reply_init(server, in->unique); break;
    case FUSE_GETATTR: case FUSE_SETATTR: reply_attributes(server, in->unique); break;
    case FUSE_OPEN: reply(server, in->unique, 0, &open_out, sizeof open_out); break;
    case FUSE_READ: reply_read(server, in->unique, more); break;
    case FUSE_WRITE:
        error = do_write(server, more);
        write_out.size = ((const struct fuse_write_in *)more)->size;
        reply(server, in->unique, error, &write_out, error ? 0 : sizeof write_out);
        break;
    case FUSE_FSYNC: reply(server, in->unique, do_flush(server), NULL, 0); break;
    case FUSE_STATFS: reply(server, in->unique, 0, &statfs_out, sizeof statfs_out); break;
    case FUSE_RELEASE: case FUSE_FLUSH: case FUSE_DESTROY: reply(server, in->unique, 0, NULL, 0); break;
    case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: break; /* want no answer */
    default: reply(server, in->unique, ENOSYS, NULL, 0);
    }
}

static int serve(void *context)
{
    static union {
        struct fuse_in_header header;
        uint8_t bytes[REQUEST_MAX];
    } request;
    const struct server *server = context;

    alarm(0);
    for (;;) {
        ssize_t got = read(server->fuse, &request, sizeof request);
        if (got < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
        if (got < 0 && errno == ENODEV) return 0; /* unmounted */
        CHECK(got >= (ssize_t)sizeof request.header);
        serve_one(server, &request.header);
    }
}

/* ---- for tests ---------------------------------------------------------- */

static bool mount_file(struct recorder *recorder, int fuse)
{
    char options[128];
    int place = open(recorder->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (place >= 0) close(place);
    snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=0,group_id=0", fuse, (unsigned)(S_IFREG | 0600));
    return place >= 0 && mount("lq-recorder", recorder->path, "fuse", MS_NOSUID | MS_NODEV, options) == 0;
}

bool recorder_start(struct recorder *recorder, const char *directory, int image, uint64_t size, const struct witness *witness)
{
    struct server server = {.fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC), .image = image, .size = size, .witness = witness};
    memset(recorder, 0, sizeof *recorder);
    snprintf(recorder->path, sizeof recorder->path, "%s/recorded", directory);
    recorder->file = -1;
    if (server.fuse < 0 || !mount_file(recorder, server.fuse)) {
        printf("# skipped: no FUSE here: %s\n", strerror(errno));
        if (server.fuse >= 0) close(server.fuse);
        unlink(recorder->path);
        return false;
    }
    recorder->image = image;
    recorder->data = memfd_create("record", MFD_CLOEXEC);
    recorder->record = mmap(NULL, sizeof *recorder->record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    HOLDS(recorder->data >= 0 && recorder->record != MAP_FAILED);
    server.data = recorder->data;
    server.record = recorder->record;
    recorder->process = child_start(serve, &server);
    close(server.fuse); /* the recorder's alone, so that with it the disk dies */
    recorder->file = open(recorder->path, O_RDWR | O_CLOEXEC);
    HOLDS(recorder->process > 0 && recorder->file >= 0);
    return true;
}

void recorder_stop(struct recorder *recorder)
{
    if (recorder->file >= 0) close(recorder->file);
    recorder->file = -1;
    /* A loop device lets go of its file a moment after it was unmounted. */
    for (int tries = 0; umount2(recorder->path, 0) != 0 && errno == EBUSY; tries++) {
        HOLDS(tries < 5000);
        api_sleep_ms(1);
    }
    unlink(recorder->path);
    if (recorder->process > 0) EQUAL(child_wait(recorder->process), 0);
    recorder->process = 0;
}

void recorder_release(struct recorder *recorder)
{
    if (recorder->data > 0) close(recorder->data);
    if (recorder->record) munmap(recorder->record, sizeof *recorder->record);
    recorder->record = NULL;
    recorder->data = 0;
}
