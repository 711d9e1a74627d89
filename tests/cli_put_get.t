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
        is c "$(lq get start -c last --start -1)" && is b "$(lq get start -c follows --start 2 -f -n 1)" &&
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

# Many times what is gathered for a batch.
large_keys() {
    key=$(head -c 3000 /dev/zero | tr '\0' k) && headers=$(head -c 2000 /dev/zero | tr '\0' h) || return
    seq 1 200 | lq put lk --key "$key" --headers "$headers" --sync never &&
        is "200 $key$headers" "$(lq cat lk -F '%k%h\n' | sort | uniq -c | sed 's/^ *//')" && seq 1 200 >numbers && lq cat lk --raw | cmp numbers -
}
check 'keys and headers may be larger than the bodies' large_keys

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

# shellcheck disable=SC2016
key_with_a_nul() {
    printf '{"data":"x","key":"a\\u0000b"}\n{"data":"y","key":"k"}\n' | lq put kn --json &&
        is 'none k' "$(lq get kn -c x --all -- sh -c 'echo "${LQ_KEY-none}"' | xargs)"
}
check 'a key that no variable can hold is in none' key_with_a_nul

small_and_large() {
    { seq 1 2000 && for _ in 1 2 3 4 5; do head -c 600000 /dev/zero | tr '\0' z && echo; done && seq 2001 2400; } >mixed
    lq put mixed.q <mixed && lq get mixed.q -c x --all | cmp mixed - && ends 1 lq get mixed.q -c x
}
check 'small messages and large ones between them come out as they went in' small_and_large

attempts_in_json() {
    lq put aj x && ends 1 lq get aj -c c -- false 2>err && is '2 x' "$(lq get aj -c c --json | jq -r '"\(.attempts) \(.data)"')"
}
check 'get --json has the attempts' attempts_in_json

start_at_nobody() {
    ends 4 lq get aj -c new --start nobody 2>err && has "no consumer is called 'nobody'" err &&
        is c "$(lq stat aj --json | jq -r '.consumers[].name')"
}
check 'a start at a consumer that is not there is an error, and makes none' start_at_nobody

large_batches() {
    seq 1 5000 >numbers && is "$(seq -s' ' 1 5000)" "$(lq put lb --batch 1000 --ids <numbers | xargs)" && lq cat lb --raw | cmp numbers -
}
check 'batches may be large' large_batches

done_testing
