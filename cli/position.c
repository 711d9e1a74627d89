/* Places in the log. */
#include "position.h"

#include "locate.h"
#include "parse.h"
#include "report.h"

#include <assert.h>
#include <string.h>

struct position position_parse(const char *flag, const char *text)
{
    struct position position = {.kind = POSITION_CONSUMER, .consumer = text};

    if (strcmp(text, "begin") == 0) position.kind = POSITION_BEGIN;
    else if (strcmp(text, "end") == 0) position.kind = POSITION_END;
    else if (parse_count(text, &position.number)) position.kind = POSITION_ID;
    else if (*text == '-' && parse_count(text + 1, &position.number)) position.kind = POSITION_BACK;
    else if (*text == '@') {
        position.kind = POSITION_TIME;
        position.time_us = parse_time_flag(flag, text);
    } else if (!*text || *text == '-' || strpbrk(text, "/ \t\n")) {
        usage("%s: '%s' is no position: begin, end, N, -N, @TIME or a consumer's name", flag, text);
    }
    return position;
}

static int consumer_id(const struct position *position, lq_queue *queue, const char *queue_name, int last,
                       uint64_t *id_out)
{
    lq_consumer_stats stats = {.size = sizeof stats};
    int code = lq_get_consumer_stats(queue, position->consumer, &stats);

    if (code == LQ_ENOTFOUND) return locate_no_consumer(queue, queue_name, position->consumer);
    if (code != LQ_OK) return report_code(queue_name, "cannot read the consumer's position", code);
    *id_out = stats.floor + !last;
    return END_DONE;
}

int position_id(const struct position *position, lq_queue *queue, const char *queue_name, int last, uint64_t *id_out)
{
    lq_stats stats = {.size = sizeof stats};
    int code = lq_get_stats(queue, &stats);

    assert(position->kind != POSITION_TIME); /* is the caller's: only the log knows */
    if (code != LQ_OK) return report_code(queue_name, "cannot look", code);
    switch (position->kind) {
    case POSITION_BEGIN: *id_out = stats.first_id; break;
    case POSITION_END: *id_out = stats.last_id + !last; break;
    case POSITION_ID: *id_out = position->number; break;
    case POSITION_BACK: *id_out = stats.last_id > position->number ? stats.last_id - position->number + 1 : 1; break;
    default: return consumer_id(position, queue, queue_name, last, id_out);
    }
    return END_DONE;
}
