/* What lq_verify() says of a queue, as a whole: every finding, and numbers that agree with them. Included by one file of each program. */
#ifndef SUPPORT_VERIFIED_H
#define SUPPORT_VERIFIED_H

#include <stdint.h>
#include <stdio.h>

#include "api.h"

enum { FINDINGS = 16 };

struct found {
    unsigned count;
    struct {
        char file[128], text[400];
        uint64_t offset, first_id, count;
        int code;
    } all[FINDINGS];
    lq_verify_result result;
};

static inline void note(void *context, const lq_finding *finding)
{
    struct found *found = context;
    HOLDS(finding->size == sizeof *finding && found->count < FINDINGS);
    HOLDS((finding->first_id != 0) == (finding->count != 0));
    snprintf(found->all[found->count].file, sizeof found->all->file, "%s", finding->file);
    snprintf(found->all[found->count].text, sizeof found->all->text, "%s", finding->text);
    found->all[found->count].offset = finding->offset;
    found->all[found->count].first_id = finding->first_id;
    found->all[found->count].count = finding->count;
    found->all[found->count].code = finding->code;
    found->count++;
}

static inline struct found verify(const char *queue)
{
    struct found found = {.result = {.size = sizeof found.result}};
    uint64_t lost = 0;
    int code = lq_verify(queue, 0, note, &found, &found.result);
    EQUAL(found.result.findings, found.count);
    for (unsigned i = 0; i < found.count; i++) lost += found.all[i].count;
    EQUAL(found.result.lost, lost);
    IS(found.count ? LQ_ECORRUPT : LQ_OK, code);
    return found;
}

#endif
