/* A table: a line of headings, then rows, columns as wide as their widest cell.
 *
 *     static const char *const headings[] = {"NAME", ">SIZE", NULL};   ">": to the right
 *     table_init(&table, headings);
 *     table_cell(&table, "%s", name);  table_cell(&table, "%s", size);
 *     table_print(&table);  table_release(&table);
 *
 * Cells are escaped, so names from outside are harmless. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "out.h"

#include <stdbool.h>
#include <stddef.h>

enum { TABLE_COLUMNS_MAX = 16 };

struct table_cell {
    char *text;
    enum paint colour;
};

struct table {
    size_t columns;
    bool right[TABLE_COLUMNS_MAX];
    size_t width[TABLE_COLUMNS_MAX];
    struct table_cell *cells; /* row after row, the headings first */
    size_t count, capacity;
};

void table_init(struct table *table, const char *const headings[]);
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_paint(struct table *table, enum paint colour); /* the cell made last */
void table_print(const struct table *table, const char *indent);
void table_release(struct table *table);

#endif
