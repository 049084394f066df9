#include "tests/support/steered.h"

#include <unistd.h>

#define GATE "until [ -e \"$0\" ]; do sleep 0.02; done"

static const char declarations[] =
    "commands:\n"
    "  - name: deaf\n"
    "    command: [/bin/sh, -c, 'trap \"\" TERM; : >\"$0.runs\"; " GATE
    "; rm -f \"$0.runs\"', '{{args.file}}']\n"
    "    grace_seconds: 100\n"
    "  - name: traced\n"
    "    command: [/bin/sh, -c, 'echo \"$TRACEPARENT\"']\n"
    "  - name: failing\n"
    "    command: [/bin/sh, -c, 'trap \"\" TERM; : >\"$0.runs\"; " GATE "; exit 3',"
    " '{{args.file}}']\n"
    "    grace_seconds: 100\n"
    "  - name: stubborn\n"
    "    command: [/bin/sh, -c, 'trap \"\" TERM; : >\"$0.runs\"; while :; do sleep 0.05; "
    "done',"
    " '{{args.file}}']\n"
    "    grace_seconds: 1\n"
    "  - name: hasty\n"
    "    command: [/bin/sh, -c, ': >\"$0.runs\"; while :; do sleep 0.05; done',"
    " '{{args.file}}']\n"
    "    timeout_seconds: 1\n"
    "  - name: polite\n"
    "    command: [/bin/sh, -c, 'trap \"exit 4\" TERM; : >\"$0.runs\"; while :; do sleep "
    "0.02;"
    " done', '{{args.file}}']\n"
    "  - name: daemons\n"
    "    command: [/bin/sh, -c, 'trap \"exit 4\" TERM; setsid sh -c \"trap : TERM; echo "
    "\\$\\$"
    " >$0; while :; do sleep 1; done\" & until [ -s \"$0\" ]; do sleep 0.02; done; :"
    " >\"$0.runs\"; while :; do sleep 0.02; done', '{{args.file}}']\n"
    "    grace_seconds: 1\n";

const char *steered(const char *flags)
{
    static const char *file;

    if (file == NULL)
        scratch_write(file = scratch_path("belay.yaml"), declarations);
    return text_of("--config %s %s", file, flags);
}

int64_t put_steered(struct service *s, const char *task, const char *file)
{
    int64_t id = put_job(s, text_of("{\"task\":\"%s\",\"args\":{\"file\":\"%s\"},"
                                    "\"max_attempts\":5}",
                                    task, file));

    wait_until(access(text_of("%s.runs", file), F_OK) == 0);
    return id;
}

int64_t put_sleeper(struct service *s)
{
    int64_t id = put_job(s, "{\"task\":\"sleep\",\"args\":{\"seconds\":600}}");

    wait_status(s, id, "doing");
    return id;
}
