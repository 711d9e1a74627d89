/* Tables on standard output. */
#include "table.h"

#include "utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Out of memory in a view: there is nothing to save and nobody to tell but the user. */
static void *or_abort(void *memory)
{
    if (memory) return memory;
    fputs("lq: out of memory\n", stderr);
    abort();
}

static void add_cell(struct table *table, const char *text, enum paint colour)
{
    char safe[1024];
    size_t column = table->count % table->columns, width;

    utf8_escape_line(text, safe, sizeof safe);
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 64;
        table->cells = or_abort(realloc(table->cells, table->capacity * sizeof *table->cells));
    }
    table->cells[table->count++] = (struct table_cell){or_abort(strdup(safe)), colour};
    width = utf8_width(safe);
    if (width > table->width[column]) table->width[column] = width;
}

void table_init(struct table *table, const char *const headings[])
{
    memset(table, 0, sizeof *table);
    while (headings[table->columns]) table->columns++;
    assert(table->columns <= TABLE_COLUMNS_MAX);
    for (size_t i = 0; headings[i]; i++) {
        table->right[i] = *headings[i] == '>';
        add_cell(table, headings[i] + table->right[i], PAINT_BOLD);
    }
}

void table_cell(struct table *table, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_cell(table, text, PAINT_NONE);
}

void table_paint(struct table *table, enum paint colour)
{
    table->cells[table->count - 1].colour = colour;
}

static void print_cell(const struct table *table, size_t index)
{
    const struct table_cell *cell = &table->cells[index];
    size_t column = index % table->columns, space = table->width[column] - utf8_width(cell->text);
    bool last = column + 1 == table->columns;

    if (table->right[column]) out_format("%*s", (int)space, "");
    if (cell->colour != PAINT_NONE) out_text(paint(cell->colour));
    out_text(cell->text);
    if (cell->colour != PAINT_NONE) out_text(paint(PAINT_NONE));
    if (!table->right[column] && !last) out_format("%*s", (int)space, "");
    out_text(last ? "\n" : "  ");
}

void table_print(const struct table *table, const char *indent)
{
    for (size_t i = 0; i < table->count; i++) {
        if (i % table->columns == 0) out_text(indent);
        print_cell(table, i);
    }
}

void table_release(struct table *table)
{
    for (size_t i = 0; i < table->count; i++) free(table->cells[i].text);
    free(table->cells);
    memset(table, 0, sizeof *table);
}
