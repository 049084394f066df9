/* ledger: what the sessions of a race were answered, and whether that can be true.
 *
 * t.log has a row for each answer: what ('end', 'back', 'cancelled', 'retried'), the job,
 * and the attempt where the answer was given to its worker, else 0 or less. */
#ifndef BELAY_TESTS_DB_LEDGER_H
#define BELAY_TESTS_DB_LEDGER_H

void ledger_open(const char *url);

/* Holds the log against the tables; each contradiction fails the test. */
/* ,('what',job,attempt) and so on. */
void ledger_load(const char *url, const char *rows);
void ledger_judge(const char *url);

#endif
