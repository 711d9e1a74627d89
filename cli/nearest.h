/* The nearest name: for "did you mean". */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

/* Takes candidates one after the other and keeps the nearest to `wanted`.
 * Zero it, set `wanted`, offer, then look at `best`: "" when none is near. */
struct nearest {
    const char *wanted;
    unsigned distance; /* of best */
    char best[256];
};

void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
