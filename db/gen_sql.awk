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
    printf "%s:%d: parameter type %s is not known to gen_sql.awk\n", FILENAME, FNR, type > "/dev/stderr"
    failed = 1
    return "?"
}
function quoted(s) {
    gsub(/\\/, "\\\\", s)
    gsub(/"/, "\\\"", s)
    return s
}
function finish_statement() {
    if (name != "")
        printf ",\n     \"%s\", %s},\n", types, is_array ? "true" : "false"
}
BEGIN {
    print "/* made from db/sql/ by db/gen_sql.awk */"
    print "#include \"db/statement.h\"\n\nconst struct statement statements[] = {"
}
FNR == 1 {
    finish_statement()
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.sql$/, "", name)
    types = ""
    is_array = 0
    printf "    {\"%s\",", name
}
/^-- \$[0-9]+ / {
    type = $4
    sub(/[,;:.]$/, "", type)
    if (type ~ /\[\]$/) {
        is_array = 1
        sub(/\[\]$/, "", type)
    }
    types = types ($3 == "grp" ? "g" : letter(type))
}
!/^--/ { printf "\n     \"%s\\n\"", quoted($0) }
END {
    finish_statement()
    print "};"
    exit failed
}
