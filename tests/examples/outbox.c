/* Outbox: a program notes what has to be sent and goes on; sending is done when the network is back, after restarts
 * too, and nothing that was noted is forgotten. */
#include <libqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int code)
{
    if (code == LQ_OK) return;
    fprintf(stderr, "%s: %s\n", lq_error_name(code), lq_error_text());
    exit(1);
}

/* Stands for the network: fails every third time. */
static int send_mail(const char *text, size_t size)
{
    static int calls;
    if (++calls % 3 == 0) return -1;
    printf("sent: %.*s\n", (int)size, text);
    return 0;
}

static void note_mails(void)
{
    lq_queue *outbox;
    must(lq_open("outbox", NULL, &outbox));
    for (int i = 1; i <= 5; i++) {
        char text[50];
        int size = snprintf(text, sizeof text, "invoice %d", i);
        must(lq_put(outbox, text, (size_t)size, NULL)); /* on stable storage when it returns */
    }
    must(lq_close(outbox));
}

static void send_mails(void)
{
    lq_queue *outbox;
    lq_consumer *sender;
    lq_message mail;

    must(lq_open("outbox", NULL, &outbox));
    must(lq_consumer_open(outbox, "sender", NULL, &sender));
    while (lq_poll(sender, &mail) == LQ_OK) {
        if (send_mail(mail.data, mail.size) == 0) must(lq_ack(sender, &mail));
        else must(lq_release(sender, &mail)); /* comes again at once */
    }
    must(lq_consumer_close(sender));
    must(lq_close(outbox));
}

int main(void)
{
    note_mails(); /* these two may as well be two programs, at two times */
    send_mails();
    return 0;
}
