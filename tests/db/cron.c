/* Cron expressions against a table that was computed by other means (tests/cron/), and
 * against what must hold for any of them. */
#include "tests/db/jobs.h"
#include "tests/support/cluster.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(cron, .timeout = 60);

static const char *whole_file(const char *path)
{
    static char text[1 << 18];
    FILE *f = fopen(path, "r");

    cr_assert_not_null(f, "%s", path);
    size_t len = fread(text, 1, sizeof text - 1, f);
    cr_assert(feof(f) && fclose(f) == 0);
    text[len] = '\0';
    return text;
}

Test(cron, every_line_of_the_table_is_met)
{
    const char *url = cluster_database();

    cluster_psql(url,
                 text_of("CREATE TABLE t AS SELECT string_to_array(l, E'\\t') AS f, n "
                         "FROM string_to_table(rtrim($t$%s$t$, E'\\n'), E'\\n') "
                         "WITH ORDINALITY x (l, n)",
                         whole_file("tests/cron/expected.tsv")));
    cr_expect_geq(cluster_int(url, "SELECT count(DISTINCT f[1]) FROM t"), 200);
    cr_expect_geq(cluster_int(url, "SELECT count(DISTINCT f[2]) FROM t"), 5);
    jobs_expect(
        url,
        "SELECT f, x.next FROM t, LATERAL (SELECT array_agg(belay.cron_next(f[1], f[2], "
        "f[i]::timestamptz) ORDER BY i) AS next FROM generate_series(3, 5) i) x "
        "WHERE x.next IS DISTINCT FROM f[4:6]::timestamptz[] ORDER BY n LIMIT 10",
        "");
}

/* The random ones: 300 expressions in five zones, from any second of twenty years. */
static const char some_expressions[] =
    "SELECT setseed(0.4993);"
    "CREATE FUNCTION pick(VARIADIC a text[]) RETURNS text LANGUAGE sql VOLATILE AS "
    "'SELECT a[1 + floor(random() * cardinality(a))::int]';"
    "CREATE FUNCTION num(low int, high int) RETURNS int LANGUAGE sql VOLATILE AS "
    "'SELECT low + floor(random() * (high - low + 1))::int';"
    "CREATE TABLE e AS SELECT n,"
    " concat_ws(' ', pick('0', num(0, 59)::text, '*/17'),"
    "  pick('0', num(0, 59)::text, '*', '*/7', '3-40/9'),"
    "  pick('*', num(0, 23)::text, num(0, 4)::text, '1-3', '*/5'),"
    "  pick('*', '*', num(1, 31)::text, '*/3', '5-9'),"
    "  pick('*', '*', num(1, 12)::text, 'MAR,APR,OCT'),"
    "  pick('*', '*', num(0, 7)::text, 'MON-FRI')) AS cron,"
    " pick('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Africa/Cairo', "
    "'Asia/Kolkata') AS zone,"
    " timestamptz '2015-01-01' + random() * interval '20 years' AS after "
    "FROM generate_series(1, 300) n;"
    "CREATE TABLE x AS SELECT *, belay.cron_next(cron, zone, after) AS next FROM e;";

Test(cron, the_next_time_is_the_same_from_any_moment_before_it)
{
    const char *url = cluster_database();

    cluster_psql(url, some_expressions);
    jobs_expect(url, "SELECT * FROM x WHERE next <= after", "");
    jobs_expect(url, "SELECT count(*) > 250 FROM x WHERE next IS NOT NULL", "t");
    jobs_expect(url,
                "SELECT x.*, at FROM x, LATERAL (VALUES (next - interval '1 second'), "
                "(next - interval '1 microsecond'), (after + (next - after) * "
                "random()), (after + (next - after) * random())) v (at) "
                "WHERE at >= after AND at < next "
                "AND belay.cron_next(cron, zone, at) <> next",
                "");
}

Test(cron, the_next_time_fits_or_the_clocks_have_just_skipped_one_that_does)
{
    const char *url = cluster_database();

    cluster_psql(url, some_expressions);
    jobs_expect(
        url,
        "SELECT x.*, c FROM x, LATERAL (SELECT belay.cron_parse(cron) AS c OFFSET 0) p, "
        "LATERAL (SELECT next AT TIME ZONE zone AS wall, (next - interval '1 second') "
        "AT TIME ZONE zone AS before) w "
        "WHERE belay.cron_local(c, wall) <> wall AND (wall - before = '1 second' "
        "OR (c).real_time "
        "OR belay.cron_local(c, before + interval '1 second') >= wall)",
        "");
}

Test(cron, a_wrong_expression_is_told_what_would_be_right)
{
    static const struct {
        const char *cron, *words;
    } wrong[] = {
        {"", "has 0 fields; it takes 5 (minute hour day month weekday) or 6"},
        {"* * * *", "has 4 fields"},
        {"* * * * * * *", "has 7 fields"},
        {"60 * * * *", "the minute takes numbers from 0 to 59"},
        {"* 24 * * *", "the hour takes numbers from 0 to 23"},
        {"* * 0 * *", "the day takes numbers from 1 to 31"},
        {"* * * 13 *", "the month takes numbers from 1 to 12 or names from JAN to DEC"},
        {"* * * * 8", "the weekday takes numbers from 0 to 7 or names from SUN to SAT"},
        {"60 * * * * *", "the second takes numbers from 0 to 59"},
        {"* * L * *", "not \"L\""},
        {"* * 15W * *", "not \"15W\""},
        {"* * * * MON#2", "not \"MON#2\""},
        {"* * ? * *", "not \"?\""},
        {"* * * FEBR *", "not \"FEBR\""},
        {"1,,2 * * * *", "not \"\""},
        {"-1 * * * *", "not \"\""},
        {"* 22-4 * * *", "the hour has the range 22-4, which runs backwards; write "
                         "22-23,0-4"},
        {"5/10 * * * *", "a step without a range; write 5-59/10"},
        {"*/0 * * * *", "the minute takes steps from 1 to 59, not \"0\""},
        {"* */24 * * *", "the hour takes steps from 1 to 23, not \"24\""},
        {"*/x * * * *", "the minute takes steps from 1 to 59, not \"x\""},
        {"1-2-3 * * * *", "not \"1-2\""},
        {"99999999999 * * * *", "not \"99999999999\""},
        {"@reboot", "@reboot is not known; there are @yearly"},
    };
    const char *url = cluster_database();

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *said =
            cluster_try(url, text_of("SELECT belay.cron_next('%s')", wrong[i].cron));
        cr_expect_not_null(strstr(said, wrong[i].words), "%s: %s", wrong[i].cron, said);
    }
}

Test(cron, words_stand_for_expressions)
{
    jobs_expect(cluster_database(),
                "SELECT string_agg(to_char(belay.cron_next(w, 'UTC', "
                "'2026-11-24 13:00:30Z') AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), ' ') "
                "FROM unnest('{@hourly,@daily,@Midnight,@weekly,@monthly,@yearly,"
                "@annually}'::text[]) w",
                "2026-11-24 14:00 2026-11-25 00:00 2026-11-25 00:00 2026-11-29 00:00 "
                "2026-12-01 00:00 2027-01-01 00:00 2027-01-01 00:00");
}

Test(cron, what_no_year_has_never_comes)
{
    const char *url = cluster_database();

    jobs_expect(url, "SELECT belay.cron_next('0 0 31 FEB,APR *')", "");
    /* The farthest there is: a 29 February on a Sunday, with 2100 between. */
    jobs_expect(url,
                "SELECT belay.cron_next('0 0 29 2 */7', 'UTC', '2088-03-01Z') AT TIME "
                "ZONE 'UTC'",
                "2128-02-29 00:00:00");
}
