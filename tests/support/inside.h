/* inside: a node that runs in the test's own process, with tasks that no program would
 * have, against a real database.
 *
 *     struct config config;
 *     struct node *node = inside_node(url, &config, "--lease-seconds 2", all, tasks, n);
 *     ...
 *     node_close(node);
 *     node_free(node);
 *     config_release(&config);
 */
#ifndef BELAY_TESTS_SUPPORT_INSIDE_H
#define BELAY_TESTS_SUPPORT_INSIDE_H

#include "server/core/config.h"
#include "workers/node.h"

/* flags: of `belay serve`, apart by a space each. out_tasks: room for n + 1, lives as
 * long as the node does, as `all` does. A test that gets none has failed. */
struct node *inside_node(const char *url, struct config *config, const char *flags,
                         const struct task *all, const struct task **out_tasks, size_t n);

#endif
