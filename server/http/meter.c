/* A list that is searched, the last found first: of forty operations with twenty statuses
 * each a service shows a dozen. Rejected: a table of all of them, which would be 100 KB
 * of nothing. */
#include "server/http/meter.h"

#include <stdlib.h>

static struct meter_row **find(struct meter *m, const char *operation, int status)
{
    struct meter_row **link = &m->rows;

    while (*link != NULL &&
           ((*link)->operation != operation || (*link)->status != status))
        link = &(*link)->next;
    return link;
}

void meter_add(struct meter *m, const char *operation, int status, int64_t us)
{
    struct meter_row **link = find(m, operation, status), *row = *link;

    if (row == NULL) {
        row = calloc(1, sizeof *row);
        if (row == NULL)
            return;
        row->operation = operation;
        row->status = status;
    } else {
        *link = row->next;
    }
    row->next = m->rows;
    m->rows = row;
    histogram_add(&row->took, us);
}

void meter_release(struct meter *m)
{
    for (struct meter_row *row = m->rows, *next; row != NULL; row = next) {
        next = row->next;
        free(row);
    }
    m->rows = NULL;
}
