/* All that a program can ask of a queue whose files may say anything, asked: whatever the answers are,
 * they come soon, are codes with a text, and agree with each other. */
#ifndef SUPPORT_SURVEY_H
#define SUPPORT_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include <libqueue.h>

enum { SURVEY_IDS = 64 };

struct survey {
    int verified;              /* what lq_verify() said */
    uint64_t findings, lost;
    char text[600];            /* of the first finding, with its file in front */
    int opened;                /* lq_open() to look */
    lq_stats stats;
    uint64_t ids[SURVEY_IDS];  /* what a reader found, the first ones */
    uint64_t read, holes;      /* messages, and times that it said LQ_ECORRUPT */
    int opened_to_write;
    int consumer_opened;       /* consumer "survey", made if missing */
    uint64_t got;              /* messages it got, and acked */
    uint64_t got_ids[SURVEY_IDS];
    int put;                   /* lq_put() of a message */
    uint64_t put_id;
    int put_read;              /* LQ_OK: a reader finds it, with its bytes */
    int closed;
};

/* Fails the test (or ends the process) where an answer is not what the header allows. */
struct survey survey(const char *queue);

/* Only what looks and changes nothing. */
struct survey survey_look(const char *queue);

bool survey_read(const struct survey *survey, uint64_t id); /* is it among `ids`? */

#endif
