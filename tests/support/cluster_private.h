/* cluster_private: what cluster.c, private_cluster.c, statements.c and mutant.c share. */
#ifndef BELAY_TESTS_SUPPORT_CLUSTER_PRIVATE_H
#define BELAY_TESTS_SUPPORT_CLUSTER_PRIVATE_H

#include <stdbool.h>

/* What tests find in their environment: the directory of the broker and of private
 * clusters. */
extern const char cluster_dir_variable[];

void cluster_remove_tree(const char *path);

/* For PQsetNoticeProcessor(): notices are not what a test is about. */
void cluster_ignore_notice(void *arg, const char *message);

/* For tests/mutants. Puts into the database what the file of BELAY_TEST_MUTANT says, if
 * there is one; why not is added to `why`. */
struct buf;
bool mutant_apply(const char *url, struct buf *why);

/* Adds a line to the file of BELAY_TEST_WHOSE: the database is this test's. */
void mutant_say_whose(const char *url);

#endif
