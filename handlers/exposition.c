#include "handlers/exposition.h"

#include "server/core/clock.h"

#include <inttypes.h>
#include <stddef.h>

void expo_family(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_escaped(struct buf *b, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            buf_adds(b, "\\n");
        else if (*text == '"' || *text == '\\')
            buf_addf(b, "\\%c", *text);
        else
            buf_addc(b, *text);
    }
}

/* name_suffix{key="value",le="le"}; le NULL: without. */
static void add_name(struct buf *b, const char *name, const char *suffix,
                     const struct label *labels, const char *le)
{
    const char *before = "{";

    buf_addf(b, "%s%s", name, suffix);
    for (; labels->key != NULL; labels++) {
        buf_addf(b, "%s%s=\"", before, labels->key);
        add_escaped(b, labels->value);
        buf_addc(b, '"');
        before = ",";
    }
    if (le != NULL) {
        buf_addf(b, "%sle=\"%s\"", before, le);
        before = ",";
    }
    buf_adds(b, *before == ',' ? "} " : " ");
}

static void add_seconds(struct buf *b, int64_t us)
{
    buf_addf(b, "%" PRId64 ".%06" PRId64, us / US_PER_SECOND, us % US_PER_SECOND);
}

void expo_sample(struct buf *b, const char *name, const struct label *labels,
                 int64_t value)
{
    add_name(b, name, "", labels, NULL);
    buf_addf(b, "%" PRId64 "\n", value);
}

void expo_seconds(struct buf *b, const char *name, const struct label *labels, int64_t us)
{
    add_name(b, name, "", labels, NULL);
    add_seconds(b, us);
    buf_addc(b, '\n');
}

void expo_histogram(struct buf *b, const char *name, const struct label *labels,
                    const struct histogram *h)
{
    static const char *const bounds[] = {
        "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",   "0.25",
        "0.5",   "1.0",    "2.5",   "5.0",  "10.0",  "60.0", "600.0", "3600.0"};
    _Static_assert(sizeof bounds / sizeof *bounds == HISTOGRAM_BOUNDS,
                   "as in histogram.c");
    int64_t n = histogram_up_to(h, HISTOGRAM_BOUNDS);

    if (n == 0)
        return;
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        add_name(b, name, "_bucket", labels, bounds[i]);
        buf_addf(b, "%" PRId64 "\n", histogram_up_to(h, i));
    }
    add_name(b, name, "_bucket", labels, "+Inf");
    buf_addf(b, "%" PRId64 "\n", n);
    add_name(b, name, "_sum", labels, NULL);
    add_seconds(b, atomic_load_explicit(&h->sum_us, memory_order_relaxed));
    buf_addc(b, '\n');
    add_name(b, name, "_count", labels, NULL);
    buf_addf(b, "%" PRId64 "\n", n);
}
