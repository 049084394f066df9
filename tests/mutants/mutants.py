#!/usr/bin/env python3
"""Drops each guard of guards.py in turn and runs tests until one fails: a mutant that survives is a guard without a test.

    make mutants                                       all of them that have no verdict yet
    tests/mutants/mutants --fresh                      all of them
    tests/mutants/mutants --only finish,claim          those of these functions
    tests/mutants/mutants --list                       the guards

First all tests run once with a probe around each WHERE, which tells where a guard was the only one of its conditions that did not
hold: no other test can find that guard gone. So each mutant has its few tests, and of these the ones that found others of its
function come first. A failure counts if it comes twice, because a test that was starved on a busy machine knows nothing of the
mutant. build/mutants keeps what the probes said and each verdict under what the mutant's function says, so that a run goes on where
the last one was stopped; survivors are tried again. --probe asks the probes again, of all tests or of those that --tests names.

DATABASE_URL is a server to make databases on, see tests/mutants/mutants. Survivors that equivalent.txt names are none: it says why
nobody could tell them from the original. Ends with "N passed, N failed".
"""
import argparse
import collections
import concurrent.futures
import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import guards

VERDICTS, REACHED = "build/mutants/verdicts", "build/mutants/reached"
DB = "!(lane|listen|migrate|cron|race)/*"        # these know nothing of guards, or say something else each time
HANDLERS = "!(faults|fields|time|metrics|delivery)/*"
FAILED = re.compile(r"^\[FAIL\] (\w+)::(\w+)", re.M)
SLOW = re.compile("matrix/|pairs/|^bulk/|steps/|follow/|family/")
AT_ONCE, SECONDS = 12, 300


def run(binary, pattern, sql, whose=None, keep_going=False, seconds=SECONDS):
    """The first test that fails, "hangs", or None."""
    env = dict(os.environ, BELAY_TEST_DATABASE_URL=os.environ["DATABASE_URL"], BELAY_TEST_STEPS="500", BELAY_TEST_SEED="1")
    if whose:
        env["BELAY_TEST_WHOSE"] = whose
    with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8") as f:
        f.write(sql)
        f.flush()
        env["BELAY_TEST_MUTANT"] = f.name
        command = ["build/" + binary, "--filter", pattern, "--jobs", "2", "--color=never", "--timeout", "60"]
        try:
            done = subprocess.run(command + ([] if keep_going else ["--fail-fast"]), env=env, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired:
            return "hangs"
    said = done.stdout + done.stderr
    if "Tested: 0 " in said:
        sys.exit("no tests: %s of %s" % (pattern, binary))
    found = FAILED.search(said)
    if found:
        return "%s/%s" % found.groups()
    return None if done.returncode == 0 else "ends with %d" % done.returncode


def lines(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [line.rstrip("\n").split("\t") for line in f]


class Verdicts:
    """What is known of each mutant: the test that kills it, or "" for a survivor. The file has a line for each verdict."""

    def __init__(self):
        self.of, self.lock, self.killers = {}, threading.Lock(), collections.Counter()
        for key, killer, _ in lines(VERDICTS):
            self.of[key] = killer
            self.killers[killer] += 1

    def add(self, g, killer):
        with self.lock:
            self.of[key_of(g)] = killer
            self.killers[killer] += 1
            with open(VERDICTS, "a", encoding="utf-8") as f:
                f.write("%s\t%s\t%s\n" % (key_of(g), killer, g.name))


def key_of(g):
    return hashlib.sha256((g.mutant() + g.name).encode()).hexdigest()[:16]


def ask_probes(found, binary, pattern):
    """Adds to the file: for each guard the tests of the binary in which it made a difference."""
    log, by_number = os.environ["POSTGRES_LOG"], {str(g.number): g for g in found}
    from_here = os.path.getsize(log)
    with tempfile.NamedTemporaryFile("r", suffix=".whose") as whose:
        first = run(binary, pattern, "\n".join(guards.probed(found)), whose=whose.name, keep_going=True, seconds=1800)
        tests = dict(re.findall(r"dbname='?([^'\s]+)'? (\S+)", whose.read()))
    print("-- probes: %d databases of %s, %s" % (len(tests), binary, "first failure: " + first if first else "all pass"), flush=True)
    told = set()
    with open(log, encoding="utf-8", errors="replace") as f:
        f.seek(from_here)
        for line in f:
            m = re.match(r"(\S+) LOG:  missed (\d+);", line)
            if m and m.group(1) in tests:
                told.add((m.group(2), tests[m.group(1)]))
    with open(REACHED, "a", encoding="utf-8") as f:
        for number, test in sorted(told):
            f.write("%s\t%s\t%s\n" % (by_number[number].name, binary, test))


def reached():
    of = collections.defaultdict(set)
    for name, binary, test in lines(REACHED):
        of[name].add((binary, test))
    return of


def killer_of(g, tests, verdicts):
    """The test that fails with the mutant, twice; or ""."""
    def order(t):
        name = "%s:%s" % t
        return (bool(SLOW.search(t[1])), t[0] != "test_db", -verdicts.killers[name], name)

    by_order = sorted(tests, key=order)
    while by_order:
        binary = by_order[0][0]
        part = [t for t in by_order if t[0] == binary][:AT_ONCE]
        by_order = [t for t in by_order if t not in part]
        found = run(binary, "@(%s)" % "|".join(t[1] for t in part), g.mutant())
        again = found and run(binary, found if "/" in found else "@(%s)" % "|".join(t[1] for t in part), g.mutant())
        if again:
            return "%s:%s" % (binary, found)
        if found:
            print("-- once only: %s with %s" % (found, g.name), flush=True)
            by_order += [t for t in part if t[1] != found]
    return ""


def equivalents():
    known = {}
    for line in open("tests/mutants/equivalent.txt", encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            name, _, why = line.rstrip("\n").partition(" | ")
            known[name] = why
    return known


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--list", action="store_true")
    p.add_argument("--only", help="guards of these functions")
    p.add_argument("--fresh", action="store_true", help="as if nothing were known, but for who kills whom")
    p.add_argument("--probe", action="store_true")
    p.add_argument("--tests", default="", help="a filter of Criterion: tests of db/ that are new to the probes, or whose mutants are tried")
    p.add_argument("--seconds", type=int, help="begin no further one after so many")
    return p.parse_args()


def try_all(todo, verdicts, args):
    """Those that survive, and those that there was no time for."""
    end, of = time.monotonic() + (args.seconds or 10 ** 9), reached()

    def one(g):
        if time.monotonic() > end:
            return None
        tests = of[g.name]
        killer = killer_of(g, tests, verdicts)
        verdicts.add(g, killer)
        print("%-8s %s:%d: %s  (%s)" % ("killed" if killer else "survives", g.path, g.line, g.name,
                                        killer or "%d tests" % len(tests)), flush=True)
        return killer

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        killers = list(pool.map(one, todo))
    return [g for g, k in zip(todo, killers) if k == ""], [g for g, k in zip(todo, killers) if k is None]


def main():
    args = arguments()
    found = [g for path in sorted(glob.glob("db/migrations/*.sql")) for g in guards.guards(path)]
    for i, g in enumerate(found):
        g.number = i
    mutants = [g for g in found if not args.only or g.function in args.only.split(",")]
    if args.list:
        for g in mutants:
            print("%s:%d: %s" % (g.path, g.line, g.name))
        return 0
    os.makedirs(os.path.dirname(VERDICTS), exist_ok=True)
    if args.probe and args.tests:
        ask_probes(found, "test_db", args.tests)
    elif args.probe or not os.path.exists(REACHED):
        open(REACHED, "w", encoding="utf-8").close()
        ask_probes(found, "test_db", DB)
        ask_probes(found, "test_handlers", HANDLERS)
    known, verdicts = equivalents(), Verdicts()
    todo = [g for g in mutants if g.name not in known]
    equivalent = len(mutants) - len(todo)
    before = [] if args.fresh else [g for g in todo if verdicts.of.get(key_of(g))]
    todo = [g for g in todo if g not in before]
    survivors, left_out = try_all(todo, verdicts, args)
    killed = len(before) + len(todo) - len(survivors) - len(left_out)
    for g in survivors:
        print("survives %s:%d: %s" % (g.path, g.line, g.name))
    print("%d killed (%d of them known from before), %d equivalent, %d survive, %d not tried"
          % (killed, len(before), equivalent, len(survivors), len(left_out)))
    print("%d passed, %d failed" % (killed + equivalent, len(survivors) + len(left_out)))
    return 1 if survivors or left_out else 0


sys.exit(main())
