/* See ledger.h. */
#include "ledger.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bytes.h"
#include "wait.h"

enum { LOST_US = 5000000 }; /* what has not come by then does not come any more */

struct ledger *ledger_new(void)
{
    struct ledger *ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ledger == MAP_FAILED) abort();
    return ledger;
}

void ledger_clear(struct ledger *ledger)
{
    memset(ledger, 0, sizeof *ledger);
}

void ledger_wrong(struct ledger *ledger, const char *format, ...)
{
    va_list arguments;
    if (ledger->wrong[0]) return;
    va_start(arguments, format);
    vsnprintf(ledger->wrong, sizeof ledger->wrong, format, arguments);
    va_end(arguments);
}

/* ---- bodies -------------------------------------------------------------- */

struct body {
    uint32_t number, size;
};

static uint8_t filler(uint32_t number, uint32_t i)
{
    return (uint8_t)(number * 31 + i / 32); /* long runs, for compression to bite on */
}

static void make_body(uint8_t *to, uint32_t number, uint32_t size)
{
    struct body body = {number, size};
    memcpy(to, &body, sizeof body);
    for (uint32_t i = sizeof body; i < size; i++) to[i] = filler(number, i);
}

static struct ledger_entry *entry_of(struct ledger *ledger, const lq_message *message, uint32_t *number_out)
{
    const uint8_t *bytes = message->data;
    struct body body = {0};
    bool good = message->size >= sizeof body;

    if (good) memcpy(&body, bytes, sizeof body);
    good = good && body.size == message->size && body.number < LEDGER_MESSAGES;
    for (uint32_t i = sizeof body; good && i < body.size; i++) good = bytes[i] == filler(body.number, i);
    if (!good) {
        ledger_wrong(ledger, "id %" PRIu64 " has a wrong body of %zu bytes", message->id, message->size);
        return NULL;
    }
    *number_out = body.number;
    return &ledger->entries[body.number];
}

/* ---- putting ------------------------------------------------------------- */

void ledger_announce(struct ledger *ledger, struct ledger_batch *batch, uint32_t size, uint32_t count)
{
    static uint8_t bytes[1 << 18];
    uint32_t first = atomic_fetch_add(&ledger->next, count);

    if (size < sizeof(struct body)) size = sizeof(struct body);
    if (first + count > LEDGER_MESSAGES || count > LEDGER_BATCH || (uint64_t)size * count > sizeof bytes) abort();
    batch->first = first;
    batch->count = count;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *body = bytes + (size_t)i * size;
        make_body(body, first + i, size);
        batch->messages[i] = (lq_message){.data = body, .size = size};
        ledger->entries[first + i].batch = first;
        atomic_store(&ledger->entries[first + i].fate, LEDGER_PUTTING);
    }
}

int ledger_put_announced(lq_queue *queue, const struct ledger_batch *batch)
{
    uint64_t id;
    return batch->count == 1 ? lq_put(queue, batch->messages[0].data, batch->messages[0].size, &id)
                             : lq_put_batch(queue, batch->messages, batch->count, &id);
}

void ledger_conclude(struct ledger *ledger, const struct ledger_batch *batch, int result)
{
    if (result == LQ_EBUSY || result == LQ_EPOISONED) return; /* it is there, or not */
    for (uint32_t i = 0; i < batch->count; i++)
        atomic_store(&ledger->entries[batch->first + i].fate, result ? LEDGER_ABSENT : LEDGER_ACCEPTED);
}

int ledger_put(struct ledger *ledger, lq_queue *queue, uint32_t size, uint32_t count)
{
    struct ledger_batch batch;
    ledger_announce(ledger, &batch, size, count);
    int err = ledger_put_announced(queue, &batch);
    ledger_conclude(ledger, &batch, err);
    return err;
}

/* ---- taking -------------------------------------------------------------- */

static bool take_in(struct ledger *ledger, struct ledger_held *held)
{
    const lq_message *message = &held->messages[held->count];
    struct ledger_entry *entry = entry_of(ledger, message, &held->numbers[held->count]);
    if (!entry) return false;
    held->count++;
    if (atomic_load(&entry->ack) == LEDGER_ACKED)
        ledger_wrong(ledger, "id %" PRIu64 " was acked, and comes again (attempt %" PRIu32 ")", message->id, message->attempts);
    if (message->attempts <= atomic_load(&entry->handed))
        ledger_wrong(ledger, "id %" PRIu64 " was handed out %u times before, and comes with attempt %" PRIu32, message->id,
                     atomic_load(&entry->handed), message->attempts);
    atomic_store(&entry->handed, (uint16_t)message->attempts);
    return true;
}

bool ledger_got(struct ledger *ledger, struct ledger_held *held, size_t count)
{
    bool good = true;
    while (good && count-- > 0) good = take_in(ledger, held);
    return good;
}

int ledger_get(struct ledger *ledger, lq_consumer *pool, struct ledger_held *held, int64_t timeout_ms)
{
    if (held->count == LEDGER_HELD) return LQ_EMPTY;
    int err = lq_get(pool, &held->messages[held->count], timeout_ms);
    if (err) return err;
    return ledger_got(ledger, held, 1) ? LQ_OK : LQ_ECORRUPT;
}

static void drop(struct ledger_held *held, size_t count)
{
    held->count -= count;
    memmove(held->messages, held->messages + count, held->count * sizeof *held->messages);
    memmove(held->numbers, held->numbers + count, held->count * sizeof *held->numbers);
}

void ledger_acking(struct ledger *ledger, const struct ledger_held *held, size_t count)
{
    for (size_t i = 0; i < count; i++) atomic_store(&ledger->entries[held->numbers[i]].ack, LEDGER_ACKING);
}

void ledger_acked(struct ledger *ledger, struct ledger_held *held, size_t count)
{
    for (size_t i = 0; i < count; i++) atomic_store(&ledger->entries[held->numbers[i]].ack, LEDGER_ACKED);
    drop(held, count);
}

void ledger_releasing(struct ledger *ledger, const struct ledger_held *held, size_t count)
{
    /* The attempt did not happen; or did, if death comes first. */
    for (size_t i = 0; i < count; i++) atomic_fetch_sub(&ledger->entries[held->numbers[i]].handed, 1);
}

void ledger_released(struct ledger_held *held, size_t count)
{
    drop(held, count);
}

int ledger_ack(struct ledger *ledger, lq_consumer *pool, struct ledger_held *held, size_t count)
{
    ledger_acking(ledger, held, count);
    int err = count == 1 ? lq_ack(pool, held->messages) : lq_ack_batch(pool, held->messages, count);
    if (!err) ledger_acked(ledger, held, count);
    return err;
}

/* ---- the witness --------------------------------------------------------- */

int ledger_witness_open(struct ledger_witness *witness, const char *path, const lq_options *options)
{
    const lq_consumer_options window = {.size = sizeof window, .window = 128};
    int err = lq_open(path, options, &witness->queue);
    if (!err) err = lq_consumer_open(witness->queue, "pool", &window, &witness->pool);
    if (!err) err = lq_consumer_open(witness->queue, "keep", &window, &witness->keep);
    return err;
}

int ledger_witness_close(struct ledger_witness *witness)
{
    int err = lq_consumer_close(witness->pool);
    int second = lq_consumer_close(witness->keep), third = lq_close(witness->queue);
    witness->queue = NULL;
    witness->pool = witness->keep = NULL;
    return err ? err : second ? second : third;
}

static void keep_one(struct ledger_witness *witness, const lq_message *message)
{
    struct ledger *ledger = witness->ledger;
    uint32_t number;
    struct ledger_entry *entry = entry_of(ledger, message, &number);

    if (message->id == witness->kept && entry && entry->id == message->id) return; /* our own ack may not have been saved */
    if (message->id != witness->kept + 1)
        ledger_wrong(ledger, "id %" PRIu64 " comes behind id %" PRIu64, message->id, witness->kept);
    witness->kept = message->id;
    if (!entry) return;
    if (entry->id) ledger_wrong(ledger, "message %" PRIu32 " is id %" PRIu64 " and id %" PRIu64, number, entry->id, message->id);
    if (atomic_load(&entry->fate) == LEDGER_ABSENT || atomic_load(&entry->fate) == LEDGER_NOTHING)
        ledger_wrong(ledger, "message %" PRIu32 ", id %" PRIu64 ", was not accepted and is there", number, message->id);
    entry->id = message->id;
}

int ledger_look(struct ledger_witness *witness)
{
    lq_message message;
    int err;
    while ((err = lq_poll(witness->keep, &message)) == LQ_OK) {
        keep_one(witness, &message);
        err = lq_ack(witness->keep, &message);
        if (err) return err;
    }
    return err == LQ_EMPTY ? LQ_OK : err;
}

/* What of the log is known now: nobody is putting, and "keep" has seen a message that was put after all others. */
static void settle_fates(struct ledger_witness *witness, uint32_t end)
{
    struct ledger *ledger = witness->ledger;
    for (uint32_t number = witness->checked; number < end; number++) {
        struct ledger_entry *entry = &ledger->entries[number];
        const struct ledger_entry *first = &ledger->entries[entry->batch];
        uint8_t fate = atomic_load(&entry->fate);
        if (fate == LEDGER_ACCEPTED && !entry->id) ledger_wrong(ledger, "message %" PRIu32 " was accepted, and is not there", number);
        if (fate != LEDGER_PUTTING) continue;
        if ((entry->id != 0) != (first->id != 0)) ledger_wrong(ledger, "of the batch of message %" PRIu32 " there is a part only", number);
        atomic_store(&entry->fate, entry->id ? LEDGER_ACCEPTED : LEDGER_ABSENT);
    }
    for (uint32_t number = witness->checked; number < end; number++) {
        const struct ledger_entry *entry = &ledger->entries[number], *first = &ledger->entries[entry->batch];
        if (entry->id && entry->id - first->id != number - entry->batch)
            ledger_wrong(ledger, "message %" PRIu32 " of a batch that begins with id %" PRIu64 " is id %" PRIu64, number, first->id, entry->id);
    }
}

/* Messages that have to come to "pool". */
static uint32_t count_due(const struct ledger_witness *witness, uint32_t end)
{
    uint32_t due = 0;
    for (uint32_t number = witness->checked; number < end; number++) {
        const struct ledger_entry *entry = &witness->ledger->entries[number];
        due += atomic_load(&entry->fate) == LEDGER_ACCEPTED && atomic_load(&entry->ack) == LEDGER_OPEN;
    }
    return due;
}

static bool take_all(struct ledger_witness *witness, uint32_t end, int64_t since_us, int64_t *back_us_out)
{
    struct ledger *ledger = witness->ledger;
    struct ledger_held held = {.count = 0};
    int64_t until = lqi_now_us() + LOST_US;

    *back_us_out = 0;
    for (uint32_t due; (due = count_due(witness, end)) > 0;) {
        int err = ledger_get(ledger, witness->pool, &held, 100);
        if (err == LQ_TIMEOUT && lqi_now_us() > until) ledger_wrong(ledger, "%" PRIu32 " messages do not come to those who go on", due);
        else if (err != LQ_OK && err != LQ_TIMEOUT) ledger_wrong(ledger, "get: %s: %s", lq_error_name(err), lq_error_text());
        if (ledger->wrong[0]) return false;
        if (err) continue;
        if (held.messages[0].attempts > 1) *back_us_out = lqi_now_us() - since_us;
        err = ledger_ack(ledger, witness->pool, &held, 1);
        if (err) ledger_wrong(ledger, "ack: %s: %s", lq_error_name(err), lq_error_text());
    }
    return true;
}

bool ledger_check(struct ledger_witness *witness, int64_t since_us, int64_t *back_us_out)
{
    struct ledger *ledger = witness->ledger;
    lq_stats stats = {.size = sizeof stats};

    int err = ledger_put(ledger, witness->queue, 20, 1);
    if (!err) err = ledger_look(witness);
    if (!err) err = lq_get_stats(witness->queue, &stats);
    if (err) ledger_wrong(ledger, "those who go on: %s: %s", lq_error_name(err), lq_error_text());
    uint32_t end = atomic_load(&ledger->next);
    if (!ledger->wrong[0]) settle_fates(witness, end);
    if (!ledger->wrong[0] && (stats.damage || stats.poisoned || stats.recovered_bytes))
        ledger_wrong(ledger, "damage %" PRIu64 ", poisoned %d, %" PRIu64 " bytes cut", stats.damage, stats.poisoned, stats.recovered_bytes);
    if (ledger->wrong[0] || !take_all(witness, end, since_us, back_us_out)) return false;
    witness->checked = end;
    return !ledger->wrong[0];
}
