/* A change of a gate is one statement, which waits for the claims that are at work: when
 * it has answered, no claim goes by what was before. What may start then is told to the
 * workers after the commit; what time will change, to the janitor. */
#include "handlers/gates.h"

#include "handlers/fields.h"

#include <stddef.h>
#include <string.h>

enum { MOST = 1000000, NAME_MAX_BYTES = 128 };

#define AT(member) offsetof(struct pause_options, member)

enum err gate_name(struct request *req, const char *param, const char **out)
{
    const char *name = req_path(req, param);
    size_t len = strlen(name);

    if (len == 0 || len > NAME_MAX_BYTES || !field_is_name(name))
        return req_fail(req, ERR_ROUTE_NOT_FOUND,
                        "a name has 1 to %d letters, digits and _ . : / -",
                        NAME_MAX_BYTES);
    *out = name;
    return ERR_OK;
}

enum err read_pause_options(struct request *req, struct pause_options *out)
{
    static const struct field fields[] = {
        {"reason", FIELD_TEXT, AT(reason), 0, 1024},
        {"actor", FIELD_TEXT, AT(actor), 0, 255},
        {"until", FIELD_TIME, AT(until), 0, 0},
    };

    *out = (struct pause_options){.until = INT64_MIN};
    return fields_read_options(req, fields, sizeof fields / sizeof *fields, out);
}

struct db_value pause_until(const struct pause_options *opt)
{
    return opt->until != INT64_MIN ? db_int(opt->until) : db_null();
}

/* -- the answers --------------------------------------------------------------------- */

static void reply_gate(struct request *req, const struct db_rows *rows)
{
    node_wake_scheduled(req_app(req)->node);
    node_wake(req_app(req)->node, "", 1);
    req_reply(req, 200, NULL, row_text(rows, 0, 0), (size_t)row_len(rows, 0, 0));
}

enum err pause_gate(struct request *req, const char *kind, const char *name)
{
    struct pause_options opt;
    enum err e = read_pause_options(req, &opt);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_gate_pause, 1);
    v[0] = db_text(kind);
    v[1] = db_text(name);
    v[2] = db_text(opt.actor);
    v[3] = db_text(opt.reason);
    v[4] = pause_until(&opt);
    return submit(req, LANE_CONTROL, SQL_gate_pause, 1, v, reply_gate);
}

enum err resume_gate(struct request *req, const char *kind, const char *name)
{
    struct db_value *v = submit_values(req, SQL_gate_resume, 1);

    v[0] = db_text(kind);
    v[1] = db_text(name);
    return submit(req, LANE_CONTROL, SQL_gate_resume, 1, v, reply_gate);
}

/* -- limits -------------------------------------------------------------------------- */

/* -1: not given. */
struct limits_body {
    int64_t max_running, burst;
    double rate;
};

static enum err read_limits(struct request *req, struct limits_body *out)
{
    static const struct field fields[] = {
        {"max_running", FIELD_INT, offsetof(struct limits_body, max_running), 0, MOST},
        {"rate_per_second", FIELD_NUMBER, offsetof(struct limits_body, rate), 0, MOST},
        {"burst", FIELD_INT, offsetof(struct limits_body, burst), 1, MOST},
    };
    struct span body;
    enum err e = fields_check_body(req, JSON_OBJECT, &body);

    *out = (struct limits_body){.max_running = -1, .burst = -1, .rate = -1};
    if (e == ERR_OK)
        e = fields_read(req, "", body, fields, sizeof fields / sizeof *fields, out);
    if (e != ERR_OK)
        return e;
    if (out->rate >= 0 && out->rate < 0.001)
        return req_fail_at(
            req, ERR_INVALID, "/rate_per_second",
            "must be at least 0.001; what must not start at all is paused");
    if (out->burst >= 0 && out->rate < 0)
        return req_fail_at(req, ERR_INVALID, "/burst", "is of use with rate_per_second");
    return ERR_OK;
}

enum err limit_gate(struct request *req, const char *kind, const char *name)
{
    struct limits_body limits;
    enum err e = read_limits(req, &limits);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_gate_limit, 1);
    v[0] = db_text(kind);
    v[1] = db_text(name);
    v[2] = limits.max_running >= 0 ? db_int(limits.max_running) : db_null();
    v[3] = limits.rate > 0 ? db_text(req_printf(req, "%.17g", limits.rate)) : db_null();
    v[4] = limits.burst >= 0 ? db_int(limits.burst) : db_null();
    return submit(req, LANE_CONTROL, SQL_gate_limit, 1, v, reply_gate);
}
