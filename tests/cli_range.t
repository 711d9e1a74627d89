#!/bin/sh
# Which messages cat, tail and peek show.
. tests/support/cli.sh

seq 1 100 | sed 's/^/m/' | lq put q
shown() { # WANTED ARGUMENTS...: the bodies, with blanks between
    shown_wanted=$1
    shift
    is "$shown_wanted" "$(lq "$@" --raw | xargs)"
}

check 'cat --from and --to take ids, both ends included' shown 'm5 m6 m7' cat q --from 5 --to 7
check 'one message' shown 'm5' cat q --from 5 --to 5
check 'none, when they are the wrong way round' shown '' cat q --from 7 --to 5
check 'none, behind the end' shown '' cat q --from 101
check '-N counts from the end' shown 'm98 m99 m100' cat q --from -3
check 'and may be more than there are' shown 'm1 m2' cat q --from -1000 --to 2
check 'begin' shown 'm1' cat q --from begin --to begin
check 'end' shown 'm100' cat q --from 100 --to end
check 'at most so many' shown 'm10 m11' cat q --from 10 -n 2
check 'none at all' shown '' cat q -n 0
check 'tail shows the last ten' shown 'm91 m92 m93 m94 m95 m96 m97 m98 m99 m100' tail q
check 'tail -n' shown 'm99 m100' tail q -n 2
check 'tail of more than there are' shown 'm1 m2' tail q --to 2 -n 50
check 'tail -n 0' shown '' tail q -n 0
check 'grep' shown 'm7 m77' cat q --grep '^m(7|77)$'
check 'grep without regard to case' shown 'm77' cat q --grep 'M77' -i
check 'tail shows the last that pass' shown 'm79 m97' tail q --grep '[79][79]' --grep '(79|97)' -n 2
check 'tail, when fewer pass' shown 'm7' tail q --grep '^m7$'
check 'tail -n 0 with a filter' shown '' tail q -n 0 --grep m

consumer_is_a_position() {
    lq get q -c half -n 50 >/dev/null && shown 'm51' cat q --from half -n 1 &&
        shown 'm49 m50' tail q --to half -n 2
}
check 'a consumer is a position' consumer_is_a_position

keys() {
    lq put q --key a k1 && lq put q --key ab k2 && shown k1 cat q --key a && shown '' cat q --key '' --from 101
}
check 'keys are compared whole' keys

nul_in_body() {
    printf 'a\0needle' | lq put n --whole && is 1 "$(lq cat n --grep needle -F %i)" &&
        is '' "$(lq cat n --grep '^needle' -F %i)"
}
check 'grep looks behind a NUL' nul_in_body

moments() {
    lq put t old && sleep 0.4 && between=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ) && sleep 0.4 && lq put t new &&
        shown new cat t --since "$between" && shown old cat t --until "$between" &&
        shown new cat t --from "@$between" &&
        shown old cat t --to "@$between" && shown new tail t --since "$between" &&
        shown new cat t --from 1 --since "$between" && shown 'old new' cat t --since -1h &&
        shown '' cat t --until -1h && shown '' cat t --since "@$(($(date +%s) + 3600))" &&
        shown 'old new' cat t --since yesterday &&
        shown new cat t --from "@$(TZ=UTC+5 date +%Y-%m-%dT%H:%M:%S -d "$between")-05:00" --since "$between"
}
check 'times, in UTC, relative, with a zone, as seconds' moments

local_time() {
    between=$(TZ=Asia/Kolkata date -d "$between" +%Y-%m-%dT%H:%M:%S.%6N)
    TZ=Asia/Kolkata shown new cat t --since "$between"
}
[ -e /usr/share/zoneinfo/Asia/Kolkata ] && check 'times without a zone are local' local_time

bad_positions() {
    for position in '' -x '-' @ @yes '@2026-13-01' '@2026-02-30' '@2026-11-20T25:00' '@-5x' 'a b' 'a/b'; do
        ends 2 lq cat q --from "$position" 2>err || { echo "$position" && return 1; }
    done
    ends 2 lq cat q --grep '(' 2>err && has '--grep' err
}
check 'what is no position is refused' bad_positions

unknown_consumer() {
    ends 4 lq cat q --from hafl 2>err && has "hint: did you mean 'half'?" err
}
check 'an unknown consumer gets a hint' unknown_consumer

peeking() {
    lq put p a b c && is a "$(lq peek p -F %s)" && lq get p -c x >/dev/null &&
        is b "$(lq peek p -c x -F %s)" && is 'b c' "$(lq peek p -c x -n 5 --raw | xargs)" &&
        is b "$(lq peek p -c x -F %s)" && is b "$(lq get p -c x)" && is c "$(lq get p -c x)" &&
        ends 1 lq peek p -c x &&
        ends 4 lq peek p -c nobody 2>err
}
check 'peek shows what comes next and takes nothing' peeking

filters() {
    lq put f --key a one && lq put f --key bb two && lq put f --key b three && lq put f four '' && sleep 0.05 &&
        between=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ) && sleep 0.05 && lq put f six &&
        shown three cat f --key b && shown two tail f --key bb && shown 'four six' tail f --key '' -n 3 &&
        shown 'four' tail f --until "$between" -n 2 && shown six tail f --since "$between" &&
        is 5 "$(lq cat f --grep '^$' -F %i)" && shown '' tail f --key a --until '@1' &&
        shown 'six' tail f --from 6 -n 3 && shown 'one two' replay f - --to 2
}
check 'filters of all kinds, for tail and replay, too' filters

damage_shown_once() {
    lq put hurt a && seq 2 50 | lq put hurt --batch 10 && lq put hurt last && cp -a hurt hurt.copy
    for name in hurt.copy/log/*; do printf 'XX' | dd of="$name" bs=1 seek=420 conv=notrunc status=none; done
    ends 3 lq cat hurt.copy --raw >out 2>err && has '10 messages from 2 on are lost' err && is 41 "$(wc -l <out)" || return 1
    ends 3 lq tail hurt.copy -n 45 --raw >out 2>err && ends 3 lq replay hurt.copy - --raw >out 2>err && is 41 "$(wc -l <out)"
}
check 'damage in the way is told, and the rest is shown' damage_shown_once

peek_while_others_hold() {
    lq put held a b c && mkfifo hold && "$LQ" get held -c x -- cat hold >out &
    holder=$!
    eventually handed held 1 && is 'b c' "$(lq peek held -c x -n 5 --raw | xargs)"
    seen=$?
    echo >hold
    wait "$holder"
    is b "$(lq peek held -c x --raw)" && return "$seen"
}
handed() { [ "$(lq stat "$1" --json | jq '.consumers[0].unacked')" = "$2" ]; }
check 'peek shows what comes next, and not what others hold' peek_while_others_hold

harm() { # QUEUE BYTE
    for name in "$1"/log/*; do printf XX | dd of="$name" bs=1 seek="$2" conv=notrunc status=none; done
}

peek_at_holes_and_ends() {
    lq put none </dev/null && ends 1 lq peek none && seq 1 30 | lq put holes --batch 10 && harm holes 320 &&
        ends 3 lq peek holes -n 50 --raw >out 2>err && has '10 messages from 1 on are lost' err && is "$(seq 11 30)" "$(cat out)" &&
        ends 3 lq tail holes -n 3 --grep . --raw >out 2>err && is '28 29 30' "$(xargs <out)"
}
check 'peek and tail --grep go on behind damage, and end with 3; peek at nothing ends with 1' peek_at_holes_and_ends

lone_holes() {
    lq put lone a && lq put lone b && harm lone 296 && ends 3 lq cat lone --raw >out 2>err && is b "$(cat out)" && has 'message 1 is lost' err &&
        rm -rf bare && lq put bare x && : >bare/meta && ends 3 lq cat bare --raw >out 2>err && has 'damaged: meta' err && is x "$(cat out)"
}
check 'one message that is lost, and damage that costs none, are told as such' lone_holes

limits() {
    lq put lim a b && is 'a b' "$(lq cat lim --from 0 --raw | xargs)" && shown '' cat lim --until '@1' --to '@2' && shown '' cat lim --until '@2' --to '@1' &&
        shown 'a b' cat lim --until now --to @now && ends 0 lq replay lim lim.none --from 5 && is 0 "$(lq stat lim.none --json | jq .last_id)" &&
        ends 0 lq replay lim lim.none --since @now && ends 0 lq replay none lim.none
}
check 'the narrower limit counts, and nothing is a stretch, too' limits

long_search() {
    seq 1 20000 | lq put ls20 && seq 1 20000 | grep -E '00$' >wanted && lq cat ls20 --grep '00$' --raw | cmp wanted - &&
        lq cat ls20 --raw | cmp - "$TMPDIR/numbers"
}
seq 1 20000 >"$TMPDIR/numbers"
check 'a long log is searched to its end' long_search

done_testing
