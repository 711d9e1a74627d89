/* Codes, their names and sentences, and the text of a thread's last failure. */
#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_text[LQI_TEXT_MAX];

static const struct {
    int code;
    const char *name, *sentence;
} codes[] = {
    {LQ_OK, "LQ_OK", "done"},
    {LQ_EMPTY, "LQ_EMPTY", "nothing there now"},
    {LQ_TIMEOUT, "LQ_TIMEOUT", "nothing came, or no room was made, in the time given"},
    {LQ_EINVAL, "LQ_EINVAL", "an argument makes no sense"},
    {LQ_ENOMEM, "LQ_ENOMEM", "out of memory"},
    {LQ_EIO, "LQ_EIO", "the system failed a call"},
    {LQ_ENOSPC, "LQ_ENOSPC", "no space left on the disk or in the quota"},
    {LQ_EFULL, "LQ_EFULL", "the queue is full"},
    {LQ_ENOTFOUND, "LQ_ENOTFOUND", "no such queue, consumer or message"},
    {LQ_ENOTQUEUE, "LQ_ENOTQUEUE", "this is not a queue"},
    {LQ_EACCESS, "LQ_EACCESS", "permission denied"},
    {LQ_EVERSION, "LQ_EVERSION", "written by a newer version of libqueue"},
    {LQ_ECORRUPT, "LQ_ECORRUPT", "damaged data"},
    {LQ_EPOISONED, "LQ_EPOISONED", "poisoned: a sync has failed, close all handles and open again"},
    {LQ_EFORKED, "LQ_EFORKED", "the handle belongs to the parent process"},
    {LQ_ELEASE, "LQ_ELEASE", "the message is not leased to this member any more"},
    {LQ_ETOOBIG, "LQ_ETOOBIG", "the message is too large"},
    {LQ_ENAME, "LQ_ENAME", "not a valid name"},
    {LQ_EREADONLY, "LQ_EREADONLY", "read only"},
    {LQ_ELIMIT, "LQ_ELIMIT", "a limit is reached: of open files, handles, consumers, members or ids"},
    {LQ_EBUSY, "LQ_EBUSY", "in use by another process"},
    {LQ_EMISMATCH, "LQ_EMISMATCH", "an option differs from the stored one"},
    {LQ_EUNSUPPORTED, "LQ_EUNSUPPORTED", "not supported by this file system or kernel"},
};

const char *lq_error_name(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code) return codes[i].name;
    return "LQ_?";
}

const char *lq_strerror(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code) return codes[i].sentence;
    return "unknown code";
}

const char *lq_error_text(void)
{
    return last_text;
}

const char *lq_version(void)
{
    return LQ_VERSION;
}

int lqi_fail(int code, const char *format, ...)
{
    /* Formatted aside first: an argument may be the old text itself. */
    char text[LQI_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(last_text, text, sizeof text);
    return code;
}

struct lqi_text lqi_text_keep(void)
{
    struct lqi_text text;
    memcpy(text.bytes, last_text, sizeof text.bytes);
    return text;
}

void lqi_text_put_back(const struct lqi_text *text)
{
    memcpy(last_text, text->bytes, sizeof last_text);
}

int lqi_code_of_errno(int error)
{
    switch (error) {
    case ENOSPC: case EDQUOT: case EFBIG: return LQ_ENOSPC;
    case EMFILE: case ENFILE: return LQ_ELIMIT;
    case EACCES: case EPERM: return LQ_EACCESS;
    case ENOENT: return LQ_ENOTFOUND;
    case EROFS: return LQ_EREADONLY;
    case ENOMEM: return LQ_ENOMEM;
    case ENOTDIR: case EISDIR: case ELOOP: case EMLINK: case ENXIO: return LQ_ENOTQUEUE;
    case EOPNOTSUPP: case ENOSYS: return LQ_EUNSUPPORTED;
    default: return LQ_EIO;
    }
}

int lqi_fail_errno(int error, const char *doing, const char *file, int64_t offset)
{
    char why[128];
    int code = lqi_code_of_errno(error);

    /* The GNU strerror_r may return a static text instead of filling ours. */
    const char *reason = strerror_r(error, why, sizeof why);
    /* A path may be longer than the text: the reason must not be what is cut off. */
    if (offset < 0) return lqi_fail(code, "%s %.300s: %s", doing, file, reason);
    return lqi_fail(code, "%s %.300s at byte %" PRId64 ": %s", doing, file, offset, reason);
}
