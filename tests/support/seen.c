/* See seen.h. */
#include "seen.h"

#include <stddef.h>

#include "api.h"

int seen_note(void *context, int code, const lq_message *message)
{
    struct seen *seen = context;
    seen->thread = pthread_self();
    if (code) {
        HOLDS(message == NULL);
        atomic_fetch_add(&seen->errors, 1);
        return LQ_SETTLE_ACK;
    }
    if (seen->answer == LQ_SETTLE_KEEP) seen->kept[atomic_load(&seen->calls) % 8] = *message;
    atomic_store(&seen->last_id, message->id);
    atomic_store(&seen->last_us, api_now_us());
    atomic_fetch_add(&seen->calls, 1);
    return seen->answer;
}

bool seen_calls(struct seen *seen, uint32_t calls)
{
    for (int waits = 0; waits < 10000 && atomic_load(&seen->calls) < calls; waits++) api_sleep_ms(1);
    return atomic_load(&seen->calls) >= calls;
}
