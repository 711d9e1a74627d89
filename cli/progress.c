/* Bar, rate, time left. */
#include "progress.h"

#include "human.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_AFTER_US = 500000, EVERY_US = 200000, BAR_WIDTH = 24 };

void progress_init(struct progress *progress, uint64_t total)
{
    const char *term = getenv("TERM");

    progress->on = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    progress->drawn = false;
    progress->start_us = steady_time_us();
    progress->next_us = progress->start_us + FIRST_AFTER_US;
    progress->total = total;
}

/* "[=====>      ]  42 %  " */
static void draw_bar(double part)
{
    int filled = (int)(part * BAR_WIDTH);

    fputc('[', stderr);
    for (int i = 0; i < BAR_WIDTH; i++) fputc(i < filled ? '=' : i == filled ? '>' : ' ', stderr);
    fprintf(stderr, "] %3d %%  ", (int)(part * 100));
}

void progress_show(struct progress *progress, uint64_t done, uint64_t messages, uint64_t bytes)
{
    int64_t now_us, passed_us;
    double part, seconds;

    if (!progress->on || (now_us = steady_time_us()) < progress->next_us) return;
    progress->next_us = now_us + EVERY_US;
    progress->drawn = true;
    passed_us = now_us - progress->start_us;
    seconds = (double)passed_us / 1e6;
    part = progress->total ? (double)done / (double)progress->total : 0;
    if (part > 1) part = 1;

    fputs("\r\033[K", stderr);
    if (progress->total) draw_bar(part);
    fprintf(stderr, "%s messages  %s/s", human_count(messages).text,
            human_count((uint64_t)((double)messages / seconds)).text);
    fprintf(stderr, "  %s  %s/s", human_size(bytes).text, human_size((uint64_t)((double)bytes / seconds)).text);
    if (part > 0) fprintf(stderr, "  %s left", human_span((int64_t)((double)passed_us * (1 - part) / part)).text);
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->drawn) fputs("\r\033[K", stderr);
    progress->drawn = false;
}
