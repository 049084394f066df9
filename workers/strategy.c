/* A job's own strategy is kept as the JSON that came and read when an attempt has failed,
 * which is seldom; so a job that succeeds pays nothing for it. Rejected: to work the wait
 * out in SQL (tasks and settings are the node's). */
#include "workers/strategy.h"

#include "server/core/clock.h"

#include <jansson.h>
#include <string.h>
#include <sys/random.h>

static const char *const words[] = {[RETRY_EXPONENTIAL] = "exponential",
                                    [RETRY_LINEAR] = "linear",
                                    [RETRY_FIXED] = "fixed"};

enum { KINDS = sizeof words / sizeof *words, DOUBLINGS_MAX = 62 };

bool strategy_kind(const char *word, enum retry_kind *out)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(words[i], word) != 0)
            continue;
        *out = (enum retry_kind)i;
        return true;
    }
    return false;
}

/* -- what counts --------------------------------------------------------------------- */

static const struct retry_strategy by_settings = {.kind = RETRY_EXPONENTIAL};

/* 0 stands for the setting, and what is below it for 0. */
static double seconds_of(double given, int64_t setting)
{
    if (given == 0)
        return (double)setting;
    return given > 0 ? given : 0;
}

static bool has_jitter(const struct retry_strategy *s)
{
    return s->jitter == RETRY_JITTER_BY_KIND ? s->kind == RETRY_EXPONENTIAL
                                             : s->jitter == RETRY_JITTER_YES;
}

double strategy_seconds(const struct config *c, const struct retry_strategy *s,
                        int failures)
{
    double wait = seconds_of(s->wait_seconds, c->backoff_base_seconds);
    double most = seconds_of(s->max_wait_seconds, c->backoff_max_seconds);

    switch (s->kind) {
    case RETRY_FIXED:
        break;
    case RETRY_LINEAR:
        wait *= failures;
        break;
    case RETRY_EXPONENTIAL:
        for (int i = 1; i < failures && i < DOUBLINGS_MAX; i++)
            wait *= 2;
        break;
    }
    return wait < most ? wait : most;
}

static bool is_among(const char *const *list, const char *kind)
{
    if (list == NULL)
        return true;
    while (*list != NULL && strcmp(*list, kind) != 0)
        list++;
    return *list != NULL;
}

/* Without chance (early at boot) the whole wait is waited for: late is safe, all at once
 * is not. */
static int64_t wait_ms(const struct config *c, const struct retry_strategy *s,
                       int failures)
{
    int64_t ms = (int64_t)(strategy_seconds(c, s, failures) * MS_PER_SECOND);
    uint64_t random = 0;

    if (!has_jitter(s) || getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        return ms;
    return (int64_t)(random % (uint64_t)(ms + 1));
}

/* -- a job's own --------------------------------------------------------------------- */

static double own_seconds(const json_t *retry, const char *name)
{
    const json_t *value = json_object_get(retry, name);

    if (!json_is_number(value))
        return 0;
    return json_number_value(value) > 0 ? json_number_value(value) : -1;
}

static struct retry_strategy own(const json_t *retry)
{
    struct retry_strategy s = by_settings;
    const char *kind = json_string_value(json_object_get(retry, "kind"));
    const json_t *jitter = json_object_get(retry, "jitter");

    if (kind != NULL)
        (void)strategy_kind(kind, &s.kind);
    if (json_is_boolean(jitter))
        s.jitter = json_is_true(jitter) ? RETRY_JITTER_YES : RETRY_JITTER_NO;
    s.wait_seconds = own_seconds(retry, "wait_seconds");
    s.max_wait_seconds = own_seconds(retry, "max_wait_seconds");
    return s;
}

static bool is_own_kind(const json_t *list, const char *kind)
{
    size_t i = 0;

    if (!json_is_array(list))
        return true;
    for (; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (word != NULL && strcmp(word, kind) == 0)
            return true;
    }
    return false;
}

int64_t strategy_wait_ms(const struct config *c, const struct job *job, const char *kind)
{
    json_t *options = job->options != NULL ? json_loads(job->options, 0, NULL) : NULL;
    const json_t *retry = json_object_get(options, "retry");
    struct retry_strategy s = by_settings;
    bool again = true;

    if (json_is_object(retry)) {
        s = own(retry);
        again = is_own_kind(json_object_get(retry, "on"), kind);
    } else if (job->task != NULL && job->task->retry != NULL) {
        s = *job->task->retry;
        again = is_among(s.on, kind);
    }
    json_decref(options);
    return again ? wait_ms(c, &s, job->counted) : -1;
}

/* -- a task's own -------------------------------------------------------------------- */

void strategy_add_json(struct buf *b, const struct config *c,
                       const struct retry_strategy *s)
{
    s = s != NULL ? s : &by_settings;
    buf_addf(b,
             "{\"kind\":\"%s\",\"wait_seconds\":%.15g,\"max_wait_seconds\":%.15g,"
             "\"jitter\":%s,\"on\":",
             words[s->kind], seconds_of(s->wait_seconds, c->backoff_base_seconds),
             seconds_of(s->max_wait_seconds, c->backoff_max_seconds),
             has_jitter(s) ? "true" : "false");
    if (s->on == NULL) {
        buf_adds(b, "null}");
        return;
    }
    buf_addc(b, '[');
    for (const char *const *kind = s->on; *kind != NULL; kind++) {
        if (kind > s->on)
            buf_addc(b, ',');
        buf_add_json_string(b, *kind, strlen(*kind));
    }
    buf_adds(b, "]}");
}

static bool in_range(double seconds)
{
    return seconds <= STRATEGY_SECONDS_MAX; /* no NaN, either */
}

const char *strategy_fault(const struct retry_strategy *s)
{
    if ((unsigned)s->kind >= KINDS)
        return "retry: kind should be RETRY_EXPONENTIAL, RETRY_LINEAR or RETRY_FIXED";
    if (!in_range(s->wait_seconds) || !in_range(s->max_wait_seconds))
        return "retry: wait_seconds and max_wait_seconds should be at most 604800";
    return NULL;
}
