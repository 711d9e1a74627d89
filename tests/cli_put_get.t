#!/bin/sh
# Putting messages and taking them out again.
. tests/support/cli.sh

arguments_are_messages() {
    lq put a hello 'two words' '' &&
        is 'hello|two words||' "$(lq get a -c x --all | tr '\n' '|')"
}
check 'arguments are messages, an empty one too' arguments_are_messages

put_says_nothing() {
    is '' "$(lq put quiet hello 2>&1)"
}
check 'put prints nothing' put_says_nothing

ids_are_printed() {
    is '1 2 3' "$(lq put ids --ids a b c | xargs)" &&
        is '4 5' "$(printf 'd\ne\n' | lq put ids --ids | xargs)"
}
check 'put --ids prints the ids' ids_are_printed

lines_are_messages() {
    printf 'one\n\nthree' | lq put lines &&
        is '1:one|2:|3:three|' "$(lq cat lines -F '%i:%s|')"
}
check 'each line is a message, an empty one and a last one without newline too' lines_are_messages

nul_separates() {
    printf 'one\ntwo\0three\0' | lq put -0 nul &&
        is '7 5 ' "$(lq cat nul -F '%l ')" &&
        printf 'one\ntwo\0three\0' >wanted && lq cat -0 nul | cmp wanted -
}
check 'with -0 a NUL ends a message, in and out' nul_separates

whole_is_one() {
    printf 'a\nb\0c\n' >whole.bin
    lq put --whole whole <whole.bin && lq put whole --whole </dev/null &&
        is '6 0 ' "$(lq cat whole -F '%l ')" &&
        lq cat -j -n 1 whole | cmp whole.bin -
}
check 'with --whole all of standard input is one message, be it empty' whole_is_one

get_takes_one() {
    lq put one a b &&
        is a "$(lq get one -c x)" && is b "$(lq get one -c x)" &&
        ends 1 lq get one -c x
}
check 'get takes one, and ends with 1 when there is none' get_takes_one

names_see_everything() {
    lq put names a b c &&
        is 'a b c' "$(lq get names -c x -n 3 | xargs)" &&
        is 'a b c' "$(lq get names -c y -n 0 | xargs)" &&
        ends 1 lq get names -c x --all
}
check 'each consumer gets every message' names_see_everything

get_waits() {
    lq put wait first
    lq get wait -c x >/dev/null
    (sleep 0.3 && lq put wait late) &
    is late "$(lq get wait -c x --wait 20s)"
    waited=$?
    wait
    return "$waited"
}
check 'get --wait waits for the next message' get_waits

wait_is_bounded() {
    before=$(date +%s%N)
    ends 1 lq get wait -c x --wait 300ms || return
    took=$((($(date +%s%N) - before) / 1000000))
    [ "$took" -ge 280 ] && [ "$took" -lt 5000 ]
}
check 'and no longer than it was told to' wait_is_bounded

start_is_kept() {
    lq put start a b c &&
        ends 1 lq get start -c end --start end &&
        is b "$(lq get start -c two --start 2)" &&
        is c "$(lq get start -c last --start -1)" &&
        is c "$(lq get start -c like --start two)" &&
        is a "$(lq get start -c time --start @-1h)" &&
        lq put start d &&
        is d "$(lq get start -c end --start begin)"
}
check '--start says where a new consumer begins, and only a new one' start_is_kept

no_create_makes_none() {
    lq put nc a &&
        ends 4 lq get nc -c ghost --no-create && ends 4 lq put ghost --no-create a &&
        [ ! -e ghost ] && is 0 "$(lq stat nc --json | jq '.consumers | length')"
}
check '--no-create makes neither queue nor consumer' no_create_makes_none

get_makes_no_queue() {
    ends 4 lq get nothing -c x && [ ! -e nothing ]
}
check 'get makes no queue' get_makes_no_queue

# shellcheck disable=SC2016 # for the command's shell to expand
command_gets_the_body() {
    printf 'bo\0dy\n' >body
    lq put --whole --key k1 cmd <body &&
        lq get cmd -c x -- sh -c 'cat >got; echo "$LQ_ID $LQ_KEY $LQ_ATTEMPTS $LQ_SIZE $LQ_QUEUE $LQ_CONSUMER"' >said &&
        cmp body got && is '1 k1 1 6 cmd x' "$(cat said)"
}
check 'a command has the body on its standard input, and knows the message' command_gets_the_body

# shellcheck disable=SC2016
failed_command_gives_back() {
    lq put fail a b &&
        ends 1 lq get fail -c x -n 2 -- sh -c 'exit 7' 2>err &&
        has 'ended with 7' err &&
        is '2 a' "$(lq get fail -c x -- sh -c 'echo "$LQ_ATTEMPTS $(cat)"')" &&
        is b "$(lq get fail -c x)"
}
check 'a command that fails gives its message back, with one attempt more' failed_command_gives_back

killed_command_gives_back() {
    lq put killed a &&
        ends 1 lq get killed -c x -- sh -c 'kill -9 $$' 2>err &&
        has 'signal 9' err && is a "$(lq get killed -c x)"
}
check 'so does one that is killed' killed_command_gives_back

missing_command_is_an_error() {
    lq put mc a &&
        ends 4 lq get mc -c x -- ./no-such-command 2>err && has no-such-command err &&
        is '1 a' "$(lq get mc -c x -F '%a %s')"
}
check 'a command that is not there ends with 4, and counts no attempt' missing_command_is_an_error

command_need_not_read() {
    head -c 3000000 /dev/zero | lq put --whole big &&
        lq get big -c x -- true && ends 1 lq get big -c x
}
check 'a command need not read its input' command_need_not_read

large_bodies_pass() {
    head -c 5000000 /dev/urandom >large
    lq put --whole large.q <large && lq put large.q --whole <large &&
        lq get large.q -c x -j | cmp large - && lq get large.q -c x -- cat | cmp large -
}
check 'large bodies pass through put, get and a command' large_bodies_pass

long_lines_pass() {
    { head -c 3000000 /dev/zero | tr '\0' x; echo; echo short; } >long
    lq put long.q <long && lq cat --raw long.q | cmp long - && is 2 "$(lq cat long.q -F '%i\n' | wc -l)"
}
check 'long lines pass' long_lines_pass

pipe_is_not_held_back() {
    mkfifo fifo && lq put slow warm-up
    lq put slow <fifo &
    exec 3>fifo
    echo now >&3
    is now "$(lq get slow -c x --start 2 --wait 20s)"
    came=$?
    exec 3>&-
    wait
    return "$came"
}
check 'what comes through a pipe is there before the pipe ends' pipe_is_not_held_back

key_and_headers() {
    lq put kh --key k --headers 'a: b' x y && is 'k/a: b/x k/a: b/y ' "$(lq cat kh -F '%k/%h/%s ')"
}
check '--key and --headers are for all messages' key_and_headers

options_are_stored() {
    lq put opts x --sync never --segment-size 128k --size-max 1M --full drop --compression 1 --retention limits \
        --age-max 1h &&
        is 'never 131072 1048576 drop 1 limits 3600000' \
            "$(lq stat opts --json | jq -r '[.sync, .segment_size, .size_max, .full, .compression, .retention,
                .age_max_ms] | join(" ")')" &&
        ends 4 lq put opts x --sync always 2>err && has 'hint: lq stat opts' err
}
check 'options are those that the queue was made with, and another is refused' options_are_stored

full_queue_rejects() {
    head -c 100000 /dev/zero | tr '\0' x >block
    lq put full --whole --segment-size 64k --size-max 1M <block
    full=0
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        lq put full --whole <block 2>err || { full=$? && break; }
    done
    is 4 "$full" && has 'cannot put message 1 (0 put before it)' err
}
check 'a full queue that rejects ends with 4, and says how far it came' full_queue_rejects

full_queue_blocks() {
    lq put blocks --whole --segment-size 64k --size-max 1M --full=block <block
    full=0
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        lq put blocks --whole --wait 200ms <block 2>err || { full=$? && break; }
    done
    is 1 "$full" && has 'no room was made in time' err
}
check 'one that blocks ends with 1 when the time is over' full_queue_blocks

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

makes_room() {
    lq get room -c c -n 1 >/dev/null && (sleep 0.3 && lq get room -c c --all >/dev/null) &
    head -c 60000 /dev/zero | tr '\0' y | lq put room --whole --wait 20s
    made=$?
    wait
    return "$made"
}
check 'and goes on when somebody makes room' makes_room

too_big() {
    ends 4 lq put small --message-size-max 1k "$(head -c 3000 /dev/zero | tr '\0' a)" 2>err && has '3000 bytes' err &&
        head -c 3000 /dev/zero | ends 4 lq put small --whole 2>err && has "this queue takes 1024" err && lq put small fits &&
        is 1 "$(lq stat small --json | jq .last_id)"
}
check 'a message that is larger than the queue takes is refused' too_big

one_by_one() {
    is '1 2 3' "$(lq put ones a b c --batch 1 --ids | xargs)" && is '4 5 6' "$(printf 'd\ne\nf\n' | lq put ones --batch 2 --ids | xargs)"
}
check 'in batches of any size ids come in order' one_by_one

done_testing
