/* The calls of struct lqi_io by name, for tests that count, fail or watch them. */
#ifndef SUPPORT_IO_KIND_H
#define SUPPORT_IO_KIND_H

enum io_kind {
    IO_DIR_OPEN, IO_DIR_MAKE, IO_DIR_LIST, IO_DIR_SYNC, IO_DIR_SHARED,
    IO_OPEN, IO_READ, IO_WRITE, IO_SYNC, IO_TRUNCATE, IO_ALLOCATE, IO_STAT, IO_OWN, IO_RENAME, IO_SWAP, IO_UNLINK,
    IO_LOCK, IO_UNLOCK, IO_LOCKED, IO_MAP, IO_BOOT_ID, IO_RANDOM,
    IO_KINDS
};

extern const char *const io_kind_names[IO_KINDS];

#endif
