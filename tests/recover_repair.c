/* A queue with damage of every kind at once is repaired: what is left of it is whole, and what was there is set aside, byte
 * for byte. The power fails, or the process is killed, after every call that repair makes, and again while it is
 * repaired once more: it is never worse than before, nothing is lost on the way, and in the end it is repaired. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"
#include "repair.h"
#include "view.h"
#include "support/api.h"
#include "support/child.h"
#include "support/io_crash.h"
#include "support/io_dying.h"
#include "support/io_fault.h"

enum { LAST = 60, SIZE = 5000, FLOOR = 2, DELIVERED = 10, LOST_BODY = 4, FILES = 9 };

enum { WINDOW = 256, POSITION_SIZE = LQI_POSITION_BLOCKS_AT + 2 * (WINDOW / LQI_POSITION_BLOCK_WORDS + 2) * LQI_POSITION_BLOCK };

static const lq_options options = {.size = sizeof options, .segment_size = 65536, .ring_size = 65536};

/* Where the queue is, and what was in it when it was damaged. */
struct scene {
    const struct lqi_io *io;
    char path[4200];
    bool alive[LAST + 1];
    unsigned alive_count;
    struct api_bytes damaged[FILES]; /* the files that must not be lost */
    size_t damaged_count;
};

/* ---- files of any machine ------------------------------------------------ */

static int dir_of(const struct scene *scene, const char *name)
{
    char path[4300];
    int dir = -1;
    snprintf(path, sizeof path, "%s%s%s", scene->path, *name ? "/" : "", name);
    return scene->io->dir_open(scene->io, -1, path, &dir) ? -1 : dir;
}

static struct api_bytes read_all(const struct scene *scene, int dir, const char *name)
{
    struct api_bytes file = {NULL, 0};
    struct lqi_io_stat stat;
    int fd = -1;
    if (scene->io->open(scene->io, dir, name, LQI_OPEN_READ, 0, &fd)) return file;
    HOLDS(scene->io->stat(scene->io, fd, &stat) == 0);
    file.bytes = malloc(stat.size + 1);
    HOLDS(file.bytes != NULL && scene->io->read(scene->io, fd, 0, file.bytes, stat.size, &file.size) == 0);
    scene->io->close(scene->io, fd);
    return file;
}

static void flip(const struct scene *scene, int fd, uint64_t offset)
{
    uint8_t byte;
    size_t got;
    HOLDS(scene->io->read(scene->io, fd, offset, &byte, 1, &got) == 0 && got == 1);
    byte ^= 16;
    HOLDS(scene->io->write(scene->io, fd, offset, &byte, 1) == 0);
}

/* Opens `in`/`name`, damages it at the offsets that are not 0, cuts it by so much, and remembers what it is then. */
static void damage(struct scene *scene, const char *in, const char *name, const uint64_t offsets[2], uint64_t cut)
{
    const struct lqi_io *io = scene->io;
    struct lqi_io_stat stat;
    int dir = dir_of(scene, in), fd = -1;
    HOLDS(io->open(io, dir, name, LQI_OPEN_WRITE, 0, &fd) == 0 && io->stat(io, fd, &stat) == 0);
    for (int i = 0; i < 2; i++)
        if (offsets[i]) flip(scene, fd, offsets[i]);
    if (cut) HOLDS(io->truncate(io, fd, stat.size - cut) == 0);
    HOLDS(io->sync(io, fd) == 0);
    io->close(io, fd);
    HOLDS(scene->damaged_count < FILES);
    scene->damaged[scene->damaged_count++] = read_all(scene, dir, name);
    io->close(io, dir);
}

static void put_stranger(struct scene *scene, const char *in)
{
    int dir = dir_of(scene, in), fd = -1;
    HOLDS(scene->io->open(scene->io, dir, "stranger", LQI_OPEN_NEW, 0600, &fd) == 0);
    HOLDS(scene->io->write(scene->io, fd, 0, in, strlen(in)) == 0 && scene->io->sync(scene->io, fd) == 0);
    scene->io->close(scene->io, fd);
    HOLDS(scene->io->dir_sync(scene->io, dir) == 0);
    HOLDS(scene->damaged_count < FILES);
    scene->damaged[scene->damaged_count++] = read_all(scene, dir, "stranger");
    scene->io->close(scene->io, dir);
}

struct search {
    const struct scene *scene;
    const struct api_bytes *wanted;
    int dir;
    bool found;
};

static int look_for(void *context, const char *name)
{
    struct search *search = context;
    struct api_bytes file = read_all(search->scene, search->dir, name);
    search->found = file.bytes && file.size == search->wanted->size && memcmp(file.bytes, search->wanted->bytes, file.size) == 0;
    free(file.bytes);
    return search->found;
}

static bool is_somewhere(const struct scene *scene, const struct api_bytes *wanted)
{
    static const char *const dirs[] = {"", "log", "consumers", "aside", "aside/new"};
    struct search search = {scene, wanted, -1, false};
    for (size_t i = 0; i < 5 && !search.found; i++) {
        search.dir = dir_of(scene, dirs[i]);
        if (search.dir >= 0) HOLDS(scene->io->dir_list(scene->io, search.dir, look_for, &search) == 0);
        scene->io->close(scene->io, search.dir);
    }
    return search.found;
}

/* ---- a queue, and its damage --------------------------------------------- */

static void consume(lq_queue *queue, const char *name, uint64_t last, uint64_t but, uint64_t and_but)
{
    lq_consumer *consumer;
    lq_message message;
    OK(lq_consumer_open(queue, name, &(lq_consumer_options){.size = sizeof(lq_consumer_options), .window = WINDOW}, &consumer));
    for (uint64_t id = 1; id <= last; id++) {
        OK(lq_get(consumer, &message, 0));
        if (id != but && id != and_but) OK(lq_ack(consumer, &message));
    }
    OK(lq_consumer_close(consumer));
}

static void consume_rest(lq_queue *queue, const char *name)
{
    lq_consumer *consumer;
    lq_message message;
    OK(lq_consumer_open(queue, name, NULL, &consumer));
    while (lq_poll(consumer, &message) == LQ_OK) OK(lq_ack(consumer, &message));
    OK(lq_consumer_close(consumer));
}

static void make_queue(const struct scene *scene)
{
    uint8_t bytes[SIZE];
    lq_queue *queue;
    OK(lqi_open_io(scene->io, scene->path, &options, &queue));
    for (uint64_t id = 1; id <= LAST; id++) {
        api_fill(bytes, SIZE, id);
        OK(lq_put(queue, bytes, SIZE, NULL));
    }
    consume(queue, "c", DELIVERED, FLOOR + 1, 7);
    consume(queue, "d", 5, 0, 0);
    OK(lq_close(queue));
}

/* Marks what a reader finds; everything it finds is right. */
static unsigned read_alive(const struct scene *scene, bool alive[LAST + 1], unsigned *holes)
{
    const lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    unsigned count = 0;
    lq_queue *queue;
    lq_reader *reader;
    lq_message message;

    *holes = 0;
    memset(alive, 0, LAST + 1);
    OK(lqi_open_io(scene->io, scene->path, &look, &queue));
    OK(lq_reader_open(queue, &reader));
    for (int err; (err = lq_reader_next(reader, &message)) != LQ_EMPTY;) {
        if (err == LQ_ECORRUPT) {
            HOLDS(++*holes < 20);
            continue;
        }
        OK(err);
        HOLDS(message.id <= LAST && !alive[message.id] && api_is_filled(&message, SIZE, message.id));
        alive[message.id] = true;
        count++;
    }
    lq_reader_close(reader);
    OK(lq_close(queue));
    return count;
}

static char segment_names[8][LQI_SEGMENT_NAME_SIZE];
static size_t segment_count;

static void list_segments(const struct scene *scene)
{
    uint64_t *ids;
    int dir = dir_of(scene, "log");
    OK(lqi_segment_list(scene->io, dir, &ids, &segment_count, NULL));
    HOLDS(segment_count >= 5 && segment_count <= 8);
    for (size_t i = 0; i < segment_count; i++) lqi_segment_name(segment_names[i], ids[i]);
    free(ids);
    scene->io->close(scene->io, dir);
}

static void damage_everything(struct scene *scene)
{
    list_segments(scene);
    damage(scene, "", "meta", (uint64_t[]){100, 0}, 0);
    damage(scene, "log", segment_names[0], (uint64_t[]){LQI_SEGMENT_HEADER + (LOST_BODY - 1) * 5040 + 3000, 0}, 0);
    damage(scene, "log", segment_names[2], (uint64_t[]){1, 129}, 0);
    damage(scene, "log", segment_names[3], (uint64_t[]){1, 129}, 1); /* its trailer is gone with it */
    damage(scene, "log", segment_names[segment_count - 1], (uint64_t[]){0, 0}, 3000);
    damage(scene, "consumers", "c.pos", (uint64_t[]){50, 562}, 0);
    damage(scene, "consumers", "d.pos", (uint64_t[]){0, 0}, POSITION_SIZE - 100); /* a hundred bytes are left */
    put_stranger(scene, "log");
    put_stranger(scene, "consumers");

    int dir = dir_of(scene, "log");
    HOLDS(scene->io->unlink(scene->io, dir, segment_names[1]) == 0 && scene->io->dir_sync(scene->io, dir) == 0);
    scene->io->close(scene->io, dir);
}

static void make_scene(struct scene *scene)
{
    unsigned holes;
    make_queue(scene);
    damage_everything(scene);
    scene->alive_count = read_alive(scene, scene->alive, &holes);
    HOLDS(holes >= 2 && scene->alive_count > LAST / 4 && scene->alive_count < LAST - LAST / 4);
    HOLDS(!scene->alive[LOST_BODY] && scene->alive[LOST_BODY + 1] && !scene->alive[LAST]);
}

static void release(struct scene *scene)
{
    for (size_t i = 0; i < scene->damaged_count; i++) free(scene->damaged[i].bytes);
}

struct waiting {
    struct waiting *next;
    struct io_crash *machine;
    char how[80];
};

static struct {
    const struct scene *scene;
    struct waiting *waiting; /* they are looked at when the repair is over */
    unsigned depth, count, calls;
    const char *how;         /* the machine that is looked at came up */
} crash;

/* ---- looking -------------------------------------------------------------- */

/* Whatever happened to the repair. */
static void check_not_worse(const struct scene *scene)
{
    bool alive[LAST + 1];
    unsigned holes;
    EQUAL(read_alive(scene, alive, &holes), scene->alive_count);
    HOLDS(memcmp(alive, scene->alive, sizeof alive) == 0);
    for (size_t i = 0; i < scene->damaged_count; i++) { if (!is_somewhere(scene, &scene->damaged[i])) {
            api_note("damaged file %zu is lost: %s", i, crash.how ? crash.how : "");
            HOLDS(!"lost");
        }
    }
}

static void take_all(lq_queue *queue, const char *name, const struct scene *scene, uint64_t after, uint64_t but, uint64_t new_id)
{
    lq_consumer *consumer;
    lq_message message;
    OK(lq_consumer_open(queue, name, NULL, &consumer));
    for (uint64_t id = 1; id <= LAST; id++) {
        if (!scene->alive[id] || (id <= after && id != FLOOR + 1 && id != but)) continue;
        OK(lq_get(consumer, &message, 0));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
        OK(lq_ack(consumer, &message));
    }
    OK(lq_get(consumer, &message, 0));
    EQUAL(message.id, new_id);
    OK(lq_ack(consumer, &message));
    IS(LQ_EMPTY, lq_poll(consumer, &message));
    OK(lq_consumer_close(consumer));
}

static void check_repaired(const struct scene *scene)
{
    bool alive[LAST + 1];
    unsigned holes;
    uint64_t id = 0;
    lq_queue *queue;

    check_not_worse(scene);
    OK(lqi_verify_io(scene->io, scene->path, 0, NULL, NULL, NULL));
    read_alive(scene, alive, &holes);
    EQUAL(holes, 0);
    OK(lqi_open_io(scene->io, scene->path, &options, &queue));
    OK(lq_put(queue, "new", 3, &id));
    HOLDS(id > LAST); /* no id is given twice */
    take_all(queue, "c", scene, DELIVERED, 7, id);
    take_all(queue, "d", scene, 0, 0, id); /* its position is lost: everything comes again */
    EQUAL(api_stats(queue).damage, 0);
    OK(lq_close(queue));
    OK(lqi_verify_io(scene->io, scene->path, 0, NULL, NULL, NULL));
}

struct told {
    unsigned count, asides;
    uint64_t lost;
};

static void note_step(void *context, const lq_repair_step *step)
{
    struct told *told = context;
    told->count++;
    told->lost += step->count;
    if (step->aside[0]) told->asides++;
    HOLDS(step->file[0] && step->damage[0] && step->remedy[0] && (step->first_id != 0) == (step->count != 0));
}

/* ---- tests ----------------------------------------------------------------- */

static void set_scene(struct scene *scene, void **state, const char *name)
{
    *scene = (struct scene){.io = &lqi_io_posix};
    snprintf(scene->path, sizeof scene->path, "%s", api_path(*state, name));
    make_scene(scene);
}

static void damage_of_every_kind_is_repaired_and_set_aside(void **state)
{
    lq_repair_result result = {.size = sizeof result};
    struct told told = {0};
    struct scene scene;
    set_scene(&scene, state, "q");
    IS(LQ_ECORRUPT, lq_verify(scene.path, 0, NULL, NULL, NULL));

    OK(lq_repair(scene.path, 0, note_step, &told, &result));
    EQUAL(result.steps, told.count);
    EQUAL(result.lost, told.lost);
    EQUAL(told.count, 10);
    EQUAL(told.asides, 9); /* one segment was missing */
    HOLDS(told.lost >= LAST - scene.alive_count);
    check_repaired(&scene);
    OK(lq_repair(scene.path, 0, NULL, NULL, &result)); /* there is nothing left to do */
    EQUAL(result.steps, 0);
    release(&scene);
}

static void a_dry_run_says_the_same_and_changes_nothing(void **state)
{
    struct told told = {0}, dry = {0};
    struct scene scene;
    set_scene(&scene, state, "q");
    struct api_tree *before = api_tree_read(scene.path);
    OK(lq_repair(scene.path, LQ_REPAIR_DRY_RUN, note_step, &dry, NULL));
    HOLDS(api_tree_same(before, NULL));
    HOLDS(!api_file_exists(api_path(scene.path, "aside")));
    api_tree_free(before);
    OK(lq_repair(scene.path, 0, note_step, &told, NULL));
    EQUAL(dry.count, told.count);
    EQUAL(dry.lost, told.lost);
    EQUAL(dry.asides, 0);
    release(&scene);
}

static void a_sound_queue_is_left_alone(void **state)
{
    lq_repair_result result = {.size = sizeof result};
    struct scene scene = {.io = &lqi_io_posix};
    snprintf(scene.path, sizeof scene.path, "%s", api_path(*state, "q"));
    make_queue(&scene);
    struct api_tree *before = api_tree_read(scene.path);
    OK(lq_repair(scene.path, 0, note_step, &(struct told){0}, &result));
    EQUAL(result.steps, 0);
    HOLDS(api_tree_same(before, NULL));
    HOLDS(!api_file_exists(api_path(scene.path, "aside")));
    api_tree_free(before);
}

static void a_queue_in_use_is_not_repaired(void **state)
{
    struct scene scene;
    lq_queue *queue;
    set_scene(&scene, state, "q");
    /* Both ways round: with the meta that is there, and with one that was put there since. */
    OK(lqi_open_io(&lqi_io_posix, scene.path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue));
    OK(lq_repair(scene.path, LQ_REPAIR_DRY_RUN, NULL, NULL, NULL)); /* who only looks is in nobody's way */
    OK(lq_close(queue));
    OK(lq_repair(scene.path, 0, NULL, NULL, NULL));
    queue = NULL;
    OK(lqi_open_io(&lqi_io_posix, scene.path, &options, &queue));
    IS(LQ_EBUSY, lq_repair(scene.path, 0, NULL, NULL, NULL));
    IS(LQ_EBUSY, lq_repair(scene.path, LQ_REPAIR_DRY_RUN, NULL, NULL, NULL));
    HOLDS(remove(api_path(scene.path, "meta")) == 0);
    IS(LQ_EBUSY, lq_repair(scene.path, 0, NULL, NULL, NULL));
    HOLDS(!api_file_exists(api_path(scene.path, "meta")));
    OK(lq_close(queue));
    OK(lq_repair(scene.path, 0, NULL, NULL, NULL));
    OK(lq_verify(scene.path, 0, NULL, NULL, NULL));
    release(&scene);
}

static void what_is_no_queue_is_left_alone(void **state)
{
    IS(LQ_ENOTFOUND, lq_repair(api_path(*state, "none"), 0, NULL, NULL, NULL));
    IS(LQ_ENOTQUEUE, lq_repair(*state, 0, NULL, NULL, NULL));
    api_file_write(api_path(*state, "file"), "x", 1);
    IS(LQ_ENOTQUEUE, lq_repair(api_path(*state, "file"), 0, NULL, NULL, NULL));
    IS(LQ_ENOTQUEUE, lq_repair(*state, 0, NULL, NULL, NULL));
    IS(LQ_EINVAL, lq_repair(NULL, 0, NULL, NULL, NULL));
    IS(LQ_EINVAL, lq_repair(*state, 2, NULL, NULL, NULL));
    IS(LQ_EINVAL, lq_repair(*state, 0, NULL, NULL, &(lq_repair_result){.size = 1}));
    HOLDS(!api_file_exists(api_path(*state, "aside")));
}

/* Where the log began nobody knows then, and what is before it would be swept away by the next opener. */
static void without_meta_a_first_segment_that_cannot_be_read_is_set_aside_and_never_deleted(void **state)
{
    struct scene scene = {.io = &lqi_io_posix};
    struct api_tree *before;
    bool alive[LAST + 1];
    lq_queue *queue;
    unsigned holes;

    snprintf(scene.path, sizeof scene.path, "%s", api_path(*state, "q"));
    make_queue(&scene);
    list_segments(&scene);
    damage(&scene, "log", segment_names[0], (uint64_t[]){1, 129}, 1);
    HOLDS(remove(api_path(scene.path, "meta")) == 0);
    scene.alive_count = read_alive(&scene, scene.alive, &holes);
    HOLDS(scene.alive_count > LAST / 2 && scene.alive[LAST]);

    OK(lq_repair(scene.path, 0, NULL, NULL, NULL));
    OK(lq_verify(scene.path, 0, NULL, NULL, NULL));
    OK(lq_open(scene.path, NULL, &queue));
    OK(lq_close(queue));
    HOLDS(is_somewhere(&scene, &scene.damaged[0]));
    EQUAL(read_alive(&scene, alive, &holes), scene.alive_count);
    EQUAL(holes, 0);
    before = api_tree_read(scene.path);
    OK(lq_repair(scene.path, 0, NULL, NULL, NULL));
    HOLDS(api_tree_same(before, NULL));
    api_tree_free(before);
    release(&scene);
}

static void without_meta_a_log_that_was_trimmed_begins_with_its_oldest_file(void **state)
{
    struct scene scene = {.io = &lqi_io_posix};
    bool alive[LAST + 1];
    lq_queue *queue;
    unsigned holes;
    uint64_t id;

    snprintf(scene.path, sizeof scene.path, "%s", api_path(*state, "q"));
    make_queue(&scene);
    OK(lq_open(scene.path, &options, &queue));
    OK(lq_consumer_delete(queue, "d"));
    consume_rest(queue, "c");
    HOLDS(api_stats(queue).first_id > 1);
    OK(lq_close(queue));
    scene.alive_count = read_alive(&scene, scene.alive, &holes);
    HOLDS(remove(api_path(scene.path, "meta")) == 0);

    OK(lq_repair(scene.path, 0, NULL, NULL, NULL));
    OK(lq_verify(scene.path, 0, NULL, NULL, NULL));
    EQUAL(read_alive(&scene, alive, &holes), scene.alive_count);
    EQUAL(holes, 0);
    OK(lq_open(scene.path, NULL, &queue));
    OK(lq_put(queue, "new", 3, &id));
    EQUAL(id, LAST + 1);
    EQUAL(api_consumer_stats(queue, "c").ready, 1);
    OK(lq_close(queue));
}

/* ---- dying ------------------------------------------------------------------ */

static int repair_dying(void *context)
{
    static struct lqi_io io;
    io = io_dying();
    OK(lqi_repair_io(&io, context, 0, NULL, NULL, NULL));
    return 0;
}

static void repair_killed_at_any_call_loses_nothing_and_is_done_by_the_next(void **state)
{
    struct scene scene;
    set_scene(&scene, state, "q");
    for (uint64_t at = 1, ended = IO_DYING_STATUS; ended == IO_DYING_STATUS; at++) {
        struct scene copy = scene;
        char name[20];
        snprintf(name, sizeof name, "%d", (int)at);
        snprintf(copy.path, sizeof copy.path, "%s", api_path(*state, name));
        api_tree_copy(scene.path, copy.path);
        io_dying_at(at, at % 2); /* right after it or, of the next one, right before */
        ended = (uint64_t)child_run(repair_dying, copy.path);
        HOLDS(ended == IO_DYING_STATUS || ended == 0);
        check_not_worse(&copy);
        OK(lq_repair(copy.path, 0, NULL, NULL, NULL));
        check_repaired(&copy);
        HOLDS(at < 1000);
    }
    release(&scene);
}

/* ---- power loss -------------------------------------------------------------- */

static void come_up(struct io_crash *machine, const char *how, unsigned n, enum io_kind kind)
{
    struct waiting *one = malloc(sizeof *one);
    HOLDS(one != NULL);
    *one = (struct waiting){crash.waiting, machine, ""};
    snprintf(one->how, sizeof one->how, "%s after change %u (%s) at depth %u", how, n, io_kind_names[kind], crash.depth);
    crash.waiting = one;
}

static void crash_here(void *context, struct io_crash *machine, enum io_kind kind, bool changed)
{
    (void)context;
    if (!changed) return;
    unsigned n = crash.calls++;
    if (crash.depth == 2 && n % 32 != crash.count % 32) return;
    come_up(io_crash_power_loss(machine, n % 2), n % 2 ? "all written" : "only what was synced", n, kind);
    if (crash.depth == 2) return;
    come_up(io_crash_power_loss(machine, 2 + n % 16), "some", n, kind);
    if (n % 2) come_up(io_crash_power_loss(machine, 18 + n), "by chance", n, kind);
    else come_up(io_crash_processes_die(machine), "killed", n, kind);
}

static void repair_and_look(struct io_crash *machine);

static void look_at_the_crashed(void)
{
    while (crash.waiting) {
        struct waiting *one = crash.waiting;
        struct scene scene = *crash.scene;
        crash.waiting = one->next;
        scene.io = io_crash_io(one->machine);
        crash.how = one->how;
        check_not_worse(&scene);
        crash.count++;
        repair_and_look(one->machine);
        io_crash_free(one->machine);
        free(one);
    }
}

static void repair_and_look(struct io_crash *machine)
{
    struct scene scene = *crash.scene;
    struct waiting *others = crash.waiting;
    crash.waiting = NULL;
    crash.calls = 0;
    scene.io = io_crash_io(machine);
    if (crash.depth < 2) {
        crash.depth++;
        io_crash_watch(machine, crash_here, NULL);
        OK(lqi_repair_io(scene.io, scene.path, 0, NULL, NULL, NULL));
        io_crash_watch(machine, NULL, NULL);
        look_at_the_crashed();
        crash.depth--;
    } else {
        OK(lqi_repair_io(scene.io, scene.path, 0, NULL, NULL, NULL));
    }
    check_repaired(&scene);
    crash.waiting = others;
}

static void after_power_loss_at_any_call_of_a_repair_nothing_is_lost_and_the_next_one_does_it(void **state)
{
    (void)state;
    struct io_crash *machine = io_crash_new(1);
    struct scene scene = {.io = io_crash_io(machine), .path = "q"};
    make_scene(&scene);
    crash.scene = &scene;
    repair_and_look(machine);
    api_note("%u crashes", crash.count);
    HOLDS(crash.count > 200);
    io_crash_free(machine);
    io_crash_trim();
    release(&scene);
}

/* ---- a machine that fails ------------------------------------------------------ */

static const struct {
    enum io_kind kind;
    int error;
    unsigned step; /* one call in so many */
} faults[] = {
    {IO_DIR_OPEN, EMFILE, 1}, {IO_DIR_MAKE, ENOSPC, 1}, {IO_DIR_LIST, EIO, 1}, {IO_DIR_SYNC, EIO, 1}, {IO_DIR_SHARED, EIO, 1},
    {IO_OPEN, EMFILE, 3},     {IO_READ, EIO, 7},        {IO_WRITE, ENOSPC, 3}, {IO_SYNC, EIO, 1},     {IO_TRUNCATE, EIO, 1},
    {IO_STAT, EIO, 3},        {IO_RENAME, ENOSPC, 1},   {IO_SWAP, EOPNOTSUPP, 1}, {IO_SWAP, EIO, 1},  {IO_LOCK, ENOLCK, 1},
    {IO_LOCKED, ENOLCK, 1},   {IO_RANDOM, EIO, 1},      {IO_ALLOCATE, ENOSPC, 1},
};

/* False when there was no such call to fail. */
static bool repair_failing(const struct scene *whole, struct io_crash *damaged, size_t row, unsigned nth, bool for_ever)
{
    struct io_crash *machine = io_crash_processes_die(damaged);
    struct scene scene = *whole;
    struct io_fault fault;

    io_fault_init(&fault, io_crash_io(machine));
    fault.short_writes = fault.short_allocates = true;
    io_fault_plan(&fault, faults[row].kind, nth, for_ever, faults[row].error);
    int err = lqi_repair_io(&fault.io, scene.path, 0, NULL, NULL, NULL);
    bool hit = fault.hits > 0;
    HOLDS(err <= 0 && (err == LQ_OK || *lq_error_text()));
    HOLDS(hit || err == LQ_OK);
    io_fault_end(&fault);
    scene.io = io_crash_io(machine);
    if (hit && nth % 4 == 0) check_not_worse(&scene);
    if (err == LQ_OK) OK(lqi_verify_io(scene.io, scene.path, 0, NULL, NULL, NULL)); /* what was said to be done is done */
    OK(lqi_repair_io(scene.io, scene.path, 0, NULL, NULL, NULL));
    if (hit) check_repaired(&scene);
    io_fault_release(&fault);
    io_crash_free(machine);
    return hit;
}

static void a_call_that_fails_is_an_answer_and_the_next_repair_does_the_rest(void **state)
{
    (void)state;
    struct io_crash *machine = io_crash_new(2);
    struct scene scene = {.io = io_crash_io(machine), .path = "q"};
    unsigned runs = 0;
    make_scene(&scene);
    for (size_t row = 0; row < sizeof faults / sizeof *faults; row++) {
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (unsigned nth = 1; repair_failing(&scene, machine, row, nth, for_ever); nth += faults[row].step * (for_ever ? 3u : 1u)) runs++;
    }
    api_note("%u runs with a failure", runs);
    HOLDS(runs > 100);
    io_crash_free(machine);
    io_crash_trim();
    release(&scene);
}

int main(void)
{
    lqi_view_pause_us = 0;
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(damage_of_every_kind_is_repaired_and_set_aside),
        IN_DIRECTORY(a_dry_run_says_the_same_and_changes_nothing),
        IN_DIRECTORY(a_sound_queue_is_left_alone),
        IN_DIRECTORY(a_queue_in_use_is_not_repaired),
        IN_DIRECTORY(what_is_no_queue_is_left_alone),
        IN_DIRECTORY(without_meta_a_first_segment_that_cannot_be_read_is_set_aside_and_never_deleted),
        IN_DIRECTORY(without_meta_a_log_that_was_trimmed_begins_with_its_oldest_file),
        IN_DIRECTORY(repair_killed_at_any_call_loses_nothing_and_is_done_by_the_next),
        IN_DIRECTORY(after_power_loss_at_any_call_of_a_repair_nothing_is_lost_and_the_next_one_does_it),
        IN_DIRECTORY(a_call_that_fails_is_an_answer_and_the_next_repair_does_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
