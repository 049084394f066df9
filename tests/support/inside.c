/* The node of one process is open at a time, so its flags can be kept in one place. */
#include "tests/support/inside.h"

#include "server/core/cleanup.h"
#include "server/core/log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { FLAGS_MOST = 32, TEXT_MOST = 512 };

/* Settings may point into it. */
static char text[TEXT_MOST], *argv[FLAGS_MOST];

struct node *inside_node(const char *url, struct config *config, const char *flags,
                         const struct task *all, const struct task **out_tasks, size_t n)
{
    CLEANUP(buf_release) struct buf why = BUF_INIT;
    struct node *node = NULL;
    char *rest = NULL;
    int argc = 0;

    log_configure(LOG_TEXT, LOG_ERROR);
    snprintf(text, sizeof text, "serve %s", flags);
    for (char *at = text; argc < FLAGS_MOST; at = NULL) {
        argv[argc] = strtok_r(at, " ", &rest);
        if (argv[argc] == NULL)
            break;
        argc++;
    }
    for (size_t i = 0; i < n; i++)
        out_tasks[i] = &all[i];
    out_tasks[n] = NULL;
    cr_assert_eq(config_load(config, argc, argv, &why), ERR_OK, "%s", why.text);
    struct node_options options = {
        .config = config, .url = url, .listen_url = url, .tasks = out_tasks};
    cr_assert_eq(node_open(&options, &node, &why), ERR_OK, "%s", why.text);
    return node;
}
