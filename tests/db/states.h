/* states: a job in any of the states that statements are tried from, in SQL.
 *
 * states_database() is jobs_database() with more helpers: t.stand(state, attempts) puts a
 * job into one of states[], t.state(job) says in which one it is (`none`: there is no
 * such job), and every statement that tests/model/transitions.txt names can be called. */
#ifndef BELAY_TESTS_DB_STATES_H
#define BELAY_TESTS_DB_STATES_H

enum { STATES = 17 };

extern const char *const states[STATES];

const char *states_database(void);

#endif
