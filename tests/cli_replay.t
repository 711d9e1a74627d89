#!/bin/sh
# replay: a stretch of the log again.
. tests/support/cli.sh

seq 1 5000 | lq put q --key k --headers h

into_a_new_queue() {
    lq replay q copy && lq cat q -F '%i %s %k %h\n' >one && lq cat copy -F '%i %s %k %h\n' | cmp one - &&
        lq verify copy >out
}
check 'into a queue that it makes; keys and headers are kept' into_a_new_queue

a_stretch() {
    lq replay q part --from 100 --to 199 &&
        is '100 100 199' "$(lq cat part --raw | sed -n '1p;$p' | xargs echo "$(lq cat part -F '%i\n' | wc -l)")"
}
check 'a stretch of it' a_stretch

options() {
    lq replay q never --sync never --segment-size 64k -n 5 &&
        is 'never 65536 5' "$(lq stat never --json | jq -r '[.sync, .segment_size, .last_id] | join(" ")')" &&
        ends 4 lq replay q ghost --no-create 2>err && [ ! -e ghost ]
}
check 'with options for the queue that is made' options

to_output() {
    lq replay q - | cmp - <<END
$(seq 1 5000)
END
    lq replay q - --json -n 3 | jq -s length >out && is 3 "$(cat out)"
}
check 'to standard output' to_output

onto_itself() {
    lq put self a b c && lq replay self self && is 'a b c a b c' "$(lq cat self --raw | xargs)"
}
check 'onto itself: once more what is there' onto_itself

rate() {
    before=$(date +%s%N)
    lq replay q - -n 11 --rate 20/s >out || return
    took=$((($(date +%s%N) - before) / 1000000))
    is 11 "$(wc -l <out)" && [ "$took" -ge 480 ] && [ "$took" -lt 3000 ]
}
check 'at a rate' rate

pace() {
    lq put p a && sleep 0.6 && lq put p b && before=$(date +%s%N) && lq replay p - --pace 1x >out || return
    took=$((($(date +%s%N) - before) / 1000000))
    { [ "$took" -ge 550 ] && [ "$took" -lt 3000 ]; } || { echo "$took ms" && return 1; }
    before=$(date +%s%N) && lq replay p - --pace 100x >out
    took=$((($(date +%s%N) - before) / 1000000))
    [ "$took" -lt 400 ]
}
check 'at the pace it was put, or faster' pace

nothing_held_back() {
    rm -f out
    "$LQ" replay q - --rate 2/s >out &
    replay=$!
    eventually test -s out && kill "$replay"
    shown=$?
    wait "$replay" 2>/dev/null
    return "$shown"
}
check 'at a slow rate nothing is held back' nothing_held_back

contradictions() {
    ends 2 lq replay q x --json 2>err && ends 2 lq replay q - --sync never 2>err &&
        ends 2 lq replay q x --rate 1 --pace 1x 2>err &&
        for rate in 0 -1 x 1/y nan inf; do ends 2 lq replay q x --rate "$rate" 2>err || return; done &&
        ends 2 lq replay q x --pace 0 2>err && [ ! -e x ]
}
check 'contradictions end with 2 and make nothing' contradictions

never_due() {
    for when in '--rate 0.0000000000000001/h' '--pace 0.0000000000000001x'; do
        # shellcheck disable=SC2086
        "$LQ" replay p - $when >out &
        replay=$!
        eventually test -s out && sleep 0.1 && kill -TERM "$replay" || return
        wait "$replay" 2>/dev/null
        is 143 $? && is a "$(cat out)" || return
    done
}
check 'what is due in a million years is waited for, and SIGTERM ends it' never_due

done_testing
