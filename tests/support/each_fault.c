/* See each_fault.h. */
#include "each_fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api.h"

static bool run(each_fault_script *script, void *context, enum io_kind kind, unsigned nth, bool for_ever)
{
    struct io_fault fault;
    unsigned before = api_open_files();

    io_fault_init(&fault, &lqi_io_posix);
    fault.short_writes = true;
    fault.short_allocates = true;
    io_fault_plan(&fault, kind, nth, for_ever, EIO);
    script(&fault, context);
    bool failed = fault.hits > 0;
    io_fault_release(&fault);
    if (api_open_files() != before)
        fail_msg("%u descriptors, not %u, after %s %u failed", api_open_files(), before, io_kind_names[kind], nth);
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
