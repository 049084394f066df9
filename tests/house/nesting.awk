# nesting: no statement inside more than `nesting` blocks. The sources are formatted, so the depth of a statement is its
# indentation; a line that continues the one before it is no statement, and is known by what that one ends in.
FNR == 1 {
    before = ";"
    in_comment = 0
}
{
    line = $0
    if (in_comment) {
        if (!sub(/^.*\*\//, "", line))
            next
        in_comment = 0
    }
    gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
    if (sub(/\/\*.*$/, "", line))
        in_comment = 1
    sub(/[ \t]+$/, "", line)
    if (line ~ /^[ \t]*$/ || line ~ /^[ \t]*#/)
        next
    match(line, /^ */)
    depth = RLENGTH / 4 - 1
    first = substr(line, RLENGTH + 1, 1)
    starts = before ~ /[;{}:)]$/ || before ~ /(else|do)$/
    if (starts && first ~ /[A-Za-z_*+(-]/ && depth > nesting && RLENGTH % 4 == 0) {
        printf "%s:%d: %d blocks deep, %d are enough\n", FILENAME, FNR, depth, nesting
        bad++
    }
    before = line
}
END { exit bad > 0 }
