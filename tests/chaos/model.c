/* All states in which the job may be are kept at once, so what happens unseen needs no
 * guess, and all orders of the few operations are tried. Rejected: a list of which
 * answers exclude which ends (it says nothing as soon as a retry is among them). */
#include "tests/chaos/model.h"

#include <string.h>

enum state {
    WAITING,
    DOING,
    ASKED, /* doing, and an abort was asked */
    ASKED_DELETE,
    SUCCEEDED,
    FAILED,
    CANCELLED,
    ABORTED,
    GONE,
    STATES
};
enum { ATTEMPTS = 32, MOST = 4 };

static const char *const state_names[STATES] = {"todo",      "doing",     "doing",
                                                "doing",     "succeeded", "failed",
                                                "cancelled", "aborted",   "gone"};

/* All states in which the job may be. */
struct set {
    bool at[STATES][ATTEMPTS];
    int n;
};

static void add(struct set *s, enum state state, int attempt)
{
    if (attempt < 0 || attempt >= ATTEMPTS || s->at[state][attempt])
        return;
    s->at[state][attempt] = true;
    s->n++;
}

/* -- what happens by itself ---------------------------------------------------------- */

static void move(struct set *s, enum state state, int n, struct nature nature)
{
    switch ((int)state) {
    case WAITING:
        add(s, DOING, n + 1);
        break;
    case DOING:
        add(s, WAITING, n - 1); /* given back before it started */
        add(s, SUCCEEDED, n);
        if (nature.retries || nature.loses_lease)
            add(s, WAITING, n);
        if (nature.fails || nature.loses_lease)
            add(s, FAILED, n);
        break;
    case ASKED:
        add(s, CANCELLED, n - 1); /* before it started */
        add(s, SUCCEEDED, n);
        add(s, ABORTED, n);
        if (nature.fails)
            add(s, FAILED, n);
        break;
    case ASKED_DELETE:
        add(s, GONE, 0);
        break;
    default:
        break;
    }
}

static void let_time_pass(struct set *s, struct nature nature)
{
    int before;

    do {
        before = s->n;
        for (int i = 0; i < STATES * ATTEMPTS; i++) {
            enum state state = (enum state)(i / ATTEMPTS);
            if (s->at[state][i % ATTEMPTS])
                move(s, state, i % ATTEMPTS, nature);
        }
    } while (s->n > before);
}

/* -- operations ---------------------------------------------------------------------- */

struct rule {
    long status;
    const char *result;
    enum state next;
};

static bool is_terminal(enum state state)
{
    return state >= SUCCEEDED && state <= ABORTED;
}

static bool deletes(enum operation operation)
{
    return operation == OP_DELETE || operation == OP_DELETE_ABORT;
}

/* Of a job that runs. */
static struct rule rule_of_doing(enum operation operation, enum state state)
{
    switch ((int)operation) {
    case OP_ABORT:
        return (struct rule){202, "aborting", state == ASKED_DELETE ? state : ASKED};
    case OP_DELETE_ABORT:
        return (struct rule){202, "aborting", ASKED_DELETE};
    case OP_RETRY:
        return (struct rule){409, "job-not-finished", state};
    default:
        return (struct rule){409, "job-running", state};
    }
}

/* Of a job that has ended, or waits. */
static struct rule rule_of_resting(enum operation operation, enum state state)
{
    enum state kept = operation == OP_CANCEL_DELETE ? GONE : CANCELLED;

    if (deletes(operation))
        return (struct rule){204, "", GONE};
    if (operation == OP_RETRY)
        return is_terminal(state) ? (struct rule){200, "retried", WAITING}
                                  : (struct rule){409, "job-not-finished", state};
    if (state == WAITING)
        return (struct rule){200, "cancelled", kept};
    if (state == CANCELLED)
        return (struct rule){200, "already_cancelled", kept};
    if (state == ABORTED)
        return (struct rule){200, "already_aborted", kept == GONE ? GONE : ABORTED};
    return (struct rule){409, "job-finished", state};
}

static struct rule rule_of(enum operation operation, enum state state)
{
    if (state == GONE)
        return (struct rule){404, "job-not-found", GONE};
    if (state >= DOING && state <= ASKED_DELETE)
        return rule_of_doing(operation, state);
    return rule_of_resting(operation, state);
}

static struct set after(const struct set *s, const struct said *said)
{
    struct set next = {.n = 0};

    for (int i = 0; i < STATES; i++) {
        struct rule r = rule_of(said->operation, (enum state)i);
        if (r.status != said->status || strcmp(r.result, said->result) != 0)
            continue;
        for (int n = 0; n < ATTEMPTS; n++)
            if (s->at[i][n] && (said->attempt < 0 || said->attempt == n))
                add(&next, r.next, r.next == GONE ? 0 : n);
    }
    return next;
}

/* -- orders -------------------------------------------------------------------------- */

/* Nothing that is still to come had ended before this one began. */
static bool may_be_next(const struct said *said, int n, unsigned done, int i)
{
    for (int k = 0; k < n; k++)
        if (k != i && !(done & 1u << k) && said[k].end_us < said[i].begin_us)
            return false;
    return true;
}

struct question {
    const struct said *said;
    int n;
    struct nature nature;
    const char *status;
    int attempt;
};

static bool leads_to_the_end(const struct question *q, struct set s, unsigned done)
{
    let_time_pass(&s, q->nature);
    if (s.n == 0)
        return false;
    for (int i = 0; i < q->n; i++) {
        if (done & 1u << i || !may_be_next(q->said, q->n, done, i))
            continue;
        if (leads_to_the_end(q, after(&s, &q->said[i]), done | 1u << i))
            return true;
    }
    if (done != (1u << q->n) - 1)
        return false;
    for (int i = 0; i < STATES; i++)
        if (s.at[i][q->attempt] && strcmp(state_names[i], q->status) == 0)
            return true;
    return false;
}

bool model_allows(const struct said *said, int n, struct nature nature,
                  const char *status, int attempt)
{
    struct question q = {said, n, nature, status, attempt};
    struct set s = {.n = 0};

    if (attempt < 0 || attempt >= ATTEMPTS || n > MOST)
        return false;
    add(&s, WAITING, 0);
    return leads_to_the_end(&q, s, 0);
}
