/* What the processes of the demo do. */
#include "demo_actors.h"

#include "stop.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { BATCH = 64, IDLE_MS = 1000, FAILED = 1 };

size_t demo_body(uint64_t id, char body[DEMO_BODY_MAX])
{
    return (size_t)snprintf(body, DEMO_BODY_MAX, "order %" PRIu64 ", %" PRIu64 ".%02" PRIu64 " EUR", id, id * 7 % 997,
                            id * 13 % 100);
}

bool demo_body_is(const lq_message *message)
{
    char body[DEMO_BODY_MAX];
    size_t size = demo_body(message->id, body);

    return message->size == size && memcmp(message->data, body, size) == 0;
}

/* In the child: nobody may outlive the narrator, and signals are not for it. */
static pid_t begin(void)
{
    pid_t narrator = getpid(), pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != narrator) _exit(FAILED);
        signal(SIGINT, SIG_IGN);
    }
    return pid;
}

/* True when it is the next one of an ascending row. */
static void note(struct notebook *notebook, bool is_billing, int member, const lq_message *message, uint64_t *last)
{
    if (!demo_body_is(message) || message->id > DEMO_MESSAGES) _exit(FAILED);
    if (message->id <= *last) notebook->out_of_order++;
    *last = message->id;
    if (is_billing) {
        notebook->billing[message->id]++;
        notebook->billing_count[member]++;
    } else {
        notebook->audit[message->id]++;
        notebook->audit_count++;
    }
}

static int take_all(struct notebook *notebook, const char *path, const char *name, int member)
{
    bool is_billing = strcmp(name, "billing") == 0;
    lq_message messages[BATCH];
    lq_queue *queue;
    lq_consumer *consumer;
    uint64_t last = 0;
    size_t count;

    if (lq_open(path, NULL, &queue) != LQ_OK) return FAILED;
    if (lq_consumer_open(queue, name, NULL, &consumer) != LQ_OK) return FAILED;
    notebook->joined++;
    while (notebook->joined < DEMO_TAKERS) usleep(100);
    while (lq_get_batch(consumer, messages, BATCH, &count, IDLE_MS) == LQ_OK) {
        for (size_t i = 0; i < count; i++) note(notebook, is_billing, member, &messages[i], &last);
        if (lq_ack_batch(consumer, messages, count) != LQ_OK) return FAILED;
        /* The last message ends it; the idle time above is for the other member. */
        if (last == DEMO_MESSAGES) break;
    }
    if (lq_consumer_close(consumer) != LQ_OK) return FAILED;
    return lq_close(queue) == LQ_OK ? 0 : FAILED;
}

pid_t demo_take_all(struct notebook *notebook, const char *path, const char *consumer, int member)
{
    pid_t pid = begin();

    if (pid == 0) _exit(take_all(notebook, path, consumer, member));
    return pid;
}

static int hold(struct notebook *notebook, const char *path, const char *name)
{
    static lq_message messages[DEMO_HELD];
    lq_queue *queue;
    lq_consumer *consumer;
    size_t held = 0, count;

    if (lq_open(path, NULL, &queue) != LQ_OK) return FAILED;
    if (lq_consumer_open(queue, name, NULL, &consumer) != LQ_OK) return FAILED;
    while (held < DEMO_HELD) {
        if (lq_get_batch(consumer, messages + held, DEMO_HELD - held, &count, IDLE_MS) != LQ_OK) return FAILED;
        held += count;
    }
    notebook->held = held;
    for (;;) pause(); /* to be killed */
}

pid_t demo_hold(struct notebook *notebook, const char *path, const char *consumer)
{
    pid_t pid = begin();

    if (pid == 0) _exit(hold(notebook, path, consumer));
    return pid;
}

static int write_on(struct notebook *notebook, const char *path)
{
    char body[DEMO_BODY_MAX];
    lq_stats stats = {.size = sizeof stats};
    lq_queue *queue;
    uint64_t id;

    if (lq_open(path, NULL, &queue) != LQ_OK || lq_get_stats(queue, &stats) != LQ_OK) return FAILED;
    for (id = stats.last_id;;) {
        /* The id is known ahead, for there is one writer: the body can carry it. */
        if (lq_put(queue, body, demo_body(id + 1, body), &id) != LQ_OK) return FAILED;
        notebook->accepted = id;
    }
}

pid_t demo_write(struct notebook *notebook, const char *path)
{
    pid_t pid = begin();

    if (pid == 0) _exit(write_on(notebook, path));
    return pid;
}
