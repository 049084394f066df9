/* Schedules as the database keeps them: what a tick does, and what changes it. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>

TestSuite(schedules, .timeout = 60);

/* t.put(name, cron, ...), t.ago(name, interval): its next time was so long ago, to the
 * minute; t.tick(): what a tick says, in a line. */
static const char helpers[] =
    "CREATE FUNCTION t.put(name text, cron text DEFAULT '* * * * *', "
    "queueing_lock text DEFAULT NULL, max_delay interval DEFAULT '10 minutes', "
    "paused boolean DEFAULT NULL, zone text DEFAULT 'UTC', args json DEFAULT '{}') "
    "RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', result, pointer, detail) FROM "
    "belay.put_schedule(name, cron, zone, 'echo', 'default', args, 0, NULL, "
    "queueing_lock, 1, '{a,\"b c\"}', '{}', NULL, "
    "(extract(epoch FROM max_delay) * 1000)::bigint, paused) $$;"
    "CREATE FUNCTION t.ago(who text, ago interval) RETURNS void LANGUAGE sql AS $$ "
    "UPDATE belay.schedules SET next_at = date_trunc('minute', now()) - ago "
    "WHERE name = who $$;"
    "CREATE FUNCTION t.tick() RETURNS text LANGUAGE sql AS $$ "
    "SELECT string_agg(concat_ws(' ', schedule, result, job_id), ', ') "
    "FROM belay.tick(100) WHERE schedule IS NOT NULL $$;";

static const char *database(void)
{
    const char *url = jobs_database();

    cluster_psql(url, helpers);
    return url;
}

Test(schedules, a_tick_makes_one_job_with_the_time_it_was_meant_for)
{
    const char *url = database();

    jobs_expect(url, "SELECT t.put('a', args => '{\"n\": 1.10 }')", "created");
    jobs_expect(url, "SELECT coalesce(t.tick(), 'none')", "none");
    cluster_psql(url, "SELECT t.ago('a', '0')");
    jobs_expect(url, "SELECT t.tick()", "a made 1");
    jobs_expect(url, "SELECT coalesce(t.tick(), 'none')", "none");
    jobs_expect(url,
                "SELECT j.args::text = format('{\"n\": 1.10,\"timestamp\":%s}', "
                "extract(epoch FROM s.last_tick_at)::bigint), j.metadata, j.tags, "
                "s.last_job_id, s.ticks, s.next_at - s.last_tick_at "
                "FROM belay.jobs j, belay.schedules s",
                "t|{\"schedule\":\"a\"}|{a,\"b c\"}|1|1|00:01:00");
    jobs_expect(url, "SELECT t.status(1)", "todo");
    jobs_check(url);
}

Test(schedules, each_tick_that_is_not_too_old_is_caught_up)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a', max_delay => '210 seconds');"
                      "SELECT t.ago('a', '1 hour')");
    jobs_expect(url,
                "SELECT t.tick() ~ '^a missed, a made 1, a made 2, a made 3(, a "
                "made 4)?$'",
                "t");
    jobs_expect(url,
                "SELECT missed_at = date_trunc('minute', now()) - interval '1 hour', "
                "next_at > now() FROM belay.schedules",
                "t|t");
    jobs_expect(url,
                "SELECT count(DISTINCT args ->> 'timestamp') = count(*) FROM belay.jobs",
                "t");
    cluster_psql(url, "SELECT t.put('a', max_delay => '0'); SELECT t.ago('a', '1 hour')");
    jobs_expect(url, "SELECT t.tick()", "a missed");
    jobs_check(url);
}

Test(schedules, what_is_to_be_caught_up_comes_in_portions)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a', max_delay => '1 day'), t.put('b');"
                      "SELECT t.ago('a', '119 minutes'), t.ago('b', '0')");
    jobs_expect(url, "SELECT count(*), max(next_due_ms) FROM belay.tick(100)", "52|0");
    jobs_expect(url, "SELECT count(*) FROM belay.tick(100)", "51");
    jobs_expect(url, "SELECT count(*) FROM belay.tick(100) HAVING count(*) > 20", "21");
    jobs_expect(url, "SELECT ticks FROM belay.schedules ORDER BY name", "120\n1");
    jobs_check(url);
}

Test(schedules, a_tick_whose_queueing_lock_is_taken_is_skipped_and_counted)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a', queueing_lock => 'q'), t.put('b');"
                      "SELECT t.ago('a', '2 minutes'), t.ago('b', '0')");
    jobs_expect(url, "SELECT t.tick()", "a made 1, a skipped 1, a skipped 1, b made 4");
    jobs_expect(url, "SELECT ticks, skipped, last_job_id FROM belay.schedules ORDER BY 3",
                "1|2|1\n1|0|4");
    jobs_expect(url, "SELECT result, existing_id FROM belay.run_schedule('a')",
                "already-enqueued|1");
    jobs_check(url);
}

Test(schedules, to_put_it_again_loses_no_tick)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a'); SELECT t.ago('a', '0')");
    jobs_expect(url, "SELECT t.put('a')", "updated");
    jobs_expect(url, "SELECT created_at = updated_at FROM belay.schedules", "t");
    jobs_expect(url, "SELECT t.put('a', queueing_lock => 'q')", "updated");
    jobs_expect(url, "SELECT created_at < updated_at FROM belay.schedules", "t");
    jobs_expect(url, "SELECT t.tick()", "a made 1");
    cluster_psql(url, "SELECT t.ago('a', '0'); SELECT t.put('a', '0 0 1 1 *')");
    jobs_expect(url, "SELECT coalesce(t.tick(), 'none')", "none");
    cluster_psql(url, "SELECT t.put('a', '0 0 1 1 *', zone => 'Asia/Kolkata')");
    jobs_expect(url,
                "SELECT to_char(next_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') "
                "FROM belay.schedules",
                "12-31 18:30");
    jobs_check(url);
}

Test(schedules, what_comes_while_it_is_paused_is_not_caught_up)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a'); SELECT t.ago('a', '5 minutes');"
                      "SELECT belay.pause_schedule('a', true)");
    jobs_expect(url, "SELECT coalesce(t.tick(), 'none')", "none");
    cluster_psql(url, "SELECT t.put('a')");
    jobs_expect(url, "SELECT paused, next_at FROM belay.schedules", "t|");
    jobs_expect(url, "SELECT result FROM belay.run_schedule('a')", "created");
    cluster_psql(url, "SELECT belay.pause_schedule('a', false)");
    jobs_expect(url, "SELECT paused, next_at > now() FROM belay.schedules", "f|t");
    cluster_psql(url, "SELECT t.ago('a', '0'); SELECT belay.pause_schedule('a', false)");
    jobs_expect(url, "SELECT t.tick()", "a made 2"); /* it was not paused: it goes on */
    cluster_psql(url, "SELECT t.put('a', paused => true)");
    jobs_expect(url, "SELECT paused, next_at FROM belay.schedules", "t|");
    cluster_psql(url, "SELECT t.put('a', paused => false)");
    jobs_expect(url, "SELECT paused, next_at > now() FROM belay.schedules", "f|t");
    jobs_check(url);
}

Test(schedules, a_zone_that_has_gone_stops_one_schedule_and_no_other)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a'), t.put('b');"
                      "UPDATE belay.schedules SET timezone = 'Atlantis/Poseidonis' "
                      "WHERE name = 'a';"
                      "SELECT t.ago('a', '1 minute'), t.ago('b', '0')");
    jobs_expect(url, "SELECT t.tick() ~ '^a .*Atlantis.*, b made [0-9]+$'", "t");
    jobs_expect(url, "SELECT paused, next_at FROM belay.schedules WHERE name = 'a'",
                "t|");
    jobs_expect(url,
                "SELECT paused, next_at > now() FROM belay.schedules "
                "WHERE name = 'b'",
                "f|t");
    jobs_check(url);
}

Test(schedules, the_last_job_is_that_of_the_schedule_that_was_run)
{
    const char *url = database();

    cluster_psql(url, "SELECT t.put('a'), t.put('b')");
    jobs_expect(url, "SELECT job_id FROM belay.run_schedule('b')", "1");
    jobs_expect(url, "SELECT name, last_job_id FROM belay.schedules ORDER BY name",
                "a|\nb|1");
}

Test(schedules, what_is_wrong_is_told_with_its_place)
{
    const char *url = database();

    jobs_expect(url, "SELECT t.put('a', '0 0 31 6 *')",
                "invalid /cron never comes: no year has such a day");
    jobs_expect(url, "SELECT t.put('a', '* 25 * * *') LIKE 'invalid /cron the hour %'",
                "t");
    static const char *const zones[] = {"X/Y+3", "CEST", "UTC+3", "europe/berlin", ""};
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        jobs_expect(url,
                    text_of("SELECT t.put('a', zone => '%s') LIKE 'invalid /timezone %%'",
                            zones[i]),
                    "t");
    jobs_expect(url, "SELECT t.put('a', args => '{\"time\\u0073tamp\":1}')",
                "invalid /args/timestamp is given by the tick");
    jobs_expect(url, "SELECT count(*) FROM belay.schedules", "0");
}

Test(schedules, two_who_tick_at_once_do_not_wait_and_do_not_repeat)
{
    const char *url = database();

    /* What is named for the first time is waited for, until its transaction has ended. */
    cluster_psql(url, "CREATE EXTENSION dblink; SELECT belay.enqueue('echo')");
    cluster_psql(url, "SELECT t.put('a'), t.put('b');"
                      "SELECT t.ago('a', '0'), t.ago('b', '0')");
    /* The first has not committed yet when the second looks. */
    cluster_psql(url, text_of("SELECT dblink_connect('one', $c$%s$c$);"
                              "SELECT dblink_exec('one', 'BEGIN');"
                              "SELECT * FROM dblink('one', 'SELECT count(*) FROM "
                              "belay.tick(1)') x (n bigint);"
                              "CREATE TABLE second AS SELECT t.tick() AS said;"
                              "SELECT dblink_exec('one', 'COMMIT')",
                              url));
    jobs_expect(url, "SELECT said ~ '^b made [0-9]+$' FROM second", "t");
    jobs_expect(url, "SELECT ticks FROM belay.schedules", "1\n1");
    jobs_check(url);
}
