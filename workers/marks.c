/* A queue that was emptied is full of dead index entries for as long as a foreign
 * transaction is open, and a claim that starts at its front walks over all of them. It
 * starts at what was the lowest to be seen a while ago; what may have come in below is
 * found by looks at the whole, which are paid from a budget of their own time. Rejected:
 * a fixed pause between full looks (too seldom while they are cheap, too often when they
 * take long). */
#include "workers/marks.h"

#include <inttypes.h>
#include <string.h>

/* A full look that is this fast walks over nothing worth avoiding. */
enum { CHEAP_US = 3000, FULL_MOST_MS = 4000 };

bool marks_want_full(const struct marks *m, int64_t now_ms)
{
    return m->n == 0 || now_ms >= m->full_at_ms;
}

void marks_add_json(const struct marks *m, struct buf *b)
{
    for (int i = 0; i < m->n; i++)
        buf_addf(b, "%c\"%d\":%" PRId64, i == 0 ? '{' : ',', m->mark[i].priority,
                 m->mark[i].low);
    buf_addc(b, '}');
}

void marks_saw(struct marks *m, int priority, int64_t id)
{
    int i = 0;

    while (i < m->n && m->mark[i].priority > priority)
        i++;
    if (i < m->n && m->mark[i].priority == priority) {
        if (id - 1 < m->mark[i].next_low || m->mark[i].next_low < 0)
            m->mark[i].next_low = id - 1;
        return;
    }
    if (m->n == MARKS_MAX)
        m->n--; /* the lowest priority is left to full looks */
    if (i >= MARKS_MAX)
        return;
    memmove(&m->mark[i + 1], &m->mark[i], sizeof m->mark[0] * (size_t)(m->n - i));
    m->mark[i] = (struct mark){.priority = priority, .low = 0, .next_low = id - 1};
    m->n++;
}

/* What was the lowest a while ago: transactions that began before then have committed. */
static void age(struct marks *m, int64_t now_ms)
{
    if (now_ms - m->aged_ms < MARKS_AGE_MS)
        return;
    m->aged_ms = now_ms;
    for (int i = 0; i < m->n; i++) {
        if (m->mark[i].next_low >= 0)
            m->mark[i].low = m->mark[i].next_low;
        m->mark[i].next_low = -1;
    }
}

void marks_note(struct marks *m, bool full, int64_t took_us, int64_t now_ms)
{
    int64_t pause_ms = took_us * MARKS_SHARE / 1000;

    if (full)
        m->full_at_ms = took_us <= CHEAP_US       ? now_ms
                        : pause_ms < FULL_MOST_MS ? now_ms + pause_ms
                                                  : now_ms + FULL_MOST_MS;
    age(m, now_ms);
}
