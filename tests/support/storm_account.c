/* The account of the storm, and what all processes of it share. See storm.h. */
#include "storm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *const storm_role_names[] = {"producer", "pool", "solo", "reader", "syncer"};
struct world *storm_world;
struct setting storm_setting;
struct self storm_self;

int64_t storm_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

uint64_t storm_random(void)
{
    uint64_t z = storm_self.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

uint32_t storm_below(uint32_t limit)
{
    return (uint32_t)(storm_random() >> 33) % limit;
}

void storm_violation(const char *format, ...)
{
    char text[sizeof storm_world->first_violation];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (atomic_fetch_add(&storm_world->violations, 1) == 0) memcpy(storm_world->first_violation, text, sizeof text);
    dprintf(2, "%s %u: %s\n", storm_role_names[storm_self.role], storm_self.incarnation, text);
}

void storm_enter(const char *what)
{
    atomic_store(&storm_self.player->call, what);
    atomic_store(&storm_self.player->since_us, storm_now_us());
}

int storm_leave(int result)
{
    atomic_store(&storm_self.player->since_us, 0);
    return result;
}

bool storm_good(int result, const char *what)
{
    if (result == LQ_OK) return true;
    if (result == LQ_EBUSY && storm_setting.stops) { /* in the midst of something: the next one goes on */
        atomic_store(&storm_self.player->incarnation, 0);
        exit(0);
    }
    storm_violation("%s: %s: %s", what, lq_error_name(result), lq_error_text());
    return false;
}

lq_queue *storm_open_queue(bool deferred)
{
    lq_queue *queue = NULL;
    lq_options options = storm_setting.options;
    if (deferred) options.flags |= LQ_DEFER_SYNC;
    return storm_good(CALL(lq_open(storm_setting.path, &options, &queue)), "lq_open") ? queue : NULL;
}

/* ---- messages ----------------------------------------------------------- */

static uint8_t filler(uint32_t number, uint32_t i)
{
    /* Long runs, for compression to bite on. */
    return (uint8_t)(number * 31 + i / 16);
}

void storm_make_body(uint8_t *to, uint32_t number, uint32_t size, uint16_t index, uint16_t count)
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

void storm_note_id(uint32_t number, uint64_t id)
{
    uint32_t none = 0, key = number + 1;

    if (id == 0 || id > ACCOUNTS) {
        storm_violation("message %u has id %" PRIu64, number, id);
        return;
    }
    if (!atomic_compare_exchange_strong(&storm_world->number_of_id[id], &none, key) && none != key)
        storm_violation("id %" PRIu64 " is message %u and message %u", id, none - 1, number);
    none = 0;
    if (!atomic_compare_exchange_strong(&storm_world->accounts[number].id, &none, (uint32_t)id) && none != id)
        storm_violation("message %u has id %u and id %" PRIu64, number, none, id);
}

bool storm_held_by_another(uint32_t holder)
{
    if (holder == 0 || holder == storm_self.incarnation) return false;
    for (size_t i = 0; i < PLAYERS_MAX; i++)
        if (atomic_load(&storm_world->players[i].incarnation) == holder) return true;
    return false;
}

bool storm_check_message(const lq_message *message, struct body *body)
{
    if (!read_body(message, body)) {
        storm_violation("id %" PRIu64 " has a wrong body of %zu bytes", message->id, message->size);
        return false;
    }
    storm_note_id(body->number, message->id);
    if (atomic_load(&storm_world->accounts[body->number].fate) == REFUSED)
        storm_violation("message %u, id %" PRIu64 ", was refused and is there", body->number, message->id);
    return true;
}

void storm_check_accounts(void)
{
    uint32_t end = atomic_load(&storm_world->next_number);
    if (end > ACCOUNTS) end = ACCOUNTS;
    for (uint32_t number = 0; number < end; number++) {
        struct account *account = &storm_world->accounts[number];
        if (atomic_load(&account->fate) != ACCEPTED) continue;
        for (int group = 0; group < GROUPS; group++)
            if (!atomic_load(&account->acked[group]) && !atomic_load(&account->acking[group])) {
                storm_violation("message %u, id %u, was accepted and never came to %s", number, atomic_load(&account->id),
                          group ? "solo" : "pool");
                return;
            }
    }
}

/* ---- the disk ------------------------------------------------------------ */

int storm_test_the_disk(void *context)
{
    char path[4300];
    (void)context;
    alarm(0);
    snprintf(path, sizeof path, "%s.canary", storm_setting.path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && !atomic_load(&storm_world->stop)) {
        int64_t start = storm_now_us();
        if (pwrite(fd, &start, sizeof start, 0) < 0 || fdatasync(fd) < 0) return 1;
        if (storm_now_us() - start > atomic_load(&storm_world->disk_us)) atomic_store(&storm_world->disk_us, storm_now_us() - start);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return 1;
}
