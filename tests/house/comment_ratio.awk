# comment_ratio: comment lines a code line, over all files together. A line with both counts as both.
FNR == 1 { in_comment = 0 }
/^[ \t]*$/ { next }
{
    line = $0
    commented = in_comment
    if (in_comment) {
        if (!sub(/^.*\*\//, "", line))
            line = ""
        else
            in_comment = 0
    }
    gsub(/"([^"\\]|\\.)*"/, "s", line)
    if (gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", line))
        commented = 1
    if (sub(/\/\*.*$/, "", line))
        commented = in_comment = 1
    comments += commented
    code += line !~ /^[ \t]*$/
}
END {
    ratio = code ? comments / code : 0
    printf "= %d lines of code, %.2f lines of comment each\n", code, ratio
    if (ratio < least || ratio > most) {
        printf "comment lines a code line: %.3f, between %.2f and %.2f\n", ratio, least, most
        exit 1
    }
}
