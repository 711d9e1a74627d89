#!/bin/sh
# tail -f: messages shown as they come.
. tests/support/cli.sh

follow() { # FILE ARGUMENTS...: starts it in the background, $follower is its process
    follow_file=$1
    shift
    : >"$follow_file" # what an earlier one wrote must not pass for this one's
    "$LQ" tail -f "$@" >"$follow_file" 2>"$follow_file.err" 3>&- &
    follower=$!
}

unfollow() {
    kill -TERM "$follower" 2>/dev/null
    wait "$follower" 2>/dev/null
    is 143 $?
}

lines() { [ "$(wc -l <"$1")" -eq "$2" ]; }

comes_as_it_is_put() {
    lq put a one two && follow out a --raw && eventually lines out 2 && lq put a three &&
        eventually lines out 3 &&
        lq put a four && eventually lines out 4 && is 'one two three four' "$(xargs <out)"
    fine=$?
    unfollow && return "$fine"
}
check 'what other processes put comes at once, over their ends and beginnings' comes_as_it_is_put

from_now_on() {
    follow out a -n 0 --raw && sleep 0.5 && is '' "$(cat out)" && lq put a five && eventually lines out 1 &&
        is five "$(cat out)"
    fine=$?
    unfollow && return "$fine"
}
check 'with -n 0 only what is new' from_now_on

from_an_empty_queue() {
    lq put b </dev/null && follow out b --json && lq put b x && eventually lines out 1 &&
        is x "$(jq -r .data out)" &&
        lq put b y && eventually lines out 2
    fine=$?
    unfollow && return "$fine"
}
check 'an empty queue can be followed; each line of JSON is there at once' from_an_empty_queue

one_writer_all_the_time() {
    mkfifo pipe && lq put c first
    "$LQ" put c <pipe &
    writer=$!
    exec 3>pipe
    follow out c --raw && eventually lines out 1 && echo second >&3 && eventually lines out 2 &&
        echo third >&3 && eventually lines out 3
    fine=$?
    exec 3>&-
    wait "$writer"
    unfollow && return "$fine"
}
check 'what a writer that stays puts' one_writer_all_the_time

filter() {
    follow out a --raw --grep '^x' && lq put a nothing x1 nor x2 && eventually lines out 2 &&
        is 'x1 x2' "$(xargs <out)"
    fine=$?
    unfollow && return "$fine"
}
check 'with a filter, what passes' filter

ends_at_to() {
    follow out a --from 1 -n 100 --to 12 --raw && lq put a nine ten eleven twelve thirteen || return
    wait "$follower"
    is 0 $? && is 'ten eleven' "$(tail -n 2 out | xargs)" && is 12 "$(wc -l <out)"
}
lq cat a >/dev/null && check 'with --to it ends there' ends_at_to

many_while_following() {
    lq put d </dev/null && follow out d --raw && seq 1 50000 | lq put d && eventually lines out 50000 &&
        seq 1 50000 | cmp out -
    fine=$?
    unfollow && return "$fine"
}
check 'nothing is missing from a flood' many_while_following

reader_goes_away() {
    { "$LQ" tail -f a 2>err && echo 0 >status || echo $? >status; } | head -1 >out
    is 0 "$(cat status)" && is 0 "$(wc -c <err)"
}
check 'it ends quietly when nobody reads any more, though nothing comes' reader_goes_away

consumes_nothing() {
    lq put e a b && follow out e --raw && eventually lines out 2 && unfollow &&
        is 'a b' "$(lq get e -c x --all | xargs)"
}
check 'following consumes nothing' consumes_nothing

following_writes_nothing() {
    lq put f a && picture f >before && follow out f --raw && eventually lines out 1 && sleep 0.4 &&
        picture f | diff before - && unfollow
}
check 'following changes no file' following_writes_nothing

done_testing
