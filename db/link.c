/* Each failure doubles what the next pause may last, and the pause is drawn from the
 * whole of it, so that nodes that lost the database together do not come back together.
 * Rejected: libpq's PQreset() (it keeps the settings of a server that may be another one
 * now). */
#include "db/link.h"

#include "server/core/clock.h"
#include "server/core/log.h"

enum { BACKOFF_BASE_MS = 50, BACKOFF_CAP_MS = 4000, WHY_BYTES = 200 };

/* A database that is away is no news: it is said at once, and then three times a minute.
 */
enum { REMINDER_MS = 20000 };

void link_init(struct link *l, const struct db_options *options, const char *event)
{
    *l = (struct link){.options = *options, .event = event};
}

static int64_t next_pause_ms(struct link *l)
{
    return backoff_ms(l->failures++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
}

static void complain_of_connect(struct link *l, const char *why)
{
    if (clock_ms() < l->reminder_at_ms)
        return;
    l->reminder_at_ms = clock_ms() + REMINDER_MS;
    link_complain(l, "connect", why);
}

bool link_connect(struct link *l)
{
    char why[WHY_BYTES];

    if (l->db != NULL)
        return true;
    if (clock_ms() < l->next_try_ms)
        return false;
    if (db_open(&l->options, &l->db, why, sizeof why) != ERR_OK) {
        l->db = NULL;
        l->next_try_ms = clock_ms() + next_pause_ms(l);
        complain_of_connect(l, why);
        return false;
    }
    if (l->failures > 0)
        log_info(l->event, "connection=%s connected=true attempts=%d",
                 log_quoted(l->options.application_name), l->failures + 1);
    l->failures = 0;
    l->reminder_at_ms = 0;
    atomic_store(&l->up, true);
    return true;
}

void link_drop(struct link *l)
{
    if (l->db == NULL)
        return;
    atomic_store(&l->up, false);
    db_close(l->db);
    l->db = NULL;
    l->next_try_ms = clock_ms() + next_pause_ms(l);
}

void link_rest(struct link *l)
{
    sleep_ms(next_pause_ms(l));
}

void link_works(struct link *l)
{
    l->failures = 0;
}

bool link_is_up(struct link *l)
{
    return atomic_load(&l->up);
}

void link_complain(struct link *l, const char *what, const char *why)
{
    if (log_once_a_second(&l->complained_ms))
        log_warn(l->event, "connection=%s failed=%s why=%s",
                 log_quoted(l->options.application_name), what, log_quoted(why));
}
