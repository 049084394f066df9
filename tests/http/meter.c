#include "server/http/meter.h"

#include <criterion/criterion.h>

Test(meter, each_operation_and_status_has_a_row)
{
    struct meter m = {.rows = NULL};
    const char *a = "getJob", *b = "cancelJob";
    int n = 0;

    meter_add(&m, a, 200, 10);
    meter_add(&m, b, 202, 10);
    meter_add(&m, a, 404, 10);
    meter_add(&m, a, 200, 30);
    for (const struct meter_row *row = m.rows; row != NULL; row = row->next) {
        bool twice = row->operation == a && row->status == 200;
        cr_expect_eq(histogram_up_to(&row->took, HISTOGRAM_BOUNDS), twice ? 2 : 1);
        n++;
    }
    cr_expect_eq(n, 3);
    cr_expect_eq(m.rows->status, 200, "the last one is found first");
    meter_release(&m);
}
