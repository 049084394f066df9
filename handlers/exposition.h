/* exposition: metrics as Prometheus reads them (text format 0.0.4).
 *
 *     expo_family(&b, "belay_jobs", "gauge", "Jobs that have not ended.");
 *     expo_sample(&b, "belay_jobs", LABELS({"queue", q}, {"status", "todo"}), 17);
 *
 * A family is its head and then all of its samples. One thread. */
#ifndef BELAY_HANDLERS_EXPOSITION_H
#define BELAY_HANDLERS_EXPOSITION_H

#include "server/core/buf.h"
#include "server/core/histogram.h"

struct label {
    const char *key, *value; /* any text: it is escaped */
};

/* A list of labels; the last has no key. */
#define LABELS(...) ((const struct label[]){__VA_ARGS__, {NULL, NULL}})
#define NO_LABELS   ((const struct label[]){{NULL, NULL}})

/* type: "counter", "gauge" or "histogram"; help: one line. */
void expo_family(struct buf *b, const char *name, const char *type, const char *help);
void expo_sample(struct buf *b, const char *name, const struct label *labels,
                 int64_t value);
/* Microseconds, told in seconds. */
void expo_seconds(struct buf *b, const char *name, const struct label *labels,
                  int64_t us);
/* Its buckets, sum and count; nothing at all while it is empty. */
void expo_histogram(struct buf *b, const char *name, const struct label *labels,
                    const struct histogram *h);

#endif
