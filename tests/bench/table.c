#include "table.h"

#include <stdio.h>

void table_head(void)
{
    printf("%-30s %7s %9s %9s %9s %7s  %-12s %6s\n", "messages a second", "bytes", "libqueue", "memory", "file", "nearer",
           "at least", "of it");
}

static const char *rate(double value, char text[16])
{
    if (value <= 0) snprintf(text, 16, "-");
    else if (value >= 1e6) snprintf(text, 16, "%.2f M", value / 1e6);
    else snprintf(text, 16, "%.1f k", value / 1e3);
    return text;
}

static double nearer(double memory, double file)
{
    if (memory <= 0) return file;
    return file <= 0 || memory < file ? memory : file;
}

void table_row(const struct row *row, double library, double memory, double file)
{
    static const char *const floors[] = {[OF_NEARER] = "nearer", [OF_MEMORY] = "memory", [OF_FILE] = "file"};
    double near = nearer(memory, file);
    double against = row->aim_of == OF_MEMORY ? memory : row->aim_of == OF_FILE ? file : near;
    char a[16], b[16], c[16], aim[16] = "";

    snprintf(aim, sizeof aim, "%.2f %s", row->aim, floors[row->aim_of]);
    printf("%-30s %7zu %9s %9s %9s %7.2f  %-12s %6.2f\n", row->name, row->work.size, rate(library, a), rate(memory, b),
           rate(file, c), library / near, aim, library / against / row->aim);
}
