/* lq version */
#include "args.h"
#include "libqueue.h"
#include "out.h"
#include "report.h"
#include "verb.h"

#include <string.h>

static int run(struct args *args)
{
    args_take_operands(args);
    args_expect(args, 0, 0, "nothing");
    out_format("lq %s\n", LQ_VERSION);
    if (strcmp(lq_version(), LQ_VERSION) != 0) out_format("libqueue %s\n", lq_version());
    return END_DONE;
}

const struct verb verb_version = {
    .name = "version",
    .synopsis = "version",
    .summary = "the version of lq, and of the library when it is another",
    .examples = "  lq version\n",
    .run = run,
};
