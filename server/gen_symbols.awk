# gen_symbols: from a public header, preprocessed with line markers, the functions that it and the public headers that it
# includes declare, as a list for the linker. A declaration begins in the first column, and its name is what stands
# before the first parenthesis; inline functions are static and have no symbol.
BEGIN { print "{" }
/^# [0-9]+ "/ { ours = $3 ~ /^"(\.\/)?(server|workers)\//; next }
ours && /^[A-Za-z_]/ && !/^(static|typedef)/ && match($0, /[a-z0-9_]+\(/) { print substr($0, RSTART, RLENGTH - 1) ";" }
END { print "};" }
