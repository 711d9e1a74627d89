/* The storm of tests/stress_processes.c: producers and consumers that may be killed anywhere, and the account that their parent
 * keeps of what was accepted and acked, in memory that no death touches. storm_account.c has the account and what all
 * of them share, storm_players.c what each of them does. */
#ifndef SUPPORT_STORM_H
#define SUPPORT_STORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libqueue.h"

enum {
    ACCOUNTS = 4 << 20,    /* messages that can be kept account of */
    PLAYERS_MAX = 16,
    GROUPS = 2,            /* consumers: "pool" with several members, "solo" with one */
    BLOCKED_US = 1000000,  /* a call that takes longer is blocked */
    BODY_MAX = 40000,
};

enum role { PRODUCER, POOL, SOLO, READER, SYNCER };
extern const char *const storm_role_names[];

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

extern struct world {
    _Atomic uint32_t next_number, incarnations, stop;
    _Atomic uint32_t violations;
    char first_violation[512];
    _Atomic uint32_t solo_acked;     /* the last id that solo has acked */
    _Atomic uint64_t accepted, handed, again;
    _Atomic int64_t disk_us;         /* the longest that a sync of one byte has taken */
    struct player players[PLAYERS_MAX];
    _Atomic uint32_t number_of_id[ACCOUNTS + 1];
    struct account accounts[ACCOUNTS];
} *storm_world; /* shared by all of them */

extern struct setting {
    char path[4200];
    lq_options options;
    bool stops;              /* processes are stopped: others may be told LQ_EBUSY */
} storm_setting;

/* ---- in every process --------------------------------------------------- */

struct self {
    struct player *player;
    enum role role;
    uint32_t incarnation;
    uint64_t random;
};

extern struct self storm_self;

int64_t storm_now_us(void);
uint64_t storm_random(void);
uint32_t storm_below(uint32_t limit);

/* Something that must not be. The first one is kept for the report, and ends the test. */
void storm_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is being called, for the parent who watches the clock. */
#define CALL(expression) (storm_enter(#expression), storm_leave(expression))

void storm_enter(const char *what);
int storm_leave(int result);

/* A call that must work, but that others who are stopped may be in its way; then this process ends. */
bool storm_good(int result, const char *what);
lq_queue *storm_open_queue(bool deferred);

/* ---- messages ------------------------------------------------------------ */

struct body {
    uint32_t number, size;        /* of the whole body */
    uint16_t index, count;        /* in its batch */
    uint32_t seed;
};

void storm_make_body(uint8_t *to, uint32_t number, uint32_t size, uint16_t index, uint16_t count);

/* Whoever sees a message first says which id goes with its number; all must agree. */
void storm_note_id(uint32_t number, uint64_t id);

/* Who got it last is another living process: it has been handed out twice. */
bool storm_held_by_another(uint32_t holder);

/* Its body is right, its id its own, and it was not refused. */
bool storm_check_message(const lq_message *message, struct body *body);

/* All that was accepted has been acked by every group. */
void storm_check_accounts(void);

/* ---- bodies for child_start() ---------------------------------------------- */

/* Plays the part that storm_self has. */
int storm_perform(void *context);

/* Everybody is dead: opens the queue, and sees to it that the rest of what was accepted comes. */
int storm_drain(void *context);

/* How slow the disk itself is meanwhile: a call may have to wait for a few syncs. */
int storm_test_the_disk(void *context);

#endif
