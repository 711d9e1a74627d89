/* `shared` is harmed while processes use it. Removed, replaced or locked away, it stays with those who have it; whoever comes
 * new is told, and two populations never write into one log. Cut or overwritten in place it is lost for those who use it, and
 * may kill them (SIGBUS; or glibc aborts over a lock that is none): it is the one file that is mapped. What was synced
 * is there in any case when the next one opens the queue, and nobody hangs. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue.h"
#include "support/api.h"
#include "support/child.h"
#include "support/damage.h"

enum { KIB = 1024, SYNCED = 60, SIZE = 300 };

static char queue_path[4096], shared_path[4200];
static lq_options options;

static void use_queue(const char *directory, const char *name)
{
    snprintf(queue_path, sizeof queue_path, "%s", api_path(directory, name));
    snprintf(shared_path, sizeof shared_path, "%s/" LQI_SHARED_NAME, queue_path);
    options = (lq_options){.size = sizeof options, .sync = LQ_SYNC_NEVER, .segment_size = 64 * KIB, .ring_size = 64 * KIB};
}

static lq_queue *open_queue(void)
{
    lq_queue *queue;
    OK(lq_open(queue_path, &options, &queue));
    return queue;
}

/* ---- something else by that name ------------------------------------------ */

static void move_away(void)
{
    char away[4300];
    snprintf(away, sizeof away, "%s.away", shared_path);
    HOLDS(rename(shared_path, away) == 0);
}

static void a_directory(void)
{
    move_away();
    HOLDS(mkdir(shared_path, 0700) == 0);
}

static void a_link_to_itself(void)
{
    char away[4300];
    snprintf(away, sizeof away, "%s.away", shared_path);
    move_away();
    HOLDS(symlink(away, shared_path) == 0);
}

static void a_second_name(void)
{
    char second[4300];
    snprintf(second, sizeof second, "%s.second", shared_path);
    HOLDS(link(shared_path, second) == 0);
}

static void a_pipe(void)
{
    move_away();
    HOLDS(mkfifo(shared_path, 0600) == 0);
}

static void an_empty_file(void)
{
    move_away();
    api_file_write(shared_path, "", 0);
}

static void nothing(void)
{
    damage_remove(shared_path);
}

/* lq_verify() may say that `shared` is no file, and nothing else. */
static void only_shared(void *context, const lq_finding *finding)
{
    (void)context;
    if (strcmp(finding->file, LQI_SHARED_NAME) != 0) api_note("%s: %s", finding->file, finding->text);
    HOLDS(strcmp(finding->file, LQI_SHARED_NAME) == 0);
}

static void verify_the_rest(void)
{
    int err = lq_verify(queue_path, 0, only_shared, NULL, NULL);
    if (err != LQ_ECORRUPT) OK(err);
}

/* How a second process fares. */
static int come_new(void *context)
{
    lq_queue *queue = NULL;
    lq_options look = {.size = sizeof look, .flags = LQ_READ_ONLY};
    const int64_t start = api_now_us();
    (void)context;

    int err = lq_open(queue_path, &options, &queue);
    HOLDS(err < 0);
    HOLDS(strstr(lq_error_text(), LQI_SHARED_NAME) != NULL);
    HOLDS(api_now_us() - start < 5000000);
    /* Looking needs it for what is not in the files yet, and for nothing else. */
    OK(lq_open(queue_path, &look, &queue));
    lq_reader *reader;
    lq_message message;
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= SYNCED; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
    }
    HOLDS(lq_reader_next(reader, &message) >= 0);
    lq_reader_close(reader);
    OK(lq_close(queue));
    verify_the_rest();
    return 0;
}

static void clear_away(void)
{
    struct stat stat;
    if (lstat(shared_path, &stat) == 0 && !S_ISREG(stat.st_mode)) HOLDS(remove(shared_path) == 0);
    char second[4300];
    snprintf(second, sizeof second, "%s.second", shared_path);
    unlink(second);
}

static void check_replaced_by(void **state, void (*harm)(void))
{
    use_queue(*state, "q");
    lq_queue *queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    api_put_range(queue, 1, SYNCED, SIZE);
    OK(lq_sync(queue));
    harm();
    EQUAL(child_run(come_new, NULL), 0);

    /* Those inside go on. */
    api_put_range(queue, SYNCED + 1, SYNCED + 300, SIZE);
    api_take_range(consumer, 1, SYNCED, SIZE);
    OK(lq_sync(queue));
    EQUAL(child_run(come_new, NULL), 0);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));

    clear_away();
    queue = open_queue();
    consumer = api_consumer(queue, "c", NULL);
    api_take_range(consumer, SYNCED + 1, SYNCED + 300, SIZE);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
    IS(LQ_OK, lq_verify(queue_path, 0, NULL, NULL, NULL));
}

#define REPLACED(name, harm)               \
    static void name(void **state)         \
    {                                      \
        check_replaced_by(state, harm);    \
    }
REPLACED(removed_in_use_new_ones_are_refused_and_those_inside_go_on, nothing)
REPLACED(replaced_by_a_directory_in_use_new_ones_are_refused_and_those_inside_go_on, a_directory)
REPLACED(replaced_by_a_link_in_use_new_ones_are_refused_and_those_inside_go_on, a_link_to_itself)
REPLACED(with_a_second_name_in_use_new_ones_are_refused_and_those_inside_go_on, a_second_name)
REPLACED(replaced_by_a_pipe_in_use_new_ones_are_refused_and_those_inside_go_on, a_pipe)
REPLACED(replaced_by_an_empty_file_in_use_new_ones_are_refused_and_those_inside_go_on, an_empty_file)

/* ---- locked away ---------------------------------------------------------- */

static int come_without_rights(void *context)
{
    lq_queue *queue;
    (void)context;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return CHILD_SKIP;
    if (access(queue_path, X_OK) != 0) return CHILD_SKIP; /* our directory is not for others */
    IS(LQ_EACCESS, lq_open(queue_path, &options, &queue));
    TEXT_HAS(LQI_SHARED_NAME);
    return 0;
}

static void open_to_others(const char *path)
{
    struct stat stat_of;
    HOLDS(stat(path, &stat_of) == 0 && chmod(path, (stat_of.st_mode & 07777) | (S_ISDIR(stat_of.st_mode) ? 0777 : 0666)) == 0);
}

static void made_unreadable_in_use_it_is_a_matter_of_permission_to_new_ones(void **state)
{
    static const char *const parts[] = {"", "/meta", "/log", "/consumers"};
    use_queue(*state, "q");
    lq_queue *queue = open_queue();
    api_put_range(queue, 1, SYNCED, SIZE);
    open_to_others(*state);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char path[4300];
        snprintf(path, sizeof path, "%s%s", queue_path, parts[i]);
        open_to_others(path);
    }
    HOLDS(chmod(shared_path, 0) == 0);
    int result = child_run(come_without_rights, NULL);
    api_put_range(queue, SYNCED + 1, SYNCED + 100, SIZE);
    OK(lq_close(queue));
    HOLDS(chmod(shared_path, 0600) == 0);
    queue = open_queue();
    api_read_range(queue, 1, SYNCED + 100, SIZE);
    OK(lq_close(queue));
    if (result == CHILD_SKIP) skip();
    EQUAL(result, 0);
}

/* ---- harmed in place ------------------------------------------------------- */

/* Uses the queue on and on, whatever it says, until killed by a signal or done; never longer than the locks' patience allows. */
static int use_what_is_harmed(void *context)
{
    const int *ready = context;
    lq_queue *queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    lq_reader *reader;
    lq_message message;
    char byte = 1;

    signal(SIGBUS, SIG_DFL); /* cmocka has its own */
    signal(SIGSEGV, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    lqi_lock_patience_ms = 10;
    api_put_range(queue, 1, SYNCED, SIZE);
    OK(lq_get(consumer, &message, 0));
    OK(lq_reader_open(queue, &reader));
    OK(lq_sync(queue));
    CHECK(write(ready[1], &byte, 1) == 1 && read(ready[0], &byte, 1) == 1);
    for (int i = 0; i < 8; i++) {
        (void)lq_put(queue, "more", 4, NULL);
        (void)lq_poll(consumer, &message);
        (void)lq_ack(consumer, &message);
        (void)lq_reader_next(reader, &message);
        (void)lq_sync(queue);
        (void)lq_get_stats(queue, &(lq_stats){.size = sizeof(lq_stats)});
    }
    lq_reader_close(reader);
    (void)lq_consumer_close(consumer);
    (void)lq_close(queue);
    return 0;
}

static void expect_what_was_synced(void)
{
    lq_queue *queue = NULL;
    lq_reader *reader;
    lq_message message;
    OK(lq_open(queue_path, &options, &queue));
    OK(lq_reader_open(queue, &reader));
    for (uint64_t id = 1; id <= SYNCED; id++) {
        OK(lq_reader_next(reader, &message));
        EQUAL(message.id, id);
        HOLDS(api_is_filled(&message, SIZE, id));
    }
    lq_reader_close(reader);
    /* They may have closed cleanly with numbers that use the log up: then it takes no more. */
    int err = lq_put(queue, "again", 5, NULL);
    if (err != LQ_ELIMIT) OK(err);
    lq_consumer *consumer = api_consumer(queue, "c", NULL);
    /* What they did to the log before they died is told as damage. */
    do err = lq_get(consumer, &message, 1000);
    while (err == LQ_ECORRUPT);
    OK(err);
    OK(lq_consumer_close(consumer));
    OK(lq_close(queue));
}

static unsigned killed;

static void harmed_in_place(const char *directory, const char *name, void (*harm)(uint64_t), uint64_t seed)
{
    int to_us[2], to_them[2], both[2];
    char byte;

    use_queue(directory, name);
    HOLDS(pipe(to_us) == 0 && pipe(to_them) == 0);
    both[0] = to_them[0];
    both[1] = to_us[1];
    pid_t child = child_start(use_what_is_harmed, both);
    HOLDS(read(to_us[0], &byte, 1) == 1);
    harm(seed);
    HOLDS(write(to_them[1], "", 1) == 1);
    int result = child_wait(child);
    if (result == 100 + SIGBUS || result == 100 + SIGSEGV || result == 100 + SIGABRT) killed++;
    else EQUAL(result, 0);
    for (int i = 0; i < 2; i++) close(to_us[i]), close(to_them[i]);
    expect_what_was_synced();
}

static void cut(uint64_t size)
{
    damage_cut(shared_path, size);
}

static void zero(uint64_t from)
{
    damage_zero(shared_path, from, damage_size(shared_path) - from);
}

static void randomize(uint64_t seed)
{
    damage_fill(shared_path, 0, damage_size(shared_path), seed);
}

static void randomize_the_log_state(uint64_t seed)
{
    damage_fill(shared_path, offsetof(struct lqi_shared, log) + offsetof(struct lqi_log_state, turn), 2000, seed);
}

static void cut_in_use_at_any_page_it_loses_nothing_synced(void **state)
{
    killed = 0;
    uint64_t sizes[] = {0, 1, 4096, LQI_SHARED_HEAD / 2 & ~(uint64_t)4095, LQI_SHARED_HEAD - 4096, LQI_SHARED_HEAD,
                        LQI_SHARED_HEAD + 32 * KIB, LQI_SHARED_HEAD + 64 * KIB, LQI_SHARED_HEAD + 64 * KIB + 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[20];
        snprintf(name, sizeof name, "q%d", (int)i);
        harmed_in_place(*state, name, cut, sizes[i]);
    }
    api_note("%u of %zu processes whose working memory was cut under them died of it", killed, sizeof sizes / sizeof *sizes);
}

static void zeroed_in_use_it_loses_nothing_synced(void **state)
{
    harmed_in_place(*state, "all", zero, 0);
    harmed_in_place(*state, "behind", zero, sizeof(struct lqi_identity));
    harmed_in_place(*state, "ring", zero, LQI_SHARED_HEAD);
}

static void random_in_use_it_loses_nothing_synced(void **state)
{
    const char *more = getenv("LQ_STRESS");
    uint64_t times = 20 * (more ? strtoull(more, NULL, 10) : 1);
    killed = 0;
    for (uint64_t seed = 1; seed <= times; seed++) {
        char name[20];
        snprintf(name, sizeof name, "q%d", (int)seed);
        harmed_in_place(*state, name, seed & 1 ? randomize : randomize_the_log_state, seed);
    }
    api_note("%u of %d processes whose working memory was overwritten under them died of it", killed, (int)times);
}

static unsigned told;
static int told_code;

static int note_code(void *context, int code, const lq_message *message)
{
    (void)context, (void)message;
    told++;
    told_code = code;
    return LQ_SETTLE_RELEASE;
}

/* LQ_ECORRUPT of GET would mean that the next call goes on behind the damage: a caller who believes it would call for ever. */
static void who_gets_from_a_consumer_whose_numbers_were_written_over_is_not_told_to_call_again(void **state)
{
    const lq_consumer_options by_hand = {.size = sizeof by_hand, .flags = LQ_CONSUMER_DISPATCH};
    lq_message message;
    size_t count;

    use_queue(*state, "q");
    lq_queue *queue = open_queue();
    lq_consumer *consumer = api_consumer(queue, "c", &by_hand);
    api_put_range(queue, 1, SYNCED, SIZE);
    OK(lq_get(consumer, &message, 0));
    OK(lq_sync(queue));
    struct lqi_consumer_slot *slot = lqi_consumers_find(queue->map.head, "c");
    atomic_store(&slot->delivered, (uint64_t)1 << 40);

    IS(LQ_EIO, lq_get(consumer, &message, -1));
    TEXT_HAS(LQI_SHARED_NAME, "consumer 'c'", "written over");
    IS(LQ_EIO, lq_ack(consumer, &message));
    OK(lq_notify(consumer, note_code, NULL));
    IS(LQ_EIO, lq_dispatch(consumer, 10, &count));
    EQUAL(told, 1);
    IS(LQ_EIO, told_code);
    IS(LQ_EIO, lq_consumer_close(consumer));
    OK(lq_close(queue)); /* all that it had been given was synced */
    expect_what_was_synced();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(removed_in_use_new_ones_are_refused_and_those_inside_go_on),
        IN_DIRECTORY(replaced_by_a_directory_in_use_new_ones_are_refused_and_those_inside_go_on),
        IN_DIRECTORY(replaced_by_a_link_in_use_new_ones_are_refused_and_those_inside_go_on),
        IN_DIRECTORY(with_a_second_name_in_use_new_ones_are_refused_and_those_inside_go_on),
        IN_DIRECTORY(replaced_by_a_pipe_in_use_new_ones_are_refused_and_those_inside_go_on),
        IN_DIRECTORY(replaced_by_an_empty_file_in_use_new_ones_are_refused_and_those_inside_go_on),
        IN_DIRECTORY(made_unreadable_in_use_it_is_a_matter_of_permission_to_new_ones),
        IN_DIRECTORY(who_gets_from_a_consumer_whose_numbers_were_written_over_is_not_told_to_call_again),
        IN_DIRECTORY(cut_in_use_at_any_page_it_loses_nothing_synced),
        IN_DIRECTORY(zeroed_in_use_it_loses_nothing_synced),
        IN_DIRECTORY(random_in_use_it_loses_nothing_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
