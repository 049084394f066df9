#!/usr/bin/env python3
"""Makes tests/cron/expected.tsv: cron expressions, zones and instants with the next times that they must have.

Nothing here is taken from the implementation: each second (or minute) is looked at in turn, with Python's own time zones, and is
compared with the fields by the definition. Run it when the table is to be changed: tests/cron/expected.py > tests/cron/expected.tsv

A line: expression, zone, after, then three next times, all in UTC; tabs between.
"""
import random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

UTC = timezone.utc
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
DAYS = "SUN MON TUE WED THU FRI SAT".split()
COUNT = 3  # next times a line


def members(field, least, most, names=()):
    """The set of values that a field names, by the letter of crontab(5)."""
    out = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        if span == "*":
            low, high = least, most
        else:
            ends = [names.index(e.upper()) + least if e.upper() in names else int(e) for e in span.split("-")]
            low, high = ends[0], ends[-1]
            if names is DAYS and high < low:
                high += 7
        out.update(range(low, high + 1, int(step or 1)))
    return {v % 7 for v in out} if names is DAYS else out


class Expression:
    def __init__(self, text):
        f = text.split()
        if len(f) == 5:
            f = ["0"] + f
        self.seconds = members(f[0], 0, 59)
        self.minutes = members(f[1], 0, 59)
        self.hours = members(f[2], 0, 23)
        self.days = members(f[3], 1, 31)
        self.months = members(f[4], 1, 12, MONTHS)
        self.weekdays = members(f[5], 0, 7, DAYS)
        self.either = f[3][0] != "*" and f[5][0] != "*"
        self.by_time_that_passes = "*" in (f[0][0], f[1][0], f[2][0])
        self.unit = timedelta(seconds=1) if self.seconds != {0} else timedelta(minutes=1)

    def fits(self, wall):
        day = wall.day in self.days
        weekday = wall.isoweekday() % 7 in self.weekdays
        return (wall.second in self.seconds and wall.minute in self.minutes and wall.hour in self.hours
                and wall.month in self.months and ((day or weekday) if self.either else (day and weekday)))


def wall_of(instant, zone):
    return instant.astimezone(zone).replace(tzinfo=None)


def floor(instant, unit):
    return instant.replace(microsecond=0, second=0 if unit.seconds == 60 else instant.second)


def by_time_that_passes(e, zone, after):
    """Every instant whose time on the wall fits."""
    found, at = [], floor(after, e.unit)
    while len(found) < COUNT:
        at += e.unit
        if at > after and e.fits(wall_of(at, zone)):
            found.append(at)
    return found


def shown(wall, zone):
    """All instants at which the clocks show this time."""
    out = set()
    for fold in (0, 1):
        instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if wall_of(instant, zone) == wall:
            out.add(instant)
    return sorted(out)


def end_of_gap(wall, zone):
    """The clocks skip this time: the first second at which they show a later one."""
    at = wall.replace(tzinfo=UTC) - timedelta(hours=40)
    while wall_of(at, zone) < wall:
        at += timedelta(minutes=15)
    at -= timedelta(minutes=15)
    while wall_of(at, zone) < wall:
        at += timedelta(seconds=1)
    return at


def by_the_wall(e, zone, after):
    """Every time on the wall that fits, once: where it is shown first, or where the clocks skip it. From two days before, so
    that nothing has to be known about the time on the wall at `after`."""
    found, wall = [], floor(wall_of(after, zone), e.unit) - timedelta(days=2)
    while len(found) < COUNT:
        wall += e.unit
        if e.fits(wall):
            instants = shown(wall, zone)
            instant = instants[0] if instants else end_of_gap(wall, zone)
            if instant > after and instant not in found:
                found.append(instant)
    return found


def next_times(text, zone, after):
    e = Expression(text)
    return (by_time_that_passes if e.by_time_that_passes else by_the_wall)(e, ZoneInfo(zone), after)


# Around each change of the clocks of these zones: forward and back, at night and at midnight, by an hour and by half of one.
CHANGES = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],
    "America/Sao_Paulo": ["2018-11-04T03:00", "2019-02-17T02:00"],
    "Africa/Cairo": ["2026-04-23T22:00", "2026-10-29T21:00"],
    "Asia/Kolkata": ["2026-03-29T01:00"],
}

AT_CHANGES = [
    "30 2 * * *", "0 2 * * *", "0 0 * * *", "30 0 * * *", "15 1 * * *", "45 1 * * *", "0 3 * * *", "30 23 * * *",
    "0,30 1-3 * * *", "0,20,40 0-2 * * *", "*/15 * * * *", "* * * * *", "*/20 1-3 * * *", "30 * * * *", "5 */2 * * *",
    "0 0 * * SUN", "30 2 * * sun,mon", "*/10 2 * * *", "15,45 1 * * *", "0 0,1,2,3 * * *",
    "10 30 2 * * *", "*/30 59 1 * * *", "0,30 0 0 * * *",
]

CALENDAR = [
    "0 12 1 * *", "0 12 31 * *", "0 12 29 2 *", "0 0 1 1 *", "0 9 * * MON-FRI", "0 9 * * 1-5", "0 9 * * 7", "0 9 * * 0",
    "0 9 * * FRI-SUN", "0 9 13 * FRI", "0 9 1,15 * MON", "0 9 */10 * *", "0 9 */2 * MON", "0 9 1 */3 *", "0 9 1-7 * *",
    "0 9 * JAN,JUL *", "0 9 * dec-dec *", "0 0 28-31 * *", "5-59/30 * * * *", "0-59/7 8 * * *",
    "0 8-18/3 * * *", "59 23 31 12 *", "0 6 * * 2,4,6", "0 6 * 2 */2", "30 4 1,15 * 5", "0 22 * * 1-5",
    "*/5 8-17 * * MON-FRI", "15 14 1 * *", "0 0 * * 5-7", "1-59/2 * * * *", "0 */6 * * *", "23 0-20/2 * * *",
    "*/15 10 9 * * *", "0 0 0 29 FEB *", "59 59 23 * * SAT",
]


def field(chance, least, most, names=()):
    """A field as people write them, and as they do not."""
    a, b = sorted(chance.sample(range(least, most + 1), 2))
    one, other = (names[a - least], names[b - least]) if names and chance.random() < 0.5 else (a, b)
    return chance.choice(["*", f"{one}", f"{one}-{other}", f"{one},{other}", f"*/{chance.randint(2, (most + 1) // 2)}",
                          f"{one}-{other}/{chance.randint(1, 3)}", f"{one},{a}-{b}"])


def any_expression(chance):
    """Mostly about the hours at which clocks are changed."""
    hour = chance.choice(["1", "2", "3", "0", "1-3", "2,3", "0-23/2", "*/3", "*", "23", "0-4", field(chance, 0, 23)])
    day = chance.choice(["*", "*", field(chance, 1, 28)])
    month = chance.choice(["*", "*", "*", field(chance, 1, 12, MONTHS)])
    weekday = chance.choice(["*", "*", field(chance, 0, 6, DAYS)])
    second = chance.choice([f"{chance.randint(1, 59)} ", field(chance, 0, 59) + " "]) if chance.random() < 0.1 else ""
    return f"{second}{field(chance, 0, 59)} {hour} {day} {month} {weekday}"


def lines():
    chance = random.Random(4993)
    changes = [(zone, change) for zone, all_changes in CHANGES.items() for change in all_changes]
    for n in range(220):
        zone, change = changes[n % len(changes)]
        at = datetime.fromisoformat(change).replace(tzinfo=UTC)
        yield any_expression(chance), zone, at - timedelta(seconds=chance.choice([1, 1800, 5400, 20000, 86400]))
    for zone, all_changes in CHANGES.items():
        for change in all_changes:
            at = datetime.fromisoformat(change).replace(tzinfo=UTC)
            for text in AT_CHANGES:
                before = timedelta(seconds=chance.choice([1, 60, 1799, 3600, 5400, 7200, 20000, 86400]))
                yield text, zone, at - before
                if chance.random() < 0.4:
                    yield text, zone, at + timedelta(seconds=chance.choice([0, 1, 600, 1800, 3599, 3600]))
    for text in CALENDAR:
        for zone in chance.sample(sorted(CHANGES), 2):
            yield text, zone, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(400 * 86400))


if __name__ == "__main__":
    for text, zone, after in lines():
        times = [t.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for t in next_times(text, zone, after)]
        print(text, zone, after.strftime("%Y-%m-%dT%H:%M:%SZ"), *times, sep="\t")
