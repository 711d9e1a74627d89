/* Producers and consumers in processes of their own, killed (-9) at random moments, inside the library or out
 * of it, one by one and all at once, while their parent keeps account, in memory that no death touches, of
 * what was accepted and what was acked. Whatever happens:
 *
 *   nothing accepted is lost, nothing refused appears, no message is there twice
 *   what was acked does not come again; what a living member holds nobody else gets
 *   a consumer of one member sees all ids in order, and batches whole
 *   no survivor is in any one call for more than a second, and no call fails
 *
 * Ring and segments are as small as they may be, so that rolling, lapping and retention never stop.
 *
 *     STRESS_SECONDS=3600 stress_processes     so long, instead of 20 s
 *     STRESS_SEED=7 stress_processes           the same chances again (not the same moments) */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "libqueue.h"
#include "support/child.h"
#include "wait.h"
#include "support/scratch.h"

enum {
    ACCOUNTS = 4 << 20,    /* messages that can be kept account of */
    PLAYERS_MAX = 16,
    GROUPS = 2,            /* consumers: "pool" with several members, "solo" with one */
    BLOCKED_US = 1000000,  /* a call that takes longer is blocked */
    BODY_MAX = 40000,
};

enum role { PRODUCER, POOL, SOLO, READER, SYNCER };
static const char *const role_names[] = {"producer", "pool", "solo", "reader", "syncer"};

enum { UNKNOWN = 0, ACCEPTED = 1, REFUSED = 2 };

struct account { /* of one message, by its number */
    _Atomic uint32_t id;             /* once accepted or seen */
    _Atomic uint8_t fate;
    _Atomic uint8_t acked[GROUPS];   /* ack has returned LQ_OK */
    _Atomic uint8_t acking[GROUPS];  /* ack has been called */
    _Atomic uint32_t holder[GROUPS]; /* incarnation of the process that got it last, 0: given back */
};

struct player {
    _Atomic int64_t since_us;        /* in a call since then; 0: in none */
    _Atomic(const char *) call;
    _Atomic uint32_t incarnation;    /* of the one that lives; 0: none, or about to be killed */
    _Atomic uint64_t done;           /* calls that did something */
};

static struct world {
    _Atomic uint32_t next_number, incarnations, stop;
    _Atomic uint32_t violations;
    char first_violation[512];
    _Atomic uint32_t solo_acked;     /* the last id that solo has acked */
    _Atomic uint64_t accepted, handed, again;
    _Atomic int64_t disk_us;         /* the longest that a sync of one byte has taken */
    struct player players[PLAYERS_MAX];
    _Atomic uint32_t number_of_id[ACCOUNTS + 1];
    struct account accounts[ACCOUNTS];
} *world;

static struct setting {
    char path[4200];
    lq_options options;
    bool stops;              /* processes are stopped: others may be told LQ_EBUSY */
} setting;

/* ---- in every child ----------------------------------------------------- */

struct self {
    struct player *player;
    enum role role;
    uint32_t incarnation;
    uint64_t random;
};

static struct self self;

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64_t next_random(void)
{
    uint64_t z = self.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(next_random() >> 33) % limit;
}

__attribute__((format(printf, 1, 2))) static void violation(const char *format, ...)
{
    char text[sizeof world->first_violation];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (atomic_fetch_add(&world->violations, 1) == 0) memcpy(world->first_violation, text, sizeof text);
    dprintf(2, "%s %u: %s\n", role_names[self.role], self.incarnation, text);
}

/* Says what is being called, for the parent who watches the clock. */
#define CALL(expression) (enter(#expression), leave(expression))

static void enter(const char *what)
{
    atomic_store(&self.player->call, what);
    atomic_store(&self.player->since_us, now_us());
}

static int leave(int result)
{
    atomic_store(&self.player->since_us, 0);
    return result;
}

static bool good(int result, const char *what)
{
    if (result == LQ_OK) return true;
    if (result == LQ_EBUSY && setting.stops) { /* in the midst of something: the next one goes on */
        atomic_store(&self.player->incarnation, 0);
        exit(0);
    }
    violation("%s: %s: %s", what, lq_error_name(result), lq_error_text());
    return false;
}

static lq_queue *open_queue(bool deferred)
{
    lq_queue *queue = NULL;
    lq_options options = setting.options;
    if (deferred) options.flags |= LQ_DEFER_SYNC;
    return good(CALL(lq_open(setting.path, &options, &queue)), "lq_open") ? queue : NULL;
}

/* ---- messages ----------------------------------------------------------- */

struct body {
    uint32_t number, size;        /* of the whole body */
    uint16_t index, count;        /* in its batch */
    uint32_t seed;
};

static uint8_t filler(uint32_t number, uint32_t i)
{
    /* Long runs, for compression to bite on. */
    return (uint8_t)(number * 31 + i / 16);
}

static void make_body(uint8_t *to, uint32_t number, uint32_t size, uint16_t index, uint16_t count)
{
    struct body body = {number, size, index, count, number ^ 0x5eed};
    memcpy(to, &body, sizeof body);
    for (uint32_t i = sizeof body; i < size; i++) to[i] = filler(number, i);
}

static bool read_body(const lq_message *message, struct body *body)
{
    const uint8_t *bytes = message->data;

    if (message->size < sizeof *body) return false;
    memcpy(body, bytes, sizeof *body);
    if (body->size != message->size || body->seed != (body->number ^ 0x5eed) || body->number >= ACCOUNTS) return false;
    for (uint32_t i = sizeof *body; i < body->size; i++)
        if (bytes[i] != filler(body->number, i)) return false;
    return true;
}

/* Whoever sees a message first says which id goes with its number; all must agree. */
static void note_id(uint32_t number, uint64_t id)
{
    uint32_t none = 0, key = number + 1;

    if (id == 0 || id > ACCOUNTS) {
        violation("message %u has id %" PRIu64, number, id);
        return;
    }
    if (!atomic_compare_exchange_strong(&world->number_of_id[id], &none, key) && none != key)
        violation("id %" PRIu64 " is message %u and message %u", id, none - 1, number);
    none = 0;
    if (!atomic_compare_exchange_strong(&world->accounts[number].id, &none, (uint32_t)id) && none != id)
        violation("message %u has id %u and id %" PRIu64, number, none, id);
}

/* Who got it last is another living process: it has been handed out twice. */
static bool held_by_another(uint32_t holder)
{
    if (holder == 0 || holder == self.incarnation) return false;
    for (size_t i = 0; i < PLAYERS_MAX; i++)
        if (atomic_load(&world->players[i].incarnation) == holder) return true;
    return false;
}

static bool check_message(const lq_message *message, struct body *body)
{
    if (!read_body(message, body)) {
        violation("id %" PRIu64 " has a wrong body of %zu bytes", message->id, message->size);
        return false;
    }
    note_id(body->number, message->id);
    if (atomic_load(&world->accounts[body->number].fate) == REFUSED)
        violation("message %u, id %" PRIu64 ", was refused and is there", body->number, message->id);
    return true;
}

/* ---- producers ---------------------------------------------------------- */

static uint32_t random_size(void)
{
    uint32_t kind = below(40), least = (uint32_t)sizeof(struct body);
    if (kind == 0) return least + below(BODY_MAX - least);  /* past the ring */
    if (kind == 1) return 16384 - 512 + below(1024);        /* where the ring's share ends */
    return least + below(kind < 6 ? 4000 : 200);
}

static void settle_accounts(uint32_t first, uint32_t count, int result, uint64_t first_id)
{
    if (result == LQ_EBUSY && setting.stops) return; /* it is there, or not */
    bool sure = result == LQ_OK || result == LQ_TIMEOUT || result == LQ_EFULL || result == LQ_ENOSPC;
    for (uint32_t i = 0; i < count && sure; i++) {
        if (result == LQ_OK) note_id(first + i, first_id + i);
        atomic_store(&world->accounts[first + i].fate, result == LQ_OK ? ACCEPTED : REFUSED);
    }
    if (result == LQ_OK) atomic_fetch_add(&world->accepted, count);
    if (result != LQ_OK && result != LQ_TIMEOUT) violation("put: %s: %s", lq_error_name(result), lq_error_text());
}

static void put_some(lq_queue *queue, uint8_t *bytes)
{
    static lq_message messages[64];
    uint32_t count = below(4) ? 1 : 1 + below(64), first = atomic_fetch_add(&world->next_number, count);
    uint64_t id = 0;
    uint8_t *at = bytes;

    if (first + count > ACCOUNTS) { /* the account is full */
        atomic_store(&world->next_number, ACCOUNTS);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = count == 1 ? random_size() : (uint32_t)sizeof(struct body) + below(below(30) ? 100 : 2000);
        make_body(at, first + i, size, (uint16_t)i, (uint16_t)count);
        messages[i] = (lq_message){.data = at, .size = size};
        at += size;
    }
    int result = count == 1 && below(2) ? CALL(lq_put(queue, messages->data, messages->size, &id))
                                        : CALL(lq_put_batch(queue, messages, count, &id));
    settle_accounts(first, count, result, id);
    atomic_fetch_add(&self.player->done, 1);
}

static int produce(void)
{
    static uint8_t bytes[64 * 2048 + BODY_MAX];

    while (!atomic_load(&world->stop)) {
        lq_queue *queue = open_queue(below(8) == 0);
        if (!queue) return 1;
        for (uint32_t n = 50 + below(2000); n && !atomic_load(&world->stop); n--) put_some(queue, bytes);
        if (!good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

/* ---- consumers ---------------------------------------------------------- */

static bool take_in(const lq_message *message, int group, struct body *body)
{
    if (!check_message(message, body)) return false;
    struct account *account = &world->accounts[body->number];
    if (atomic_load(&account->acked[group]))
        violation("id %" PRIu64 " was acked, and comes again (attempt %u)", message->id, message->attempts);
    uint32_t holder = atomic_exchange(&account->holder[group], self.incarnation);
    if (held_by_another(holder)) violation("id %" PRIu64 " is held by process %u, who lives", message->id, holder);
    if (message->attempts == 0) violation("id %" PRIu64 " comes with attempt 0", message->id);
    if (message->attempts > 1) atomic_fetch_add(&world->again, 1);
    atomic_fetch_add(&world->handed, 1);
    atomic_fetch_add(&self.player->done, 1);
    return true;
}

static void ack(lq_consumer *consumer, const lq_message *message, int group, uint32_t number)
{
    struct account *account = &world->accounts[number];
    atomic_store(&account->acking[group], 1);
    if (good(CALL(lq_ack(consumer, message)), "lq_ack")) atomic_store(&account->acked[group], 1);
}

static void ack_all(lq_consumer *consumer, const lq_message *messages, size_t count, int group, const uint32_t *numbers)
{
    for (size_t i = 0; i < count; i++) atomic_store(&world->accounts[numbers[i]].acking[group], 1);
    if (!good(CALL(lq_ack_batch(consumer, messages, count)), "lq_ack_batch")) return;
    for (size_t i = 0; i < count; i++) atomic_store(&world->accounts[numbers[i]].acked[group], 1);
}

static void release(lq_consumer *consumer, const lq_message *message, int group, uint32_t number)
{
    atomic_store(&world->accounts[number].holder[group], 0);
    good(CALL(lq_release(consumer, message)), "lq_release");
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

    if (below(3)) {
        result = CALL(lq_get(consumer, to, below(2) ? 0 : 100));
        got = result == LQ_OK;
    } else {
        result = CALL(lq_get_batch(consumer, to, 1 + below((uint32_t)room), &got, below(2) ? 0 : 100));
        if (result != LQ_OK) got = 0;
    }
    if (result != LQ_OK && result != LQ_EMPTY && result != LQ_TIMEOUT) return good(result, "lq_get");
    for (size_t i = 0; i < got; i++) {
        struct body body = {0};
        if (!take_in(&to[i], group, &body)) return false;
        held->numbers[held->count++] = body.number;
    }
    return true;
}

static bool pool_step(lq_consumer *consumer, struct held *held)
{
    if (held->count < HELD_MAX && (held->count == 0 || below(3) == 0)) return get_more(consumer, held, 0);

    uint32_t what = below(16), index = below((uint32_t)held->count);
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
    while (!atomic_load(&world->stop)) {
        lq_consumer *consumer;
        struct held held = {.count = 0};
        lq_consumer_options options = {.size = sizeof options, .window = 512,
                                       .flags = below(4) ? 0 : LQ_CONSUMER_SAVE_ACKS};
        lq_queue *queue = open_queue(false);

        if (!queue || !good(CALL(lq_consumer_open(queue, "pool", &options, &consumer)), "lq_consumer_open")) return 1;
        for (uint32_t n = 50 + below(5000); n && !atomic_load(&world->stop); n--)
            if (!pool_step(consumer, &held)) return 1;
        for (size_t i = 0; i < held.count; i++) atomic_store(&world->accounts[held.numbers[i]].holder[0], 0);
        if (!good(CALL(lq_consumer_close(consumer)), "lq_consumer_close")) return 1;
        if (!good(CALL(lq_close(queue)), "lq_close")) return 1;
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
    uint32_t acked = atomic_load(&world->solo_acked);

    if (row->last && message->id != row->last + 1)
        violation("id %" PRIu64 " comes behind id %" PRIu64, message->id, row->last);
    if (!row->last && message->id != acked + 1 && message->id != acked + 2) /* the ack of the dead, or not */
        violation("id %" PRIu64 " comes first, %u was acked last", message->id, acked);
    if (row->last && row->left && body->index + row->left != body->count)
        violation("id %" PRIu64 ", %u of a batch of %u, comes where %u more of another are missing", message->id,
                  body->index, body->count, row->left);
    if (row->last && !row->left && body->index != 0)
        violation("id %" PRIu64 " is %u of a batch without a beginning", message->id, body->index);
    row->left = (uint16_t)(body->count - body->index - 1);
    row->last = message->id;
}

static int solo_round(lq_consumer *consumer)
{
    struct row row = {0};

    for (uint32_t n = 50 + below(20000); n && !atomic_load(&world->stop); n--) {
        lq_message message;
        struct body body;
        int result = CALL(lq_get(consumer, &message, 100));
        if (result == LQ_TIMEOUT) continue;
        if (!good(result, "lq_get") || !take_in(&message, 1, &body)) return 1;
        check_row(&row, &message, &body);
        ack(consumer, &message, 1, body.number);
        atomic_store(&world->solo_acked, (uint32_t)message.id);
    }
    return 0;
}

static int consume_alone(void)
{
    while (!atomic_load(&world->stop)) {
        lq_consumer *consumer;
        lq_queue *queue = open_queue(false);
        if (!queue || !good(CALL(lq_consumer_open(queue, "solo", NULL, &consumer)), "lq_consumer_open")) return 1;
        if (solo_round(consumer)) return 1;
        if (!good(CALL(lq_consumer_close(consumer)), "lq_consumer_close")) return 1;
        if (!good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

/* ---- those who look on --------------------------------------------------- */

static int read_along(void)
{
    while (!atomic_load(&world->stop)) {
        lq_reader *reader;
        uint64_t last = 0;
        lq_queue *queue = NULL;
        lq_options options = {.size = sizeof options, .flags = setting.stops || below(2) ? LQ_READ_ONLY : 0};

        if (!good(CALL(lq_open(setting.path, &options, &queue)), "lq_open") ||
            !good(CALL(lq_reader_open(queue, &reader)), "lq_reader_open")) return 1;
        for (uint32_t n = 50 + below(5000); n && !atomic_load(&world->stop); n--) {
            lq_message message;
            struct body body;
            int result = CALL(lq_reader_next(reader, &message));
            atomic_fetch_add(&self.player->done, 1);
            if (result == LQ_EMPTY) {
                result = CALL(lq_reader_wait(reader, 20));
                if (result != LQ_TIMEOUT && !good(result, "lq_reader_wait")) return 1;
                continue;
            }
            if (!good(result, "lq_reader_next") || !check_message(&message, &body)) return 1;
            if (message.id <= last) violation("a reader sees id %" PRIu64 " behind %" PRIu64, message.id, last);
            last = message.id;
        }
        lq_reader_close(reader);
        if (!good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

static int sync_now_and_then(void)
{
    while (!atomic_load(&world->stop)) {
        lq_queue *queue = open_queue(false);
        if (!queue) return 1;
        for (uint32_t n = below(20); n && !atomic_load(&world->stop); n--) {
            lq_stats stats = {.size = sizeof stats};
            lq_consumer_stats consumer = {.size = sizeof consumer};
            if (!good(CALL(lq_sync(queue)), "lq_sync")) return 1;
            if (!good(CALL(lq_get_stats(queue, &stats)), "lq_get_stats")) return 1;
            if (stats.damage || stats.poisoned || stats.recovered_bytes > stats.appended)
                violation("damage %" PRIu64 ", poisoned %d, recovered %" PRIu64, stats.damage, stats.poisoned, stats.recovered_bytes);
            int result = CALL(lq_get_consumer_stats(queue, "solo", &consumer));
            if (result != LQ_ENOTFOUND && !good(result, "lq_get_consumer_stats")) return 1;
            if (consumer.dropped) violation("%" PRIu64 " messages of solo were dropped", consumer.dropped);
            atomic_fetch_add(&self.player->done, 1);
            nanosleep(&(struct timespec){0, below(5000) * 1000}, NULL);
        }
        if (!good(CALL(lq_close(queue)), "lq_close")) return 1;
    }
    return 0;
}

/* How slow the disk itself is meanwhile: a call may have to wait for a few syncs. */
static int test_the_disk(void *context)
{
    char path[4300];
    (void)context;
    alarm(0);
    snprintf(path, sizeof path, "%s.canary", setting.path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && !atomic_load(&world->stop)) {
        int64_t start = now_us();
        if (pwrite(fd, &start, sizeof start, 0) < 0 || fdatasync(fd) < 0) return 1;
        if (now_us() - start > atomic_load(&world->disk_us)) atomic_store(&world->disk_us, now_us() - start);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return 1;
}

/* ---- the parent ---------------------------------------------------------- */

static const enum role cast[] = {PRODUCER, PRODUCER, PRODUCER, POOL, POOL, POOL, SOLO, READER, SYNCER};
enum { CAST = sizeof cast / sizeof *cast };

static struct {
    pid_t pids[PLAYERS_MAX], canary;
    uint64_t kills, storms, spawned;
    int64_t longest_us;
    const char *longest_call;
} play;

static int perform(void *context)
{
    static int (*const parts[])(void) = {produce, consume_in_pool, consume_alone, read_along, sync_now_and_then};
    (void)context;
    alarm(0);
    return parts[self.role]();
}

static void spawn(size_t index)
{
    struct self parent = self;
    struct player *player = &world->players[index];

    self = (struct self){.player = player, .role = cast[index], .incarnation = atomic_fetch_add(&world->incarnations, 1) + 1,
                         .random = next_random()};
    atomic_store(&player->since_us, 0);
    atomic_store(&player->incarnation, self.incarnation);
    play.pids[index] = child_start(perform, NULL);
    parent.random = next_random();
    self = parent;
    assert_true(play.pids[index] > 0);
    play.spawned++;
}

static void doom(size_t index)
{
    /* Before the signal: from now on its leases may go to others. */
    atomic_store(&world->players[index].incarnation, 0);
    kill(play.pids[index], SIGKILL);
}

static void bury(size_t index)
{
    int result = child_wait(play.pids[index]);
    if (result != 100 + SIGKILL && result != 0)
        violation("a %s ended with %d", role_names[cast[index]], result);
    play.pids[index] = 0;
    play.kills++;
}

static void kill_all(void)
{
    for (size_t i = 0; i < CAST; i++) doom(i);
    for (size_t i = 0; i < CAST; i++) bury(i);
    play.storms++;
}

static void watch_the_clock(void)
{
    int64_t now = now_us();
    for (size_t i = 0; i < CAST; i++) {
        struct player *player = &world->players[i];
        int64_t since = atomic_load(&player->since_us);
        if (!since || !play.pids[i]) continue;
        if (now - since > play.longest_us) {
            play.longest_us = now - since;
            play.longest_call = atomic_load(&player->call);
        }
        if (now - since > BLOCKED_US + 4 * atomic_load(&world->disk_us)) {
            violation("a %s has been in %s for %" PRId64 " ms", role_names[cast[i]], atomic_load(&player->call), (now - since) / 1000);
            atomic_store(&player->since_us, 0);
        }
    }
}

/* Sleeps so long, watching. */
static void let_them_play(int64_t us)
{
    int64_t until = now_us() + us;
    for (;;) {
        watch_the_clock();
        int64_t left = until - now_us();
        if (left <= 0) return;
        if (left > 20000) left = 20000;
        nanosleep(&(struct timespec){0, left * 1000}, NULL);
    }
}

static void storm(int64_t until)
{
    play.canary = child_start(test_the_disk, NULL);
    for (size_t i = 0; i < CAST; i++) spawn(i);
    while (now_us() < until && !atomic_load(&world->violations)) {
        if (below(60) == 0) {
            kill_all();
            for (size_t i = 0; i < CAST; i++) spawn(i);
        }
        let_them_play((int64_t)1 << below(16));
        size_t victim = below(CAST);
        doom(victim);
        bury(victim);
        spawn(victim);
    }
}

/* Everybody is dead: opens the queue, and sees to it that the rest of what was accepted comes. */
static int drain_group(lq_queue *queue, const char *name, int group)
{
    lq_consumer *consumer;
    lq_message message;
    struct body body;
    struct row row = {0};
    int result;

    if (!good(lq_consumer_open(queue, name, NULL, &consumer), "lq_consumer_open")) return 1;
    while ((result = lq_get(consumer, &message, 200)) == LQ_OK) {
        if (!take_in(&message, group, &body)) return 1;
        if (group == 1) check_row(&row, &message, &body);
        ack(consumer, &message, group, body.number);
    }
    if (result != LQ_TIMEOUT && !good(result, "lq_get")) return 1;
    return good(lq_consumer_close(consumer), "lq_consumer_close") ? 0 : 1;
}

static int drain(void *context)
{
    (void)context;
    alarm(300);
    lq_queue *queue = open_queue(false);
    if (!queue || drain_group(queue, "pool", 0) || drain_group(queue, "solo", 1)) return 1;
    if (!good(lq_close(queue), "lq_close")) return 1;
    int result = lq_verify(setting.path, 0, NULL, NULL, NULL);
    return good(result, "lq_verify") ? 0 : 1;
}

static void check_accounts(void)
{
    uint32_t end = atomic_load(&world->next_number);
    if (end > ACCOUNTS) end = ACCOUNTS;
    for (uint32_t number = 0; number < end; number++) {
        struct account *account = &world->accounts[number];
        if (atomic_load(&account->fate) != ACCEPTED) continue;
        for (int group = 0; group < GROUPS; group++)
            if (!atomic_load(&account->acked[group]) && !atomic_load(&account->acking[group])) {
                violation("message %u, id %u, was accepted and never came to %s", number, atomic_load(&account->id),
                          group ? "solo" : "pool");
                return;
            }
    }
}

static int prepare(void *context)
{
    lq_consumer *consumer;
    lq_consumer_options options = {.size = sizeof options, .window = 512};
    (void)context;
    lq_queue *queue = open_queue(false);
    CHECK(queue);
    CHECK(lq_consumer_open(queue, "pool", &options, &consumer) == LQ_OK);
    CHECK(lq_consumer_close(consumer) == LQ_OK);
    CHECK(lq_consumer_open(queue, "solo", NULL, &consumer) == LQ_OK);
    CHECK(lq_consumer_close(consumer) == LQ_OK);
    CHECK(lq_close(queue) == LQ_OK);
    return 0;
}

static double seconds_per_test(unsigned tests)
{
    const char *seconds = getenv("STRESS_SECONDS");
    return (seconds ? strtod(seconds, NULL) : 20) / tests;
}

static void begin(const char *where, int sync, int compression)
{
    const char *seed = getenv("STRESS_SEED");

    memset(&setting, 0, sizeof setting);
    memset(&play, 0, sizeof play);
    snprintf(setting.path, sizeof setting.path, "%s/queue", where);
    setting.options = (lq_options){.size = sizeof setting.options, .sync = sync, .sync_interval_ms = sync == LQ_SYNC_INTERVAL ? 5 : 0,
                                   .segment_size = 65536, .ring_size = 65536, .size_max = 1 << 20,
                                   .full = LQ_FULL_BLOCK, .full_timeout_ms = 50, .compression = compression};
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(world != MAP_FAILED);
    self = (struct self){.player = &world->players[PLAYERS_MAX - 1], .role = SYNCER,
                         .random = (seed ? strtoull(seed, NULL, 10) : (uint64_t)now_us()) + (uint64_t)sync};
    assert_int_equal(child_run(prepare, NULL), 0);
}

static void end(void)
{
    uint32_t violations = atomic_load(&world->violations);

    printf("%" PRIu64 " kills, %" PRIu64 " of all at once; %" PRIu64 " accepted, %" PRIu64 " handed out, %" PRIu64
           " of them again; longest call %" PRId64 " ms in %s, longest sync of the disk %" PRId64 " ms\n", play.kills, play.storms, atomic_load(&world->accepted),
           atomic_load(&world->handed), atomic_load(&world->again), play.longest_us / 1000, play.longest_call ? play.longest_call : "-",
           atomic_load(&world->disk_us) / 1000);
    if (violations) fail_msg("%u violations, the first: %s", violations, world->first_violation);
    assert_true(atomic_load(&world->accepted) > 0);
    munmap(world, sizeof *world);
}

static void storm_with(void **state, int sync, int compression)
{
    begin(*state, sync, compression);
    storm(now_us() + (int64_t)(seconds_per_test(5) * 1e6));
    kill_all();
    child_kill(play.canary);
    if (!atomic_load(&world->violations)) {
        assert_int_equal(child_run(drain, NULL), 0);
        check_accounts();
    }
    end();
}

static void nothing_is_lost_or_doubled_by_kills_when_every_put_is_synced(void **state)
{
    storm_with(state, LQ_SYNC_ALWAYS, 0);
}

static void nothing_is_lost_or_doubled_by_kills_when_synced_by_interval(void **state)
{
    storm_with(state, LQ_SYNC_INTERVAL, 0);
}

static void nothing_is_lost_or_doubled_by_kills_when_never_synced(void **state)
{
    storm_with(state, LQ_SYNC_NEVER, 0);
}

static void nothing_is_lost_or_doubled_by_kills_when_compressed(void **state)
{
    storm_with(state, LQ_SYNC_NEVER, 1);
}

/* ---- stopped, not killed -------------------------------------------------- */

enum { PATIENCE_MS = 300, LONG_STOP_US = 1200000 };

/* Who has not come out of a call for so long, though he has not been stopped? */
static void watch_the_others(size_t stopped, int64_t since_us)
{
    for (size_t i = 0; i < CAST; i++) {
        int64_t since = atomic_load(&world->players[i].since_us), now = now_us();
        if (i == stopped || !since) continue;
        /* A call may meet a few locks, one after the other; a reader, which takes none, gets no extra time. */
        int64_t bound = (cast[i] == READER ? BLOCKED_US / 2 : 4 * PATIENCE_MS * 1000) + 4 * atomic_load(&world->disk_us);
        if (now - since > bound)
            violation("a %s has been in %s for %" PRId64 " ms, a %s is stopped since %" PRId64 " ms", role_names[cast[i]],
                      atomic_load(&world->players[i].call), (now - since) / 1000, role_names[cast[stopped]], (now - since_us) / 1000);
    }
}

static void revive(void)
{
    for (size_t i = 0; i < CAST; i++) {
        if (play.pids[i] && waitpid(play.pids[i], NULL, WNOHANG) == play.pids[i]) spawn(i);
    }
}

static void stop_for(size_t victim, int64_t us)
{
    uint64_t before = 0, after = 0;
    int64_t start = now_us();

    kill(play.pids[victim], SIGSTOP);
    for (size_t i = 0; i < CAST; i++)
        if (cast[i] == READER) before += atomic_load(&world->players[i].done);
    while (now_us() - start < us && !atomic_load(&world->violations)) {
        revive();
        watch_the_others(victim, start);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    for (size_t i = 0; i < CAST; i++)
        if (cast[i] == READER) after += atomic_load(&world->players[i].done);
    if (us == LONG_STOP_US && cast[victim] != READER && after == before) violation("no reader has come to read anything for %d ms", LONG_STOP_US / 1000);
    /* Its own call begins anew: it was not blocked, but stopped. */
    if (atomic_load(&world->players[victim].since_us)) atomic_store(&world->players[victim].since_us, now_us());
    kill(play.pids[victim], SIGCONT);
}

static void a_stopped_process_blocks_no_reader_and_others_for_no_longer_than_their_patience(void **state)
{
    int64_t until = now_us() + (int64_t)(seconds_per_test(5) * 1e6);

    begin(*state, LQ_SYNC_ALWAYS, 0);
    setting.stops = true;
    lqi_lock_patience_ms = PATIENCE_MS;

    play.canary = child_start(test_the_disk, NULL);
    for (size_t i = 0; i < CAST; i++) spawn(i);
    for (unsigned round = 0; now_us() < until && !atomic_load(&world->violations); round++) {
        let_them_play((int64_t)1 << below(16));
        revive();
        /* Whoever it is. Mostly for a moment, so that many places are met. */
        stop_for(below(CAST), round % 8 == 7 ? LONG_STOP_US : 50000);
    }
    kill_all();
    child_kill(play.canary);
    end();
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_never_synced),
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_synced_by_interval),
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_every_put_is_synced),
        IN_SCRATCH(nothing_is_lost_or_doubled_by_kills_when_compressed),
        IN_SCRATCH(a_stopped_process_blocks_no_reader_and_others_for_no_longer_than_their_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
