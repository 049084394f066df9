#include "server/http/spare.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(spare, .timeout = 30);

enum { PIECE = 1 << 20, PIECES_MAX = 64 };

Test(spare, is_used_up_and_whole_again_when_all_has_come_back)
{
    struct spare s;
    void *pieces[PIECES_MAX];
    int n = 0;

    spare_open(&s);
    while (n < PIECES_MAX && (pieces[n] = spare_take(&s, PIECE)) != NULL) {
        memset(pieces[n], n, PIECE);
        n++;
    }
    cr_expect(n > 1 && n < PIECES_MAX);
    cr_expect_null(spare_take(&s, PIECE));
    for (int i = 0; i < n; i++) {
        cr_expect_eq(*(char *)pieces[i], i);
        cr_expect(spare_is_short(&s));
        cr_expect(spare_give_back(&s, pieces[i]));
    }
    cr_expect_not(spare_is_short(&s));
    cr_expect_not_null(spare_take(&s, PIECE));
    spare_close(&s);
}

Test(spare, pieces_are_aligned_and_others_are_not_its_own)
{
    struct spare s;
    char other[16];

    spare_open(&s);
    char *a = spare_take(&s, 1), *b = spare_take(&s, 17);
    cr_expect_eq(b - a, 16);
    cr_expect_not(spare_give_back(&s, other));
    cr_expect_not(spare_give_back(&s, NULL));
    cr_expect_null(spare_take(&s, (size_t)-1));
    spare_close(&s);
    cr_expect_null(spare_take(&s, 1));
}
