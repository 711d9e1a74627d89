/* Events: two subscribers each see every event, at their own pace. One has its handler
 * called on the library's thread, the other reads the past when it feels like it. */
#include <libqueue.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(int code)
{
    if (code == LQ_OK) return;
    fprintf(stderr, "%s: %s\n", lq_error_name(code), lq_error_text());
    exit(1);
}

static _Atomic int rung;

static int ring(void *context, int code, const lq_message *event)
{
    (void)context;
    if (code == LQ_OK) {
        printf("alarm: %.*s\n", (int)event->size, (const char *)event->data);
        rung++;
    }
    return LQ_SETTLE_ACK;
}

int main(void)
{
    static const char *const events[] = {"door opened", "light on", "light off", "door closed"};
    lq_queue *house;
    lq_consumer *alarm, *diary;
    lq_message event;

    must(lq_open("house", NULL, &house));
    must(lq_consumer_open(house, "alarm", NULL, &alarm));
    must(lq_consumer_open(house, "diary", NULL, &diary));
    must(lq_notify(alarm, ring, NULL));
    for (int i = 0; i < 4; i++) must(lq_put(house, events[i], strlen(events[i]), NULL));
    while (rung < 4) usleep(1000);

    while (lq_poll(diary, &event) == LQ_OK) {
        printf("diary, event %llu: %.*s\n", (unsigned long long)event.id, (int)event.size, (const char *)event.data);
        must(lq_ack(diary, &event));
    }
    must(lq_consumer_close(alarm)); /* its handler is not running any more when this returns */
    must(lq_consumer_close(diary));
    must(lq_close(house));
    return 0;
}
