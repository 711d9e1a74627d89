/* An event loop: messages are one more thing that poll() waits for, beside
 * sockets and timers. Here the other thing is a pipe, through which a child says that it is done. */
#include <libqueue.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void must(int code)
{
    if (code == LQ_OK) return;
    fprintf(stderr, "%s: %s\n", lq_error_name(code), lq_error_text());
    exit(1);
}

static int child(int done)
{
    lq_queue *queue;
    must(lq_open("inbox", NULL, &queue));
    for (int i = 1; i <= 5; i++) {
        char text[20];
        must(lq_put(queue, text, (size_t)snprintf(text, sizeof text, "message %d", i), NULL));
        usleep(20000);
    }
    must(lq_close(queue));
    return write(done, "!", 1) != 1;
}

int main(void)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;
    int ends[2], got = 0, over = 0;

    if (pipe(ends)) return 1;
    if (fork() == 0) return child(ends[1]);
    must(lq_open("inbox", NULL, &queue));
    must(lq_consumer_open(queue, "loop", NULL, &consumer));
    struct pollfd wait[] = {{.fd = lq_fd(consumer), .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};

    while (got < 5 || !over) {
        if (poll(wait, over ? 1 : 2, 10000) <= 0) return 1;
        over |= wait[1].revents & POLLIN;
        while ((wait[0].revents & POLLIN) && lq_poll(consumer, &message) == LQ_OK) { /* until it says that there is no more */
            printf("%.*s\n", (int)message.size, (const char *)message.data);
            must(lq_ack(consumer, &message));
            got++;
        }
    }
    must(lq_consumer_close(consumer));
    must(lq_close(queue));
    return 0;
}
