# gen_sql.awk: db/sql/*.sql -> a C table of statements, in the order of the files.
#
# The header comment of a statement describes its parameters, one a line: `-- $1 ids bigint[]`. From that come the types
# that params.c packs. A parameter named `grp` is filled by the lane, not by the caller.
function letter(type) {
    if (type == "bigint") return "l"
    if (type == "int" || type == "integer") return "i"
    if (type == "smallint") return "s"
    if (type == "boolean") return "b"
    if (type == "timestamptz") return "t"
    if (type == "json") return "j"
    if (type == "text") return "x"
    complain("parameter type " type " is not known to gen_sql.awk")
    return "?"
}
function complain(what) {
    printf "db/sql/%s.sql: %s\n", name, what > "/dev/stderr"
    failed = 1
}
function quoted(s) {
    gsub(/\\/, "&&", s)
    gsub(/"/, "\\\"", s)
    return s
}
function finish_statement() {
    if (name == "")
        return
    if (n_arrays != 0 && n_arrays != n_params)
        complain("some parameters are arrays and some are not")
    printf ",\n     \"%s\", %s},\n", types, (n_arrays > 0 ? "true" : "false")
}
BEGIN {
    print "/* made from db/sql/ by db/gen_sql.awk */"
    print "#include \"db/statement.h\"\n"
    print "/* C99 promises no more than 4095 bytes a string; gcc and clang have no such limit. */"
    print "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n"
    print "const struct statement statements[] = {"
}
FNR == 1 {
    finish_statement()
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.sql$/, "", name)
    types = ""
    n_params = n_arrays = 0
    printf "    {\"%s\",", name
}
/^-- \$[0-9]+ / {
    type = $4
    sub(/[,;:.]$/, "", type)
    if ($2 != "$" ++n_params)
        complain($2 " where $" n_params " is next")
    n_arrays += sub(/\[\]$/, "", type)
    types = types ($3 == "grp" ? "g" : letter(type))
}
!/^--/ { printf "\n     \"%s\\n\"", quoted($0) }
END {
    finish_statement()
    print "};"
    exit failed
}
