/* The model keeps one small struct a job and looks at all of them for each question: it
 * has to be plainly right, and nothing else. Rejected: to ask the database what it thinks
 * and reason from there; a fault would be in both. */
#include "tests/db/model.h"

#include <string.h>

static const char *const places[] = {"none",    "ready", "scheduled",
                                     "blocked", "held",  "doing"};
static const char *const endings[] = {"", "succeeded", "failed", "cancelled", "aborted"};

static bool is_todo(const struct model_job *j)
{
    return j->place >= READY && j->place <= PARKED;
}

/* -- locks --------------------------------------------------------------------------- */

static bool is_better(const struct model *m, int a, int b)
{
    const struct model_job *x = &m->jobs[a], *y = &m->jobs[b];

    return x->priority != y->priority ? x->priority > y->priority : a < b;
}

static int first_of_line(const struct model *m, int lock)
{
    int best = 0;

    for (int i = 1; i <= m->n; i++) {
        if (m->jobs[i].lock == lock && m->jobs[i].place == BLOCKED &&
            (best == 0 || is_better(m, i, best)))
            best = i;
    }
    return best;
}

static int holder_of(const struct model *m, int lock)
{
    for (int i = 1; i <= m->n; i++) {
        if (m->jobs[i].lock == lock && m->jobs[i].has_turn)
            return i;
    }
    return 0;
}

/* The turn goes to the best of the line; one that has it and has not started gives it
 * back to a better one. */
static void settle(struct model *m, int lock)
{
    int holder = holder_of(m, lock), first = first_of_line(m, lock);

    if (lock == 0 || first == 0)
        return;
    if (holder != 0) {
        if (m->jobs[holder].place == LEASE || is_better(m, holder, first))
            return;
        m->jobs[holder].has_turn = false;
        m->jobs[holder].place = BLOCKED;
    }
    m->jobs[first].has_turn = true;
    m->jobs[first].place = m->jobs[first].later ? SCHEDULED : READY;
}

/* -- in ------------------------------------------------------------------------------ */

/* Where a job waits that is todo now. */
static void put(struct model *m, int id)
{
    struct model_job *j = &m->jobs[id];

    if (j->lock == 0 || (j->later && !j->strict))
        j->place = j->later ? SCHEDULED : READY;
    else
        j->place = BLOCKED;
    settle(m, j->lock);
}

int model_insert(struct model *m, struct model_job job)
{
    int id = ++m->n; /* the database has used the number, too, when it refuses */

    m->jobs[id] = (struct model_job){.place = NOWHERE};
    if (job.queueing_lock != 0 && m->waiting[job.queueing_lock] != 0)
        return 0;
    m->waiting[job.queueing_lock] = job.queueing_lock != 0 ? id : 0;
    m->jobs[id] = job;
    put(m, id);
    return id;
}

static void leave_queue(struct model *m, int id)
{
    int *waiting = &m->waiting[m->jobs[id].queueing_lock];

    if (*waiting == id)
        *waiting = 0;
}

void model_claim(struct model *m, int worker, int n, struct buf *out)
{
    for (int taken = 0; taken < n && !m->paused; taken++) {
        int best = 0;
        for (int i = 1; i <= m->n; i++) {
            if (m->jobs[i].place == READY && (best == 0 || is_better(m, i, best)))
                best = i;
        }
        if (best == 0)
            break;
        m->jobs[best].place = LEASE;
        m->jobs[best].worker = worker;
        leave_queue(m, best);
        buf_addf(out, "%c%d", taken == 0 ? '{' : ',', best);
    }
    if (out->len > 0)
        buf_addc(out, '}');
}

void model_due(struct model *m)
{
    for (int i = 1; i <= m->n; i++) {
        struct model_job *j = &m->jobs[i];
        bool waits = j->place == SCHEDULED;
        j->later = is_todo(j) ? false : j->later;
        if (waits && !j->has_turn && j->lock != 0)
            j->place = BLOCKED;
        else if (waits)
            j->place = READY;
    }
    for (int lock = 1; lock < MODEL_LOCKS; lock++)
        settle(m, lock);
}

/* -- out ----------------------------------------------------------------------------- */

static void end(struct model *m, int id, enum ending ending)
{
    struct model_job *j = &m->jobs[id];

    leave_queue(m, id);
    j->place = j->delete_asked ? NOWHERE : ENDS;
    j->ending = ending;
    j->has_turn = j->asked = j->delete_asked = j->later = false;
    settle(m, j->lock);
}

static enum ending ending_of(const char *word)
{
    enum ending e = SUCCEEDED;

    while (strcmp(endings[e], word) != 0)
        e++;
    return e;
}

void model_finish(struct model *m, int id, const char *how, struct buf *out)
{
    struct model_job *j = &m->jobs[id];
    bool asked = j->asked;

    buf_adds(out, how);
    if (asked)
        buf_addf(out, "/%s", strcmp(how, "succeeded") == 0 ? "completed" : how);
    j->attempts++;
    end(m, id, ending_of(how));
}

void model_give_back(struct model *m, int id, const char *kind, bool later,
                     struct buf *out)
{
    struct model_job *j = &m->jobs[id];
    bool counts = strcmp(kind, "retry") == 0, started = strcmp(kind, "unstarted") != 0;
    enum ending asked = counts ? FAILED : started ? ABORTED : CANCELLED;

    j->attempts += started;
    if (j->asked) {
        buf_addf(out, "%s/%s", endings[asked], endings[asked]);
        end(m, id, asked);
        return;
    }
    j->uncounted += started && !counts;
    if (counts && j->attempts - j->uncounted - j->base >= j->max_attempts) {
        buf_adds(out, "failed");
        end(m, id, FAILED);
        return;
    }
    j->later = counts && later;
    buf_addf(out, "todo%s", j->later ? "/scheduled" : "");
    j->place = j->later ? SCHEDULED : READY;
    j->has_turn = j->lock != 0 && (!j->later || j->strict);
    settle(m, j->lock);
}

/* -- what users do ------------------------------------------------------------------- */

static const char *abort_running(struct model_job *j, bool delete)
{
    j->asked = true;
    j->delete_asked = j->delete_asked || delete;
    return "aborting";
}

const char *model_cancel(struct model *m, int id, bool abort, bool delete)
{
    struct model_job *j = &m->jobs[id];

    if (j->place == NOWHERE)
        return "job-not-found";
    if (j->place == LEASE)
        return abort ? abort_running(j, delete) : "job-running";
    if (is_todo(j)) {
        j->delete_asked = delete;
        end(m, id, CANCELLED);
        return "cancelled";
    }
    if (j->ending == SUCCEEDED || j->ending == FAILED)
        return "job-finished";
    if (delete)
        j->place = NOWHERE;
    return j->ending == CANCELLED ? "already_cancelled" : "already_aborted";
}

const char *model_delete(struct model *m, int id, bool abort)
{
    struct model_job *j = &m->jobs[id];

    if (j->place == NOWHERE)
        return "job-not-found";
    if (j->place == LEASE)
        return abort ? abort_running(j, true) : "job-running";
    if (is_todo(j))
        end(m, id, CANCELLED);
    j->place = NOWHERE;
    return "deleted";
}

const char *model_retry(struct model *m, int id)
{
    struct model_job *j = &m->jobs[id];
    int *waiting = &m->waiting[j->queueing_lock];

    if (j->place == NOWHERE)
        return "job-not-found";
    if (j->place != ENDS)
        return "job-not-finished";
    if (j->queueing_lock != 0 && *waiting != 0)
        return "already-enqueued";
    *waiting = j->queueing_lock != 0 ? id : 0;
    j->ending = NO_END;
    j->base = j->attempts - j->uncounted;
    put(m, id);
    return "retried";
}

const char *model_hold(struct model *m, int id)
{
    struct model_job *j = &m->jobs[id];

    if (j->place == NOWHERE)
        return "job-not-found";
    if (!is_todo(j))
        return j->place == LEASE ? "job-running" : "job-finished";
    j->place = PARKED;
    j->has_turn = false;
    settle(m, j->lock);
    return "held";
}

const char *model_release(struct model *m, int id)
{
    struct model_job *j = &m->jobs[id];

    if (j->place == NOWHERE)
        return "job-not-found";
    if (j->place != PARKED)
        return "not_held";
    put(m, id);
    return "released";
}

int model_replace(struct model *m, struct model_job job)
{
    int id = m->waiting[job.queueing_lock];
    struct model_job *j = &m->jobs[id], old = *j;

    *j = job;
    j->attempts = old.attempts;
    j->uncounted = old.uncounted;
    j->base = old.attempts - old.uncounted;
    j->place = old.place;
    if (old.place != PARKED)
        put(m, id);
    settle(m, old.lock);
    return id;
}

void model_cancel_all(struct model *m, int lock, bool abort, struct buf *out)
{
    int cancelled = 0, aborting = 0;

    for (int i = 1; i <= m->n; i++) {
        struct model_job *j = &m->jobs[i];
        if (j->place == NOWHERE || j->lock != lock)
            continue;
        if (j->place == LEASE && abort) {
            j->asked = true;
            aborting++;
        } else if (is_todo(j)) {
            j->place = NOWHERE; /* so that none of them gets the turn */
            j->has_turn = false;
            cancelled++;
            j->ending = NO_END;
            j->delete_asked = true;
        }
    }
    for (int i = 1; i <= m->n; i++) {
        if (m->jobs[i].place != NOWHERE || !m->jobs[i].delete_asked)
            continue;
        m->jobs[i].delete_asked = false;
        end(m, i, CANCELLED);
    }
    buf_addf(out, "%d %d", cancelled, aborting);
}

/* -- what is seen -------------------------------------------------------------------- */

void model_one(const struct model *m, int id, struct buf *out)
{
    const struct model_job *j = &m->jobs[id];

    if (j->place == NOWHERE)
        buf_addf(out, "%d none\n", id);
    else
        buf_addf(out, "%d %s %d%s\n", id,
                 j->place == ENDS ? endings[j->ending] : places[j->place], j->attempts,
                 j->asked ? " asked" : "");
}

void model_live(const struct model *m, struct buf *out)
{
    for (int i = 1; i <= m->n; i++) {
        if (m->jobs[i].place != NOWHERE && m->jobs[i].place != ENDS)
            model_one(m, i, out);
    }
}
