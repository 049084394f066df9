# gen_migrations.awk: db/migrations/NNNN_what.sql -> a C table, in the order of the files.
function quoted(s) {
    gsub(/\\/, "&&", s)
    gsub(/"/, "\\\"", s)
    return s
}
BEGIN {
    print "/* made from db/migrations/ by db/gen_migrations.awk */"
    print "#include \"db/statement.h\"\n"
    print "/* C99 promises no more than 4095 bytes a string; gcc and clang have no such limit. */"
    print "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n"
    print "const struct migration migrations[] = {"
}
FNR == 1 {
    if (started) print "},"
    started = 1
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.sql$/, "", name)
    version = name
    sub(/_.*/, "", version)
    printf "    {%d, \"%s\",", version + 0, name
}
{ printf "\n     \"%s\\n\"", quoted($0) }
END {
    if (started) print "},"
    print "    {0, 0, 0}};"
}
