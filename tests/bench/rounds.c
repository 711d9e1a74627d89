/* Rounds: on a machine that others use too, only what was measured within the
 * same moments can be compared. So every round does every work once, floors
 * right beside the library, and a figure is the median of its rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "table.h"

#define ROUNDS_MAX 99

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_values(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
}

double median(double *values, size_t count)
{
    sort_values(values, count);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double percentile(double *values, size_t count, double share)
{
    size_t index = (size_t)((double)count * share);
    return values[index < count ? index : count - 1];
}

struct measured {
    double library[ROUNDS_MAX], memory[ROUNDS_MAX], file[ROUNDS_MAX];
};

static bool wanted(const struct row *row)
{
    return !plan.only || strstr(row->name, plan.only);
}

static double once(measure *what, const struct work *work)
{
    return what ? what(work) : 0;
}

static void progress(unsigned round, size_t row, size_t count)
{
    fprintf(stderr, "\rround %u of %u, %zu of %zu ", round + 1, plan.rounds, row + 1, count);
    if (round + 1 == plan.rounds && row + 1 == count) fprintf(stderr, "\r%40s\r", "");
}

void run_rounds(const struct row *rows, size_t count)
{
    struct measured *measured = calloc(count, sizeof *measured);
    if (!measured) abort();
    if (plan.rounds > ROUNDS_MAX) plan.rounds = ROUNDS_MAX;

    for (unsigned round = 0; round < plan.rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            if (!wanted(&rows[i])) continue;
            progress(round, i, count);
            measured[i].library[round] = once(rows[i].library, &rows[i].work);
            measured[i].memory[round] = once(rows[i].memory, &rows[i].work);
            measured[i].file[round] = once(rows[i].file, &rows[i].work);
        }
    }
    fprintf(stderr, "\n");
    table_head();
    for (size_t i = 0; i < count; i++) {
        if (!wanted(&rows[i])) continue;
        table_row(&rows[i], median(measured[i].library, plan.rounds), median(measured[i].memory, plan.rounds),
                  median(measured[i].file, plan.rounds));
    }
    free(measured);
}
