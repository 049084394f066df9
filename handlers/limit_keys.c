/* listLimitKeys, setLimitKey, deleteLimitKey: /limit-keys. A key that jobs name and that
 * has no limit is free. */
#include "build/gen/operations.h"
#include "handlers/gates.h"

static void reply_keys(struct request *req, const struct db_rows *rows)
{
    reply_list(req, rows, "limit_keys", 1);
}

enum err list_limit_keys(struct request *req)
{
    return submit(req, LANE_READ, SQL_limit_key_list, 1, NULL, reply_keys);
}

enum err set_limit_key(struct request *req)
{
    const char *key;
    enum err e = gate_name(req, "key", &key);

    return e == ERR_OK ? limit_gate(req, "key", key) : e;
}

static void reply_deleted(struct request *req, const struct db_rows *rows)
{
    (void)rows;
    node_wake(req_app(req)->node, "", 1);
    req_reply(req, 204, NULL, "", 0);
}

enum err delete_limit_key(struct request *req)
{
    const char *key;
    enum err e = gate_name(req, "key", &key);

    if (e != ERR_OK)
        return e;
    struct db_value *v = submit_values(req, SQL_gate_limit, 1);
    v[0] = db_text("key");
    v[1] = db_text(key);
    v[2] = v[3] = v[4] = db_null();
    return submit(req, LANE_CONTROL, SQL_gate_limit, 1, v, reply_deleted);
}
