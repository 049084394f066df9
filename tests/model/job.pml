/* job: the life of one job with two workers, a user and a clock, for spin to look at in full.
 *
 * The job moves by guards.pml alone, which is made of transitions.txt, the table that tests/db/matrix.c holds the SQL against. What
 * the model adds is who may say what at which time: a worker may be frozen at any step and wake up again, or never, a notification
 * may be lost, and users ask for whatever they like. Each statement is atomic, as one statement is in PostgreSQL.
 *
 * What must hold are the asserts, and that every abort ends. With one of these defined, something must not:
 *   UNFENCED      a worker's result is taken whatever has become of the job
 *   ID_AND_STATE  ... wherever the job runs, without a look at the lease
 *   UNSURE        a worker that wakes up starts what it had claimed (D8)
 *   NO_POLL       what a lost notification said is not looked for
 *   NO_RESCUE     nobody looks after the jobs of a worker that is gone
 */
#include "guards.pml"

#define WORKERS 2
#ifndef WISHES
#define WISHES 3 /* of the user */
#endif
#ifndef MISHAPS
#define MISHAPS 2 /* freezes, and jobs that a worker gives back */
#endif
#define MOST_ATTEMPTS 2

#define IS_ASKED(s) (s == S_asked || s == S_leaving || s == S_recalled || s == S_late)
#define IS_DOING(s) (s == S_doing || IS_ASKED(s))
#define IS_WAITING(s) (s == S_ready || s == S_scheduled || s == S_held)
#define IS_OVER(s) (!IS_DOING(s) && !IS_WAITING(s))

/* The database. */
byte job = S_ready;
byte lease;            /* that of the job; 0: none */
byte leases;           /* how many there have been */
byte owner;            /* the worker of the lease */
byte counted;          /* attempts since the last retry by hand */

/* The workers. */
byte mine[WORKERS];    /* the lease under which each tells its results */
bool frozen[WORKERS];
bool sure[WORKERS] = true; /* no lease has gone by since the last heartbeat that was answered */
bool code[WORKERS];    /* code of the job is running */
bool flag[WORKERS];    /* it was asked to stop */

byte mishaps;

/* What the asserts are about; nobody decides by it. */
byte results;          /* accepted in this life of the job */
bool over;             /* somebody was told that it will not run */

#ifdef UNFENCED
#define MAY_TELL(w) true
#define TELLS(NEXT) (IS_DOING(job) -> NEXT(job) : (job == S_none -> S_none : S_succeeded))
#else
#ifdef ID_AND_STATE
#define MAY_TELL(w) IS_DOING(job)
#else
#define MAY_TELL(w) (lease == mine[w] && lease > 0)
#endif
#define TELLS(NEXT) NEXT(job)
#endif

#ifdef UNSURE
#define IS_SURE(w) true
#else
#define IS_SURE(w) sure[w]
#endif

/* After each change of the job. */
inline job_moved(was)
{
    if
    :: IS_DOING(was) && !IS_DOING(job) ->
        assert(!(was == S_asked || was == S_leaving) || IS_OVER(job)); /* an abort means no retry */
        lease = 0
    :: else
    fi;
    if
    :: IS_OVER(job) && !IS_OVER(was) -> over = true
    :: else
    fi
}

/* A statement of worker w about its job: the answer that it is stale changes nothing. */
#define TELL(w, NEXT) \
    was = job; \
    if \
    :: MAY_TELL(w) -> job = TELLS(NEXT) \
    :: else -> job = NEXT_finish_under_another_lease(job) \
    fi; \
    if \
    :: job != was || (IS_OVER(was) && MAY_TELL(w)) -> \
        assert(mine[w] == leases); /* nothing stale is taken */ \
        results = results + IS_OVER(job); \
        assert(results <= 1); \
        job_moved(was) \
    :: else \
    fi; \
    mine[w] = 0

/* The end of an attempt, as far as its task and what is left of the attempts have it. */
inline end_attempt(w)
{
    atomic {
        !frozen[w] ->
        code[w] = false;
        if
        :: TELL(w, NEXT_finish_with_success)
        :: counted < MOST_ATTEMPTS -> TELL(w, NEXT_give_back_with_attempts_left)
        :: counted >= MOST_ATTEMPTS -> TELL(w, NEXT_give_back_after_the_last_attempt)
        :: TELL(w, NEXT_finish_with_failure)
        :: flag[w] -> TELL(w, NEXT_finish_as_aborted)
        :: flag[w] -> TELL(w, NEXT_finish_as_killed)
        :: flag[w] && counted < MOST_ATTEMPTS -> TELL(w, NEXT_took_too_long_with_attempts_left)
        :: flag[w] && counted >= MOST_ATTEMPTS -> TELL(w, NEXT_took_too_long)
        :: mishaps < MISHAPS -> mishaps++; TELL(w, NEXT_give_back_at_shutdown)
        fi
    }
}

active [WORKERS] proctype worker()
{
    byte was;
    bool endless;

end_idle:
    do
    :: atomic {
        !frozen[_pid] && sure[_pid] && NEXT_claim(job) != job ->
        assert(!over);
        job = NEXT_claim(job);
        leases++;
        lease = leases;
        owner = _pid;
        mine[_pid] = lease;
        counted++;
        flag[_pid] = false;
        assert(!(code[1 - _pid] && sure[1 - _pid])) /* two at once only where one was given up */
       }
       if
       :: atomic { !frozen[_pid] && mishaps < MISHAPS -> mishaps++; TELL(_pid, NEXT_give_back_unstarted) }
       :: atomic { !frozen[_pid] && !IS_SURE(_pid) -> mine[_pid] = 0 }
       :: atomic {
            !frozen[_pid] && IS_SURE(_pid) ->
            assert(!over);
            code[_pid] = true;
            if
            :: endless = true
            :: endless = false
            fi
          }
end_runs:
          if
          :: atomic { !frozen[_pid] && flag[_pid] }
          :: atomic { !frozen[_pid] && !endless }
          fi;
          end_attempt(_pid)
       fi
    :: atomic { !frozen[_pid] && !sure[_pid] -> sure[_pid] = true } /* registers anew */
    od
}

/* Freezes workers, and wakes them or does not. */
active proctype fate()
{
    do
    :: atomic { mishaps < MISHAPS && !frozen[0] -> mishaps++; frozen[0] = true }
    :: atomic { mishaps < MISHAPS && !frozen[1] -> mishaps++; frozen[1] = true }
    :: atomic { frozen[0] -> frozen[0] = false }
    :: atomic { frozen[1] -> frozen[1] = false }
    :: break
    od
}

/* The janitors of all nodes: due, rescue, the poll for aborts. */
active proctype janitor()
{
    byte was;

end_rests:
    do
    :: atomic { NEXT_due(job) != job -> job = NEXT_due(job) }
#ifndef NO_POLL
    :: atomic { IS_ASKED(job) && !frozen[owner] && !flag[owner] -> flag[owner] = true }
#endif
#ifndef NO_RESCUE
    :: atomic {
        IS_DOING(job) && lease > 0 && frozen[owner] ->
        sure[owner] = false;
        was = job;
        if
        :: counted < MOST_ATTEMPTS -> job = NEXT_reap_of_a_dead_worker_with_attempts_left(job)
        :: counted >= MOST_ATTEMPTS -> job = NEXT_reap_of_a_dead_worker(job)
        fi;
        job_moved(was)
       }
#endif
    od
}

#define ASK(NEXT) \
    was = job; \
    job = NEXT(job); \
    if \
    :: IS_WAITING(was) && IS_OVER(job) -> assert(!(code[0] && sure[0]) && !(code[1] && sure[1])) /* never started */ \
    :: else \
    fi; \
    if \
    :: IS_ASKED(job) && !IS_ASKED(was) -> \
        if \
        :: !frozen[owner] -> flag[owner] = true \
        :: true /* the notification is lost */ \
        fi \
    :: else \
    fi; \
    job_moved(was)

/* A new life. */
#define ANEW(NEXT) \
    was = job; \
    if \
    :: NEXT(was) != was -> job = NEXT(was); over = false; results = 0; counted = 0 \
    :: else \
    fi

active proctype user()
{
    byte was, n;

    do
    :: atomic {
        n < WISHES ->
        n++;
        if
        :: ASK(NEXT_cancel)
        :: ASK(NEXT_cancel_with_abort)
        :: ASK(NEXT_cancel_with_abort_and_delete)
        :: ASK(NEXT_abort_and_requeue)
        :: ASK(NEXT_timeout_of_an_attempt)
        :: ASK(NEXT_deadline)
        :: ASK(NEXT_delete)
        :: ASK(NEXT_delete_with_abort)
        :: ASK(NEXT_hold)
        :: ASK(NEXT_release)
        :: ANEW(NEXT_retry)
        :: ANEW(NEXT_restore)
        fi
       }
    :: break
    od
}

ltl every_abort_ends { [] (IS_ASKED(job) -> <> !IS_ASKED(job)) }
