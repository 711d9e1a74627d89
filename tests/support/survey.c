#include "survey.h"

#include <stdio.h>
#include <string.h>

#include "api.h"

/* No queue of a test has as many messages or damaged places: more is a loop. */
enum { STEPS_MAX = 100000 };

static const char put_text[] = "put by the survey";

/* A failure says why, in words fit for a line. */
static void is_told(int code)
{
    if (code >= 0) return;
    HOLDS(strcmp(lq_error_name(code), "LQ_?") != 0);
    HOLDS(*lq_error_text() != 0 && !strchr(lq_error_text(), '\n'));
}

static void first_finding(void *context, const lq_finding *finding)
{
    struct survey *survey = context;

    HOLDS(finding->code < 0 && finding->file && *finding->text && !strchr(finding->text, '\n'));
    HOLDS(finding->count ? finding->first_id >= 1 && finding->first_id + finding->count > finding->first_id : finding->first_id == 0);
    if (!*survey->text) snprintf(survey->text, sizeof survey->text, "%.100s: %.400s", finding->file, finding->text);
}

static void verify(struct survey *survey, const char *queue)
{
    lq_verify_result result = {.size = sizeof result};

    survey->verified = lq_verify(queue, 0, first_finding, survey, &result);
    is_told(survey->verified);
    survey->findings = result.findings;
    survey->lost = result.lost;
    if (survey->verified == LQ_OK) HOLDS(result.findings == 0 && result.lost == 0);
    if (survey->verified == LQ_ECORRUPT) HOLDS(result.findings > 0);
    int quick = lq_verify(queue, LQ_VERIFY_QUICK, NULL, NULL, NULL);
    if (survey->verified == LQ_OK) IS(LQ_OK, quick);
}

static void read_all(struct survey *survey, lq_queue *queue)
{
    lq_reader *reader;
    lq_message message;
    uint64_t last = 0;
    int code, steps = 0;

    code = lq_reader_open(queue, &reader);
    is_told(code);
    if (code) return;
    survey->read = survey->holes = 0;
    while ((code = lq_reader_next(reader, &message)) != LQ_EMPTY) {
        HOLDS(++steps < STEPS_MAX);
        is_told(code);
        if (code != LQ_OK && code != LQ_ECORRUPT) break;
        if (code == LQ_ECORRUPT) {
            lq_finding hole = {.size = sizeof hole};
            OK(lq_reader_damage(reader, &hole));
            HOLDS(hole.file && hole.text && *hole.text);
            survey->holes++;
            continue;
        }
        HOLDS(message.id > last);
        HOLDS(message.size <= 1u << 30 && message.key_size <= LQ_KEY_MAX && message.headers_size <= LQ_KEY_MAX);
        last = message.id;
        if (survey->read < SURVEY_IDS) survey->ids[survey->read] = message.id;
        survey->read++;
    }
    lq_reader_close(reader);
}

/* Anywhere one may ask to begin: a message that is found is one that is there. */
static void seek_anywhere(const struct survey *survey, lq_queue *queue)
{
    static const uint64_t ids[] = {0, 1, 2, 3, 7, 100, (1u << 31) - 1, 1u << 31, UINT64_C(1) << 32, INT64_MAX - 1, INT64_MAX,
                                   UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX};
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, 1700000000000000, INT64_MAX - 1, INT64_MAX};
    lq_reader *reader;
    lq_message message;

    if (lq_reader_open(queue, &reader) != LQ_OK) return;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int code = lq_reader_seek_id(reader, ids[i]), steps = 0;
        is_told(code);
        while (code == LQ_OK && (code = lq_reader_next(reader, &message)) == LQ_ECORRUPT && ++steps < STEPS_MAX) code = LQ_OK;
        HOLDS(steps < STEPS_MAX);
        if (code == LQ_OK) HOLDS(message.id >= ids[i]);
        if (survey->read <= SURVEY_IDS && survey_read(survey, ids[i])) EQUAL(code == LQ_OK ? message.id : 0, ids[i]);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int code = lq_reader_seek_time(reader, times[i]);
        is_told(code);
        if (code == LQ_OK) code = lq_reader_next(reader, &message);
        is_told(code);
    }
    is_told(lq_reader_wait(reader, 0));
    lq_reader_close(reader);
}

static int any_segment(void *context, const lq_segment *segment)
{
    (void)context;
    HOLDS(segment->file && *segment->file);
    is_told(segment->code);
    return 0;
}

static int any_consumer(void *context, int code, const lq_consumer_stats *stats)
{
    (void)context;
    HOLDS(*stats->name);
    is_told(code);
    if (code == LQ_OK) HOLDS(stats->floor <= stats->delivered);
    return 0;
}

/* A handle that only looks looks thrice before it calls something damaged: that takes time. */
static void look(struct survey *survey, lq_queue *queue, bool everywhere)
{
    int code;

    survey->stats.size = sizeof survey->stats;
    code = lq_get_stats(queue, &survey->stats);
    is_told(code);
    if (code == LQ_OK) {
        const lq_stats *stats = &survey->stats;
        HOLDS(stats->first_id >= 1 && stats->first_id <= stats->last_id + 1 && stats->visible_id <= stats->last_id);
        HOLDS(stats->written <= stats->appended && stats->synced <= stats->appended && stats->bytes <= stats->appended);
    }
    read_all(survey, queue);
    if (everywhere) seek_anywhere(survey, queue);
    is_told(lq_each_segment(queue, any_segment, NULL));
    is_told(lq_each_consumer(queue, any_consumer, NULL));
}

struct survey survey_look(const char *path)
{
    struct survey survey = {0};
    lq_queue *queue;

    verify(&survey, path);
    survey.opened = lq_open(path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_READ_ONLY}, &queue);
    is_told(survey.opened);
    if (survey.opened == LQ_OK) {
        look(&survey, queue, false);
        OK(lq_close(queue));
    }
    return survey;
}

static void consume(struct survey *survey, lq_queue *queue)
{
    lq_consumer *consumer;
    lq_message message;
    int code, steps = 0;

    survey->consumer_opened = lq_consumer_open(queue, "survey", NULL, &consumer);
    is_told(survey->consumer_opened);
    if (survey->consumer_opened) return;
    while ((code = lq_poll(consumer, &message)) != LQ_EMPTY) {
        HOLDS(++steps < STEPS_MAX);
        is_told(code);
        if (code == LQ_ECORRUPT) continue;
        if (code) break;
        if (survey->got < SURVEY_IDS) survey->got_ids[survey->got] = message.id;
        survey->got++;
        OK(lq_ack(consumer, &message));
    }
    is_told(lq_consumer_close(consumer));
}

static void find_put(struct survey *survey, lq_queue *queue)
{
    lq_reader *reader;
    lq_message message = {0};

    OK(lq_reader_open(queue, &reader));
    OK(lq_reader_seek_id(reader, survey->put_id));
    survey->put_read = lq_reader_next(reader, &message);
    if (survey->put_read == LQ_OK && (message.id != survey->put_id || !api_is_text(&message, put_text))) survey->put_read = LQ_ENOTFOUND;
    lq_reader_close(reader);
}

struct survey survey(const char *path)
{
    struct survey survey = survey_look(path);
    lq_queue *queue;

    survey.opened_to_write = lq_open(path, &(lq_options){.size = sizeof(lq_options), .flags = LQ_NO_CREATE}, &queue);
    is_told(survey.opened_to_write);
    if (survey.opened_to_write) return survey;
    look(&survey, queue, true);
    consume(&survey, queue);
    survey.put = lq_put(queue, put_text, strlen(put_text), &survey.put_id);
    is_told(survey.put);
    if (survey.put == LQ_OK) {
        OK(lq_sync(queue));
        find_put(&survey, queue);
    }
    is_told(lq_sync(queue));
    survey.closed = lq_close(queue);
    is_told(survey.closed);
    /* And once more, after what has been done to it. */
    struct survey again = survey_look(path);
    if (survey.put == LQ_OK && again.read <= SURVEY_IDS) HOLDS(survey_read(&again, survey.put_id));
    return survey;
}

bool survey_read(const struct survey *survey, uint64_t id)
{
    for (uint64_t i = 0; i < survey->read && i < SURVEY_IDS; i++)
        if (survey->ids[i] == id) return true;
    return false;
}
