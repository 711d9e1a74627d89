/* The table of rates. */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include "bench.h"

void table_head(void);
/* Rates in messages a second; a floor of 0 is none. */
void table_row(const struct row *row, double library, double memory, double file);

#endif
