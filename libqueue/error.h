/* Codes and texts. The layer that knows a fact writes it once with lqi_fail();
 * everybody above passes the code on.
 *
 * The text lives in the calling thread, like errno, and not in the queue's
 * handle: so lq_open() and lq_verify() have one too, and threads that share a
 * handle do not overwrite each other's. */
#ifndef LQI_ERROR_H
#define LQI_ERROR_H

#include <stdbool.h>

#include "libqueue.h"

#define LQI_TEXT_MAX 512

/* Sets the calling thread's error text and returns `code`. */
int lqi_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is done on the side, and may fail without anybody's being told, must not leave its text in the place of one that is told. */
struct lqi_text {
    char bytes[LQI_TEXT_MAX];
};
struct lqi_text lqi_text_keep(void);
void lqi_text_put_back(const struct lqi_text *text);

/* The code for an errno, and "doing what, to which file, at which byte: why".
 * `offset` < 0: no byte to name. */
int lqi_fail_errno(int error, const char *doing, const char *file, int64_t offset);
int lqi_code_of_errno(int error);

/* A file cannot be read, now or ever: it is damaged, of a newer version, or gone. Where the machine merely fails there is no
 * such code, and what was not heard must not be taken for what is not there. */
static inline bool lqi_is_unreadable(int code)
{
    return code == LQ_ECORRUPT || code == LQ_EVERSION || code == LQ_ENOTFOUND;
}

#endif
