#include "workers/async/overflow.h"

#include "workers/async/stacks.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { HANDLER_STACK_BYTES = 32 << 10 };

/* The handler cannot run on the stack that is full. */
static _Thread_local char handler_stack[HANDLER_STACK_BYTES];
static _Thread_local struct loop *watched;

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));

    (void)ignored;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    struct loop *loop = watched;

    (void)context;
    if (loop != NULL && stacks_is_guard(loop->stacks, info->si_addr)) {
        say("belay: the async task ");
        say(atomic_load(&loop->running_name));
        say(" has used more than its stack of 60 KiB\n");
    }
    signal(number, SIG_DFL); /* the fault comes again, and ends the process */
}

void overflow_watch(struct loop *loop)
{
    struct sigaction before,
        action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};

    if (sigaction(SIGSEGV, NULL, &before) != 0 ||
        (before.sa_handler != SIG_DFL && before.sa_sigaction != on_fault))
        return;
    watched = loop;
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
}
