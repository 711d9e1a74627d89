/* Damerau-Levenshtein distance (adjacent letters swapped count as one slip). */
#include "nearest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LENGTH_MAX = 100 };

static unsigned smaller(unsigned one, unsigned other)
{
    return one < other ? one : other;
}

static int same(char one, char other)
{
    return tolower((unsigned char)one) == tolower((unsigned char)other);
}

static unsigned distance_of(const char *from, const char *to)
{
    size_t from_length = strlen(from), to_length = strlen(to);
    unsigned rows[3][LENGTH_MAX + 1]; /* the last but one, the last, and this one, in turn */

    if (from_length > LENGTH_MAX || to_length > LENGTH_MAX) return LENGTH_MAX;
    for (unsigned j = 0; j <= to_length; j++) rows[0][j] = j;
    for (unsigned i = 1; i <= from_length; i++) {
        unsigned *row = rows[i % 3], *last = rows[(i + 2) % 3], *last_but_one = rows[(i + 1) % 3];

        row[0] = i;
        for (unsigned j = 1; j <= to_length; j++) {
            row[j] = smaller(smaller(last[j], row[j - 1]) + 1, last[j - 1] + !same(from[i - 1], to[j - 1]));
            if (i > 1 && j > 1 && same(from[i - 1], to[j - 2]) && same(from[i - 2], to[j - 1]))
                row[j] = smaller(row[j], last_but_one[j - 2] + 1);
        }
    }
    return rows[from_length % 3][to_length];
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t length = strlen(nearest->wanted);
    unsigned distance = distance_of(nearest->wanted, candidate);

    /* One slip in three letters may be a typo; more is another word. The
     * beginning of a long name is a name half typed. */
    if (length >= 2 && strncmp(nearest->wanted, candidate, length) == 0) distance = 1;
    if (distance > (length + 2) / 3 || distance >= length) return;
    if (nearest->best[0] && distance >= nearest->distance) return;
    nearest->distance = distance;
    snprintf(nearest->best, sizeof nearest->best, "%s", candidate);
}
