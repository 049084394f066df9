# functions: reads what pmccabe prints: complexity with a switch counted once, complexity, statements, first line, lines,
# file(line): name. The first column is the one that is held: a switch that maps names to values is one decision to its reader,
# however many names there are.
BEGIN {
    library_decides["exchange_step"] # MHD_AccessHandlerCallback has eight parameters
    LINES_MAX = 60; LINES_P90 = 45; LINES_MEDIAN = 18
    COMPLEXITY_MAX = 12; COMPLEXITY_P90 = 8; PARAMETERS = 6
}
function say(what)
{
    printf "%s:%d: %s: %s\n", file, line, name, what
    bad++
}
# How many parameters the definition at file:line has: the commas at the first level of its parentheses.
function parameters(    text, i, c, level, commas, seen, n)
{
    n = 0
    while ((getline text < file) > 0)
        source[++n] = text
    close(file)
    text = ""
    for (i = line; i <= n && i < line + 20; i++) {
        text = text source[i]
        if (source[i] ~ /\{[ \t]*$/ || source[i + 1] ~ /^\{/)
            break
    }
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "(") {
            level++
            seen = 1
        } else if (c == ")" && --level == 0)
            break
        else if (c == "," && level == 1)
            commas++
    }
    return seen ? commas + 1 : 0
}
function percentile(values, n, p)
{
    return values[int((n - 1) * p / 100 + 0.5) + 1]
}
function sort_numbers(values, n,    i, j, v)
{
    for (i = 2; i <= n; i++) {
        v = values[i]
        for (j = i - 1; j > 0 && values[j] > v; j--)
            values[j + 1] = values[j]
        values[j + 1] = v
    }
}
{
    at = $6
    file = at
    sub(/\([0-9]+\):?$/, "", file)
    line = at
    gsub(/^.*\(|\):?$/, "", line)
    line += 0
    name = $7
    n++
    complexity[n] = $1
    lines[n] = $5
    if ($5 > LINES_MAX)
        say($5 " lines, at most " LINES_MAX)
    if ($1 > COMPLEXITY_MAX)
        say("cyclomatic complexity " $1 ", at most " COMPLEXITY_MAX)
    p = parameters()
    if (p > PARAMETERS && !(name in library_decides))
        say(p " parameters, at most " PARAMETERS)
}
function over(what, value, most)
{
    if (value > most) {
        printf "%s is %s, at most %s\n", what, value, most
        bad++
    }
}
END {
    if (!maxima_only && n > 0) {
        sort_numbers(lines, n)
        sort_numbers(complexity, n)
        over("the median of lines a function", percentile(lines, n, 50), LINES_MEDIAN)
        over("the p90 of lines a function", percentile(lines, n, 90), LINES_P90)
        over("the p90 of complexity", percentile(complexity, n, 90), COMPLEXITY_P90)
        printf "= %d functions, lines %d/%d/%d, complexity %d/%d (median/p90/max, p90/max)\n", n, percentile(lines, n, 50), \
            percentile(lines, n, 90), lines[n], percentile(complexity, n, 90), complexity[n]
    }
    exit bad > 0
}
