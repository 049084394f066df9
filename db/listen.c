/* Two connections in one thread: one listens, one tells. Telling never happens inside
 * anybody's transaction, because a transaction that notifies takes a lock over the whole
 * cluster until its commit is on disk (16 clients: 21,900 commits a second without, 6,000
 * with). The first message goes at once; what follows within 50 ms is told together. */
#include "db/listen.h"

#include "db/link.h"
#include "server/core/buf.h"
#include "server/core/clock.h"
#include "server/core/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    COALESCE_MS = 50,
    TELL_MAX = 256, /* different messages in one window; beyond it one for all queues */
    PAYLOAD_BYTES = 160,
    CHECK_MS = 10000, /* between two questions whether the server still answers */
    NONCE_MS = 1000,
};

struct message {
    char channel[32], payload[PAYLOAD_BYTES];
};

struct listener {
    struct listener_options options;
    char *url;
    pthread_t thread;
    int wake_fd;
    atomic_bool stopping, up;
    pthread_mutex_t mutex;
    struct message waiting[TELL_MAX]; /* under mutex */
    int n_waiting;                    /* under mutex */
    /* of the thread: */
    struct link listening, telling;
    int64_t next_check_ms, tell_at_ms, told_ms, nonce_until_ms;
    char nonce[48];
    bool nonce_came;
};

static void on_notify(void *arg, const char *channel, const char *payload, int sender)
{
    struct listener *l = arg;

    if (strcmp(payload, l->nonce) == 0 && l->nonce[0] != '\0')
        l->nonce_came = true;
    else if (l->telling.db == NULL || sender != db_backend(l->telling.db))
        l->options.on_notify(l->options.arg, channel, payload, sender);
    /* else: what we told the others ourselves */
}

/* -- connections --------------------------------------------------------------------- */

static enum err start_listening(struct listener *l)
{
    struct db *db = l->listening.db;
    enum err e = db_run(
        db, "LISTEN " CHANNEL_READY "; LISTEN " CHANNEL_ABORT "; LISTEN " CHANNEL_SWEEP,
        NULL);

    if (e != ERR_OK)
        return e;
    snprintf(l->nonce, sizeof l->nonce, "nonce-%ld-%" PRIdPTR, (long)getpid(),
             (intptr_t)clock_us());
    l->nonce_came = false;
    l->nonce_until_ms = clock_ms() + NONCE_MS;
    l->next_check_ms = clock_ms() + CHECK_MS;
    listen_notify_later(l, CHANNEL_READY, l->nonce);
    /* After LISTEN, so that nothing falls between. */
    l->options.on_resync(l->options.arg);
    return ERR_OK;
}

static void drop_listening(struct listener *l)
{
    atomic_store(&l->up, false);
    link_drop(&l->listening);
}

static void connect_missing(struct listener *l)
{
    bool was_telling = l->telling.db != NULL, was_listening = l->listening.db != NULL;

    if (link_connect(&l->telling) && !was_telling &&
        db_run(l->telling.db, "SET synchronous_commit = off", NULL) != ERR_OK)
        link_drop(&l->telling);
    if (l->options.listen && link_connect(&l->listening) && !was_listening &&
        start_listening(l) != ERR_OK)
        drop_listening(l);
}

/* -- telling ------------------------------------------------------------------------- */

/* Copies what waits to `out`; returns how many. */
static int take_messages(struct listener *l, struct message *out)
{
    pthread_mutex_lock(&l->mutex);
    int n = l->n_waiting;
    memcpy(out, l->waiting, (size_t)n * sizeof *out);
    l->n_waiting = 0;
    pthread_mutex_unlock(&l->mutex);
    return n;
}

static void add_literal(struct buf *b, const char *text)
{
    buf_adds(b, "E'");
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\'' || *c == '\\')
            buf_addc(b, '\\');
        buf_addc(b, *c);
    }
    buf_addc(b, '\'');
}

static void add_notify(struct buf *sql, const struct message *messages, int n)
{
    buf_adds(sql, "SELECT pg_notify(c, p) FROM (VALUES ");
    for (int i = 0; i < n; i++) {
        buf_adds(sql, i == 0 ? "(" : ",(");
        add_literal(sql, messages[i].channel);
        buf_addc(sql, ',');
        add_literal(sql, messages[i].payload);
        buf_addc(sql, ')');
    }
    buf_adds(sql, ") x (c, p)");
}

/* False when it could not be told now. */
static bool tell_all(struct listener *l, const char *sql)
{
    struct db *db = l->telling.db;

    if (db == NULL)
        return false;
    bool told = db_is_alive(db) && db_run(db, sql, NULL) == ERR_OK;
    if (!told)
        link_complain(&l->telling, "notify", db_errmsg(db));
    if (db_is_broken(db))
        link_drop(&l->telling);
    return told;
}

static void tell(struct listener *l)
{
    static _Thread_local struct message messages[TELL_MAX];
    struct buf sql = BUF_INIT;
    int n = take_messages(l, messages);

    l->tell_at_ms = 0;
    l->told_ms = clock_ms();
    if (n == 0)
        return;
    add_notify(&sql, messages, n);
    bool told = !sql.failed && tell_all(l, sql.text);
    buf_release(&sql);
    /* What cannot be told is lost, and polling covers it; but our own nonce has to go out
     * before its absence means anything. */
    if (!told && l->nonce_until_ms != 0) {
        l->nonce_until_ms = clock_ms() + NONCE_MS;
        listen_notify_later(l, CHANNEL_READY, l->nonce);
    }
}

void listen_notify_later(struct listener *l, const char *channel, const char *payload)
{
    uint64_t one = 1;
    bool is_new = true;

    pthread_mutex_lock(&l->mutex);
    if (l->n_waiting == TELL_MAX)
        payload = "";
    for (int i = 0; i < l->n_waiting && is_new; i++) {
        is_new = strcmp(l->waiting[i].channel, channel) != 0 ||
                 strcmp(l->waiting[i].payload, payload) != 0;
    }
    if (is_new && l->n_waiting < TELL_MAX) {
        struct message *m = &l->waiting[l->n_waiting++];
        snprintf(m->channel, sizeof m->channel, "%s", channel);
        snprintf(m->payload, sizeof m->payload, "%s", payload);
    }
    bool first = is_new && l->n_waiting == 1;
    pthread_mutex_unlock(&l->mutex);
    if (first && write(l->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_debug("listen", "wake_failed=%d", errno);
}

/* -- the thread ---------------------------------------------------------------------- */

static bool has_messages(struct listener *l)
{
    pthread_mutex_lock(&l->mutex);
    bool has = l->n_waiting > 0;
    pthread_mutex_unlock(&l->mutex);
    return has;
}

/* A pooler answers LISTEN with success and delivers nothing: our own nonce has to come
 * back. */
static void judge_nonce(struct listener *l)
{
    if (l->nonce_came)
        atomic_store(&l->up, true);
    else if (clock_ms() < l->nonce_until_ms)
        return;
    else
        log_warn(
            "listen", "works=false hint=%s",
            log_quoted(
                "notifications do not arrive (a transaction pooler?); polling instead; "
                "set listen_database_url to a direct connection"));
    l->nonce_until_ms = 0;
}

static void check_server(struct listener *l)
{
    l->next_check_ms = clock_ms() + CHECK_MS;
    if (db_run(l->listening.db, "SELECT 1", NULL) != ERR_OK ||
        db_is_broken(l->listening.db))
        drop_listening(l);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t greatest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When the thread has something to do by itself. */
static int next_ms(const struct listener *l)
{
    int64_t now_ms = clock_ms(), at_ms = now_ms + CHECK_MS;

    if (l->tell_at_ms != 0)
        at_ms = least(at_ms, l->tell_at_ms);
    if (l->telling.db == NULL)
        at_ms = least(at_ms, l->telling.next_try_ms);
    if (l->listening.db != NULL)
        at_ms = least(at_ms, l->next_check_ms);
    else if (l->options.listen)
        at_ms = least(at_ms, l->listening.next_try_ms);
    if (l->nonce_until_ms != 0)
        at_ms = least(at_ms, l->nonce_until_ms);
    return at_ms <= now_ms ? 0 : (int)(at_ms - now_ms);
}

static void wait_for_something(struct listener *l)
{
    uint64_t count;
    struct pollfd wake = {.fd = l->wake_fd, .events = POLLIN};

    if (l->listening.db == NULL)
        poll(&wake, 1, next_ms(l));
    else if (db_wait_notify(l->listening.db, l->wake_fd, next_ms(l), on_notify, l) !=
             ERR_OK)
        drop_listening(l);
    if (read(l->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_debug("listen", "wake_failed=%d", errno);
}

static void tell_if_due(struct listener *l)
{
    if (l->tell_at_ms == 0 && has_messages(l))
        l->tell_at_ms = greatest(clock_ms(), l->told_ms + COALESCE_MS);
    if (l->tell_at_ms != 0 && clock_ms() >= l->tell_at_ms)
        tell(l);
}

static void *run(void *arg)
{
    struct listener *l = arg;

    while (!atomic_load(&l->stopping)) {
        connect_missing(l);
        wait_for_something(l);
        tell_if_due(l);
        if (l->listening.db != NULL && l->nonce_until_ms != 0)
            judge_nonce(l);
        if (l->listening.db != NULL && clock_ms() >= l->next_check_ms)
            check_server(l);
    }
    link_drop(&l->listening);
    link_drop(&l->telling);
    return NULL;
}

enum err listener_open(const struct listener_options *options,
                       struct listener **out_listener)
{
    struct listener *l = calloc(1, sizeof *l);

    if (l == NULL)
        return ERR_NO_MEMORY;
    l->options = *options;
    l->url = strdup(options->url);
    struct db_options db = {
        .url = l->url, .application_name = "belay listen", .no_prepare = true};
    link_init(&l->listening, &db, "listen");
    db.application_name = "belay notify";
    link_init(&l->telling, &db, "listen");
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&l->mutex, NULL);
    if (l->url == NULL || l->wake_fd < 0 ||
        pthread_create(&l->thread, NULL, run, l) != 0) {
        free(l->url);
        free(l);
        return ERR_NO_MEMORY;
    }
    *out_listener = l;
    return ERR_OK;
}

bool listener_is_up(struct listener *l)
{
    return atomic_load(&l->up);
}

void listener_close(struct listener *l)
{
    uint64_t one = 1;

    if (l == NULL)
        return;
    atomic_store(&l->stopping, true);
    if (write(l->wake_fd, &one, sizeof one) < 0)
        log_debug("listen", "wake_failed=%d", errno);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->mutex);
    close(l->wake_fd);
    free(l->url);
    free(l);
}
