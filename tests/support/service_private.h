/* service_private: what service.c and http.c share. */
#ifndef BELAY_TESTS_SUPPORT_SERVICE_PRIVATE_H
#define BELAY_TESTS_SUPPORT_SERVICE_PRIVATE_H

#include "tests/support/service.h"

struct service {
    pid_t pid;
    int log_fd, port, exit_code;
    bool ended, crashed;
    char *log;
};

#endif
