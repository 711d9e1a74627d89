/* See each_fault.h. */
#include "each_fault.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int open_files(void)
{
    DIR *listing = opendir("/proc/self/fd");
    int count = 0;

    if (listing == NULL) return -1;
    while (readdir(listing) != NULL) count++;
    closedir(listing);
    return count;
}

static bool run(each_fault_script *script, void *context, enum io_kind kind, unsigned nth, bool for_ever)
{
    struct io_fault fault;
    int before = open_files();

    io_fault_init(&fault, &lqi_io_posix);
    fault.short_writes = true;
    fault.short_allocates = true;
    io_fault_plan(&fault, kind, nth, for_ever, EIO);
    script(&fault, context);
    bool failed = fault.hits > 0;
    io_fault_release(&fault);
    if (open_files() != before)
        fail_msg("%d descriptors, not %d, after %s %u failed", open_files(), before, io_kind_names[kind], nth);
    return failed;
}

unsigned each_fault(each_fault_script *script, void *context)
{
    unsigned failures = 0;

    for (int for_ever = 0; for_ever < 2; for_ever++)
        for (int kind = 0; kind < IO_KINDS; kind++)
            for (unsigned nth = 1; run(script, context, (enum io_kind)kind, nth, for_ever); nth++) failures++;
    return failures;
}
