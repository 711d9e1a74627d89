#!/bin/sh
# get and put come to an end in the middle: by a signal, by who does not read any more; and how they wait for room.
. tests/support/cli.sh

handed_out() { [ "$(lq stat "$1" --json | jq '.consumers[0].unacked')" = "$2" ]; }

get_gives_back_on_a_signal() {
    lq put sig a b c
    "$LQ" get sig -c x -f -- sleep 100 &
    pid=$!
    eventually handed_out sig 1
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null
    is 143 $? && is a "$(lq get sig -c x)"
}
check 'SIGTERM ends get, and the command it runs, and gives the message back' get_gives_back_on_a_signal

follow_ends_by_signal() {
    lq put fsig a && rm -f out
    "$LQ" get fsig -c x -f >out &
    pid=$!
    eventually has a out && kill -INT "$pid" 2>/dev/null || return
    # A shell starts background jobs with SIGINT ignored, and so it stays.
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null
    is 143 $? && ends 1 lq get fsig -c x
}
check 'get -f goes on until a signal, and what it printed is acked' follow_ends_by_signal

lines_of_1000() { head -c 400000 /dev/zero | tr '\0' x | fold -w 1000; }
no_room() {
    lines_of_1000 | ends 1 lq put room --size-max 128k --segment-size 64k --full block --sync never --wait 100ms 2>err &&
        has 'no room was made in time' err && put=$(sed -n 's/.*(\([0-9]*\) put before it).*/\1/p' err) &&
        is "$put" "$(lq stat room --json | jq .last_id)" || return 1
    lines_of_1000 | ends 1 lq put room --wait 0s 2>err && has 'the queue is full' err
}
check 'put waits for room as long as it may, and says how many are in' no_room

# A command that finishes its work when it is told to stop.
finishes_first() {
    lq put ff a b && rm -f started
    "$LQ" get ff -c x -n 2 -- sh -c 'trap "exit 0" TERM; touch started; while :; do sleep 0.02; done' &
    pid=$!
    eventually [ -e started ] && kill -TERM "$pid"
    wait "$pid" 2>/dev/null
    is 143 $? && is b "$(lq get ff -c x)"
}
check 'what a command finishes after SIGTERM is acked, and no other is taken' finishes_first

# It does not read what it is given, more than a pipe holds; so get is told to stop in the middle of writing.
told_once() {
    head -c 300000 /dev/zero | lq put to --whole && rm -f started told
    "$LQ" get to -c x -- sh -c 'trap "echo told >>told" TERM; touch started; until [ -e told ]; do sleep 0.05; done; sleep 0.4; exit 3' 2>err &
    pid=$!
    eventually [ -e started ] && sleep 0.3 && kill -TERM "$pid"
    wait "$pid" 2>/dev/null
    is 143 $? && is told "$(cat told)" && is 2 "$(lq get to -c x -F %a)"
}
check 'a command is told to stop once, also while it does not read' told_once

follows_for_long() {
    lq put fl a && rm -f out got
    "$LQ" get fl -c x -f >out &
    follower=$!
    "$LQ" get fl -c y -f -- sh -c 'cat >>got; echo >>got' &
    runner=$!
    sleep 0.6 && lq put fl b && eventually has b out && eventually has b got && is 'a b' "$(xargs <out)" && is 'a b' "$(xargs <got)"
    came=$?
    kill -TERM "$follower" "$runner"
    wait "$follower" "$runner" 2>/dev/null
    return "$came"
}
check 'get -f waits for what comes late' follows_for_long

nobody_reads_any_more() {
    lq put gone a
    { "$LQ" get gone -c x -f 2>err && echo 0 >status || echo $? >status; } | head -1 >out
    is 0 "$(cat status)" && is '' "$(cat err)" && is a "$(cat out)"
}
check 'get -f ends quietly when nobody reads any more, though nothing comes' nobody_reads_any_more

nobody_reads_the_ids() {
    { seq 1 100000 | "$LQ" put ids.gone --ids --sync never 2>err && echo 0 >status || echo $? >status; } | head -1 >out
    is 0 "$(cat status)" && is '' "$(cat err)" && is 1 "$(cat out)"
}
check 'put --ids ends quietly when nobody reads them any more' nobody_reads_the_ids

at_its_end() {
    printf 'x\n' >'read' && (cat >/dev/null && lq put ended) <'read' && is 0 "$(lq stat ended --json | jq .last_id)"
}
check 'a file that has been read to its end has no messages in it' at_its_end

# Durable, as well: a silent pipe is a time to sync.
has_put() { [ "$(lq stat "$1" --json 2>/dev/null | jq -r 'if .synced == .appended then .last_id else "not yet" end')" = "$2" ]; }
ended_at_a_pipe() {
    [ -p fifo ] || mkfifo fifo
    "$LQ" put pipe.q <fifo &
    pid=$!
    exec 3>fifo
    echo in >&3
    eventually has_put pipe.q 1 && kill -TERM "$pid"
    wait "$pid" 2>/dev/null
    ended=$?
    exec 3>&-
    is 143 "$ended" && is in "$(lq cat pipe.q --raw)"
}
check 'what comes through a pipe is durable when it pauses, and SIGTERM ends put there' ended_at_a_pipe

fill() { # QUEUE: until it blocks
    lines_of_1000 | ends 1 lq put "$1" --batch 1 --size-max 128k --segment-size 64k --full block --sync never --wait 0s 2>err
}
stopped_while_full() {
    head -c 60000 /dev/zero | tr '\0' y >large.one && lq put full.from --whole <large.one && fill stopped || return
    for command in "put stopped --whole" "replay full.from stopped"; do
        # shellcheck disable=SC2086
        "$LQ" $command <large.one 2>err &
        pid=$!
        sleep 0.4 && kill -TERM "$pid"
        wait "$pid" 2>/dev/null
        is 143 $? && is '' "$(cat err)" || return
    done
}
check 'who waits for room is ended by SIGTERM, and says nothing' stopped_while_full

waits_for_room() {
    for command in 'put ever --whole' 'put ever --whole --wait 60s' 'replay full.from ever'; do
        rm -rf ever && fill ever && lq get ever -c c -n 1 >/dev/null || return
        before=$(lq stat ever --json | jq .last_id)
        # shellcheck disable=SC2086
        lq $command <large.one &
        sleep 0.4
        is "$before" "$(lq stat ever --json | jq .last_id)" && lq get ever -c c --all >/dev/null && wait $! || return
        is $((before + 1)) "$(lq stat ever --json | jq .last_id)" || return
    done
}
check 'who waits for room goes on when somebody makes it: put, for ever or with --wait, and replay' waits_for_room

done_testing
