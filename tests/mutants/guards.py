"""Finds the guards of the statements that change where a job stands: each part of a WHERE that can be dropped by itself.

A guard is one of the conditions that AND joins, in a WHERE, or behind the ON of a JOIN with a table, of a function of db/migrations
that changes one of the tables below. A WHERE with an OR at its top is one guard.
"""
import collections
import re

PLACES = "ready scheduled blocked parked waits leases ends cancellations jobs held uniq needs follows deadlines holds".split()
CHANGES = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+belay\.(?:%s)\b|\bFOR\s+UPDATE\b" % "|".join(PLACES))
FUNCTION = re.compile(r"^CREATE FUNCTION belay\.(\w+)\b.*?\bAS \$\$.*?\$\$;", re.S | re.M)
OPENING = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\b(?:WHERE|JOIN\s+belay\.\w+\s+\w+\s+ON)\b")
TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\w+|<>|.", re.S)
ENDS = set("GROUP ORDER LIMIT RETURNING FOR HAVING UNION ON LOOP THEN OFFSET INTO WHERE EXCEPT JOIN LEFT CROSS".split())


class Guard:
    """A function of a file, and the span in it that is dropped."""

    def __init__(self, path, line, function, start, end, body, clause):
        self.clause = clause
        self.path, self.line, self.function, self.start, self.end, self.body = path, line, function, start, end, body
        self.text = " ".join(body[start:end].split())
        self.name = "%s: %s" % (function, self.text)

    def mutant(self):
        body = self.body[: self.start] + " true " + self.body[self.end:]
        return body.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


# Says in the log of the server where exactly one of the conditions of a WHERE does not hold: without it there would be a row more.
PROBE = """CREATE OR REPLACE FUNCTION belay.probe(p_names text[], p_holds boolean[]) RETURNS boolean LANGUAGE plpgsql COST 0.001 AS $$
DECLARE
  missed CONSTANT int[] := ARRAY(SELECT n FROM unnest(p_holds) WITH ORDINALITY x (holds, n) WHERE holds IS NOT TRUE);
BEGIN
  IF cardinality(missed) = 1 THEN
    RAISE LOG 'missed %;', p_names[missed[1]];
  END IF;
  RETURN missed = '{}';
END $$;"""


def probed(found):
    """The functions of these guards with a probe around each WHERE."""
    edits = collections.defaultdict(list)
    for clause in clauses(found):
        body, names = clause[0].body, ", ".join("'%d'" % g.number for g in clause)
        edits[body].append((clause[0].start, clause[0].start, "belay.probe(ARRAY[%s], ARRAY[(" % names))
        for before, after in zip(clause, clause[1:]):
            edits[body].append((before.end, after.start, "\n), ("))
        edits[body].append((clause[-1].end, clause[-1].end, "\n)])"))
    functions = [PROBE]
    for body, of in edits.items():
        for start, end, text in sorted(of, key=lambda e: (e[0], e[1]), reverse=True):
            body = body[:start] + text + body[end:]
        functions.append(body.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    return functions


def clauses(found):
    of = collections.defaultdict(list)
    for g in found:
        of[(g.path, g.function, g.clause)].append(g)
    return of.values()


def conditions(body, at):
    """The spans of the conditions of the WHERE whose first character after the word is body[at]."""
    depth, start, spans, has_or, between = 0, at, [], False, 0
    for t in TOKEN.finditer(body, at):
        word = t.group().upper()
        if word in ("(", "[", "CASE"):
            depth += 1
        elif word in (")", "]", "END") and depth > 0:
            depth -= 1
        elif word in (")", "]", ";", "END") or depth == 0 and word in ENDS:
            spans.append((start, t.start()))
            break
        elif depth == 0 and word == "OR":
            has_or = True
        elif depth == 0 and word == "BETWEEN":
            between += 1
        elif depth == 0 and word == "AND":
            if between:
                between -= 1
                continue
            spans.append((start, t.start()))
            start = t.end()
    return [(spans[0][0], spans[-1][1])] if has_or else spans


def guards(path):
    text = open(path, encoding="utf-8").read()
    found = []
    for f in FUNCTION.finditer(text):
        body = f.group()
        if not CHANGES.search(body):
            continue
        for t in OPENING.finditer(body):
            if t.group()[0] in "-'":
                continue
            for start, end in conditions(body, t.end()):
                start += len(body[start:end]) - len(body[start:end].lstrip())
                end = start + len(body[start:end].rstrip())
                line = text.count("\n", 0, f.start() + start) + 1
                found.append(Guard(path, line, f.group(1), start, end, body, t.end()))
    seen = collections.Counter()
    for g in found:
        seen[g.name] += 1
        if seen[g.name] > 1:
            g.name += " #%d" % seen[g.name]
    return found
