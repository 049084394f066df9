#include "server/core/buf.h"

#include <criterion/criterion.h>

Test(buf, starts_empty)
{
    struct buf b = BUF_INIT;
    cr_assert_eq(b.len, 0);
    buf_release(&b);
}
