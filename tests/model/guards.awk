# guards.awk: makes macros of the transitions that the model may take.
#
#     awk -f guards.awk transitions.txt >guards.pml
#
# Of each row of the first part, NEXT_name(s) is the state that the statement leaves a job of state s in; S_state numbers the states.
/^# -- beside the model/ { exit }
/^#/ || /^$/ { next }
/^ / {
    split($0, half, ": ")
    to = $NF
    n = split(half[1], from, " ")
    for (i = 1; i <= n; i++) {
        add(from[i])
        if (to != "=")
            next_of[name] = next_of[name] "(s == S_" from[i] " -> S_" to " : "
        if (to != "=")
            closing[name] = closing[name] ")"
    }
    if (to != "=")
        add(to)
    next
}
{
    name = $1
    sub(/[:,]$/, "", name)
    order[++names] = name
}
function add(state) {
    if (!(state in number))
        number[state] = count++
}
END {
    for (state in number)
        printf "#define S_%s %d\n", state, number[state]
    for (i = 1; i <= names; i++)
        printf "#define NEXT_%s(s) (%ss%s)\n", order[i], next_of[order[i]], closing[order[i]]
}
