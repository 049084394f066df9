/* cluster_private: what cluster.c and private_cluster.c share. */
#ifndef BELAY_TESTS_SUPPORT_CLUSTER_PRIVATE_H
#define BELAY_TESTS_SUPPORT_CLUSTER_PRIVATE_H

/* What tests find in their environment: the directory of the broker and of private
 * clusters. */
extern const char cluster_dir_variable[];

void cluster_remove_tree(const char *path);

#endif
