#include "flag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"

int lqi_flag_open(int *fd_out)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd >= 0 && fd < 3) { /* a program that closed its standard streams must not find us there */
        int above = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        int error = errno == EINVAL ? EMFILE : errno; /* EINVAL: the limit is 3 or less */
        close(fd);
        errno = error;
        fd = above;
    }
    if (fd < 0) return lqi_fail_errno(errno, "make", "an event descriptor", -1);
    *fd_out = fd;
    return LQ_OK;
}

void lqi_flag_raise(int fd)
{
    const uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {} /* EAGAIN: as high as it goes */
}

void lqi_flag_lower(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {}
}

void lqi_flag_close(int fd)
{
    if (fd >= 0) close(fd);
}
