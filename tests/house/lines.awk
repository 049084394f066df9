# lines: no file longer than `budget`.
FNR == 1 { files[++n] = FILENAME }
{ length_of[FILENAME] = FNR }
END {
    for (i = 1; i <= n; i++)
        if (length_of[files[i]] > budget) {
            printf "%s:%d: more than %d lines\n", files[i], length_of[files[i]], budget
            bad++
        }
    exit bad > 0
}
