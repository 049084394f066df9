/* gates: pause and limits of what has a gate: queues, tasks, limit keys. What the
 * operations of these have in common; the answer is the gate as it is then.
 *
 * `kind` is a literal: "queue", "task" or "key"; `name` comes from the path. */
#ifndef BELAY_HANDLERS_GATES_H
#define BELAY_HANDLERS_GATES_H

#include "handlers/submit.h"

/* The path parameter as a name, as createJob takes it. */
enum err gate_name(struct request *req, const char *param, const char **out) MUST_CHECK;

/* {"reason", "actor", "until"}: of a pause, and of a hold. */
struct pause_options {
    const char *reason, *actor;
    int64_t until; /* INT64_MIN: not given */
};

/* The body, which may be missing. */
enum err read_pause_options(struct request *req, struct pause_options *out) MUST_CHECK;
struct db_value pause_until(const struct pause_options *opt);

enum err pause_gate(struct request *req, const char *kind, const char *name) MUST_CHECK;
enum err resume_gate(struct request *req, const char *kind, const char *name) MUST_CHECK;
/* Replaces the limits by those of the body. */
enum err limit_gate(struct request *req, const char *kind, const char *name) MUST_CHECK;

#endif
