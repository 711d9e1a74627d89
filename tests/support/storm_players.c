/* What the processes of the storm do. See storm.h. */
#include "storm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- producers ---------------------------------------------------------- */

static uint32_t random_size(void)
{
    uint32_t kind = storm_below(40), least = (uint32_t)sizeof(struct body);
    if (kind == 0) return least + storm_below(BODY_MAX - least);  /* past the ring */
    if (kind == 1) return 16384 - 512 + storm_below(1024);        /* where the ring's share ends */
    return least + storm_below(kind < 6 ? 4000 : 200);
}

static void settle_accounts(uint32_t first, uint32_t count, int result, uint64_t first_id)
{
    if (result == LQ_EBUSY && storm_setting.stops) return; /* it is there, or not */
    bool sure = result == LQ_OK || result == LQ_TIMEOUT || result == LQ_EFULL || result == LQ_ENOSPC;
    for (uint32_t i = 0; i < count && sure; i++) {
        if (result == LQ_OK) storm_note_id(first + i, first_id + i);
        atomic_store(&storm_world->accounts[first + i].fate, result == LQ_OK ? ACCEPTED : REFUSED);
    }
    if (result == LQ_OK) atomic_fetch_add(&storm_world->accepted, count);
    if (result != LQ_OK && result != LQ_TIMEOUT) storm_violation("put: %s: %s", lq_error_name(result), lq_error_text());
}

static void put_some(lq_queue *queue, uint8_t *bytes)
{
    static lq_message messages[64];
    uint32_t count = storm_below(4) ? 1 : 1 + storm_below(64), first = atomic_fetch_add(&storm_world->next_number, count);
    uint64_t id = 0;
    uint8_t *at = bytes;

    if (first + count > ACCOUNTS) { /* the account is full */
        atomic_store(&storm_world->next_number, ACCOUNTS);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = count == 1 ? random_size() : (uint32_t)sizeof(struct body) + storm_below(storm_below(30) ? 100 : 2000);
        storm_make_body(at, first + i, size, (uint16_t)i, (uint16_t)count);
        messages[i] = (lq_message){.data = at, .size = size};
        at += size;
    }
    int result = count == 1 && storm_below(2) ? CALL(lq_put(queue, messages->data, messages->size, &id))
                                        : CALL(lq_put_batch(queue, messages, count, &id));
    settle_accounts(first, count, result, id);
    atomic_fetch_add(&storm_self.player->done, 1);
}

static int produce(void)
{
    static uint8_t bytes[64 * 2048 + BODY_MAX];

    while (!atomic_load(&storm_world->stop)) {
        lq_queue *queue = storm_open_queue(storm_below(8) == 0);
        if (!queue) return 1;
        for (uint32_t n = 50 + storm_below(2000); n && !atomic_load(&storm_world->stop); n--) put_some(queue, bytes);
        if (!storm_good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

/* ---- consumers ---------------------------------------------------------- */

static bool take_in(const lq_message *message, int group, struct body *body)
{
    if (!storm_check_message(message, body)) return false;
    struct account *account = &storm_world->accounts[body->number];
    if (atomic_load(&account->acked[group]))
        storm_violation("id %" PRIu64 " was acked, and comes again (attempt %u)", message->id, message->attempts);
    uint32_t holder = atomic_exchange(&account->holder[group], storm_self.incarnation);
    if (storm_held_by_another(holder)) storm_violation("id %" PRIu64 " is held by process %u, who lives", message->id, holder);
    if (message->attempts == 0) storm_violation("id %" PRIu64 " comes with attempt 0", message->id);
    if (message->attempts > 1) atomic_fetch_add(&storm_world->again, 1);
    atomic_fetch_add(&storm_world->handed, 1);
    atomic_fetch_add(&storm_self.player->done, 1);
    return true;
}

static void ack(lq_consumer *consumer, const lq_message *message, int group, uint32_t number)
{
    struct account *account = &storm_world->accounts[number];
    atomic_store(&account->acking[group], 1);
    if (storm_good(CALL(lq_ack(consumer, message)), "lq_ack")) atomic_store(&account->acked[group], 1);
}

static void ack_all(lq_consumer *consumer, const lq_message *messages, size_t count, int group, const uint32_t *numbers)
{
    for (size_t i = 0; i < count; i++) atomic_store(&storm_world->accounts[numbers[i]].acking[group], 1);
    if (!storm_good(CALL(lq_ack_batch(consumer, messages, count)), "lq_ack_batch")) return;
    for (size_t i = 0; i < count; i++) atomic_store(&storm_world->accounts[numbers[i]].acked[group], 1);
}

static void release(lq_consumer *consumer, const lq_message *message, int group, uint32_t number)
{
    atomic_store(&storm_world->accounts[number].holder[group], 0);
    storm_good(CALL(lq_release(consumer, message)), "lq_release");
}

enum { HELD_MAX = 32 };

struct held {
    lq_message messages[HELD_MAX];
    uint32_t numbers[HELD_MAX];
    size_t count;
};

static void drop_held(struct held *held, size_t index)
{
    held->count--;
    held->messages[index] = held->messages[held->count];
    held->numbers[index] = held->numbers[held->count];
}

static bool get_more(lq_consumer *consumer, struct held *held, int group)
{
    size_t got = 0, room = HELD_MAX - held->count;
    lq_message *to = held->messages + held->count;
    int result;

    if (storm_below(3)) {
        result = CALL(lq_get(consumer, to, storm_below(2) ? 0 : 100));
        got = result == LQ_OK;
    } else {
        result = CALL(lq_get_batch(consumer, to, 1 + storm_below((uint32_t)room), &got, storm_below(2) ? 0 : 100));
        if (result != LQ_OK) got = 0;
    }
    if (result != LQ_OK && result != LQ_EMPTY && result != LQ_TIMEOUT) return storm_good(result, "lq_get");
    for (size_t i = 0; i < got; i++) {
        struct body body = {0};
        if (!take_in(&to[i], group, &body)) return false;
        held->numbers[held->count++] = body.number;
    }
    return true;
}

static bool pool_step(lq_consumer *consumer, struct held *held)
{
    if (held->count < HELD_MAX && (held->count == 0 || storm_below(3) == 0)) return get_more(consumer, held, 0);

    uint32_t what = storm_below(16), index = storm_below((uint32_t)held->count);
    if (what == 0) {
        release(consumer, &held->messages[index], 0, held->numbers[index]);
        drop_held(held, index);
    } else if (what < 12) {
        ack(consumer, &held->messages[index], 0, held->numbers[index]);
        drop_held(held, index);
    } else {
        ack_all(consumer, held->messages, held->count, 0, held->numbers);
        held->count = 0;
    }
    return true;
}

static int consume_in_pool(void)
{
    while (!atomic_load(&storm_world->stop)) {
        lq_consumer *consumer;
        struct held held = {.count = 0};
        lq_consumer_options options = {.size = sizeof options, .window = 512,
                                       .flags = storm_below(4) ? 0 : LQ_CONSUMER_SAVE_ACKS};
        lq_queue *queue = storm_open_queue(false);

        if (!queue || !storm_good(CALL(lq_consumer_open(queue, "pool", &options, &consumer)), "lq_consumer_open")) return 1;
        for (uint32_t n = 50 + storm_below(5000); n && !atomic_load(&storm_world->stop); n--)
            if (!pool_step(consumer, &held)) return 1;
        for (size_t i = 0; i < held.count; i++) atomic_store(&storm_world->accounts[held.numbers[i]].holder[0], 0);
        if (!storm_good(CALL(lq_consumer_close(consumer)), "lq_consumer_close")) return 1;
        if (!storm_good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

/* One member, acking in order: it sees every id, one after the other. */
struct row {
    uint64_t last;        /* id; 0 before the first */
    uint16_t left;        /* messages of the present batch to come */
};

static void check_row(struct row *row, const lq_message *message, const struct body *body)
{
    uint32_t acked = atomic_load(&storm_world->solo_acked);

    if (row->last && message->id != row->last + 1)
        storm_violation("id %" PRIu64 " comes behind id %" PRIu64, message->id, row->last);
    if (!row->last && message->id != acked + 1 && message->id != acked + 2) /* the ack of the dead, or not */
        storm_violation("id %" PRIu64 " comes first, %u was acked last", message->id, acked);
    if (row->last && row->left && body->index + row->left != body->count)
        storm_violation("id %" PRIu64 ", %u of a batch of %u, comes where %u more of another are missing", message->id,
                  body->index, body->count, row->left);
    if (row->last && !row->left && body->index != 0)
        storm_violation("id %" PRIu64 " is %u of a batch without a beginning", message->id, body->index);
    row->left = (uint16_t)(body->count - body->index - 1);
    row->last = message->id;
}

static int solo_round(lq_consumer *consumer)
{
    struct row row = {0};

    for (uint32_t n = 50 + storm_below(20000); n && !atomic_load(&storm_world->stop); n--) {
        lq_message message;
        struct body body;
        int result = CALL(lq_get(consumer, &message, 100));
        if (result == LQ_TIMEOUT) continue;
        if (!storm_good(result, "lq_get") || !take_in(&message, 1, &body)) return 1;
        check_row(&row, &message, &body);
        ack(consumer, &message, 1, body.number);
        atomic_store(&storm_world->solo_acked, (uint32_t)message.id);
    }
    return 0;
}

static int consume_alone(void)
{
    while (!atomic_load(&storm_world->stop)) {
        lq_consumer *consumer;
        lq_queue *queue = storm_open_queue(false);
        if (!queue || !storm_good(CALL(lq_consumer_open(queue, "solo", NULL, &consumer)), "lq_consumer_open")) return 1;
        if (solo_round(consumer)) return 1;
        if (!storm_good(CALL(lq_consumer_close(consumer)), "lq_consumer_close")) return 1;
        if (!storm_good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

/* ---- those who look on --------------------------------------------------- */

static int read_along(void)
{
    while (!atomic_load(&storm_world->stop)) {
        lq_reader *reader;
        uint64_t last = 0;
        lq_queue *queue = NULL;
        lq_options options = {.size = sizeof options, .flags = storm_setting.stops || storm_below(2) ? LQ_READ_ONLY : 0};

        if (!storm_good(CALL(lq_open(storm_setting.path, &options, &queue)), "lq_open") ||
            !storm_good(CALL(lq_reader_open(queue, &reader)), "lq_reader_open")) return 1;
        for (uint32_t n = 50 + storm_below(5000); n && !atomic_load(&storm_world->stop); n--) {
            lq_message message;
            struct body body;
            int result = CALL(lq_reader_next(reader, &message));
            atomic_fetch_add(&storm_self.player->done, 1);
            if (result == LQ_EMPTY) {
                result = CALL(lq_reader_wait(reader, 20));
                if (result != LQ_TIMEOUT && !storm_good(result, "lq_reader_wait")) return 1;
                continue;
            }
            if (!storm_good(result, "lq_reader_next") || !storm_check_message(&message, &body)) return 1;
            if (message.id <= last) storm_violation("a reader sees id %" PRIu64 " behind %" PRIu64, message.id, last);
            last = message.id;
        }
        lq_reader_close(reader);
        if (!storm_good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

static int sync_now_and_then(void)
{
    while (!atomic_load(&storm_world->stop)) {
        lq_queue *queue = storm_open_queue(false);
        if (!queue) return 1;
        for (uint32_t n = storm_below(20); n && !atomic_load(&storm_world->stop); n--) {
            lq_stats stats = {.size = sizeof stats};
            lq_consumer_stats consumer = {.size = sizeof consumer};
            if (!storm_good(CALL(lq_sync(queue)), "lq_sync")) return 1;
            if (!storm_good(CALL(lq_get_stats(queue, &stats)), "lq_get_stats")) return 1;
            if (stats.damage || stats.poisoned || stats.recovered_bytes > stats.appended)
                storm_violation("damage %" PRIu64 ", poisoned %d, recovered %" PRIu64, stats.damage, stats.poisoned, stats.recovered_bytes);
            int result = CALL(lq_get_consumer_stats(queue, "solo", &consumer));
            if (result != LQ_ENOTFOUND && !storm_good(result, "lq_get_consumer_stats")) return 1;
            if (consumer.dropped) storm_violation("%" PRIu64 " messages of solo were dropped", consumer.dropped);
            atomic_fetch_add(&storm_self.player->done, 1);
            nanosleep(&(struct timespec){0, storm_below(5000) * 1000}, NULL);
        }
        if (!storm_good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

int storm_perform(void *context)
{
    static int (*const parts[])(void) = {produce, consume_in_pool, consume_alone, read_along, sync_now_and_then};
    (void)context;
    alarm(0);
    return parts[storm_self.role]();
}

/* ---- when all is over ------------------------------------------------------ */

/* The rest of what was accepted comes to the group. */
static int drain_group(lq_queue *queue, const char *name, int group)
{
    lq_consumer *consumer;
    lq_message message;
    struct body body;
    struct row row = {0};
    int result;

    if (!storm_good(lq_consumer_open(queue, name, NULL, &consumer), "lq_consumer_open")) return 1;
    while ((result = lq_get(consumer, &message, 200)) == LQ_OK) {
        if (!take_in(&message, group, &body)) return 1;
        if (group == 1) check_row(&row, &message, &body);
        ack(consumer, &message, group, body.number);
    }
    if (result != LQ_TIMEOUT && !storm_good(result, "lq_get")) return 1;
    return storm_good(lq_consumer_close(consumer), "lq_consumer_close") ? 0 : 1;
}

int storm_drain(void *context)
{
    (void)context;
    alarm(300);
    lq_queue *queue = storm_open_queue(false);
    if (!queue || drain_group(queue, "pool", 0) || drain_group(queue, "solo", 1)) return 1;
    if (!storm_good(lq_close(queue), "lq_close")) return 1;
    int result = lq_verify(storm_setting.path, 0, NULL, NULL, NULL);
    return storm_good(result, "lq_verify") ? 0 : 1;
}
