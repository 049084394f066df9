#include "server/core/err.h"

#include <criterion/criterion.h>
#include <string.h>

Test(err, every_kind_has_a_status_a_code_and_a_title)
{
    for (int e = 0; e < ERR_COUNT; e++) {
        const char *code = err_code(e);
        cr_assert(e == ERR_OK ? err_status(e) == 200
                              : err_status(e) >= 400 && err_status(e) < 600);
        cr_assert_gt(strlen(err_title(e)), 0);
        cr_assert_eq(strspn(code, "abcdefghijklmnopqrstuvwxyz-0123456789"), strlen(code),
                     "%s", code);
    }
}

Test(err, no_two_kinds_share_a_code)
{
    for (int a = 0; a < ERR_COUNT; a++)
        for (int b = a + 1; b < ERR_COUNT; b++)
            cr_assert_str_neq(err_code(a), err_code(b));
}
