/* Numbers that look random and are the same in every run. */
#ifndef SUPPORT_RANDOM64_H
#define SUPPORT_RANDOM64_H

#include <stdint.h>

/* xorshift64 */
static inline uint64_t random64(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

#endif
