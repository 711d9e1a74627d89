#!/bin/sh
# The main job: a large text file goes in line by line; three processes of one name take it out, while
# a fourth with another name follows; one of the three is killed half-way. Every line comes out under
# each name; what came twice is only what the killed one held; and the queue still has the file.
. tests/support/cli.sh

count=60000
held_max=256 # as the manual has it

# Some real text, a list of packages, as far as this machine has one.
real_text() {
    for list in /var/lib/apt/lists/*_Packages*; do
        case $list in
        *.lz4 | *.xz | *.zst | *.gz) /usr/lib/apt/apt-helper cat-file "$list" ;;
        *) cat "$list" ;;
        esac
    done 2>/dev/null | head -n "$count"
}
real_text >text
[ "$(wc -l <text)" -eq "$count" ] ||
    awk -v n="$count" >text '
        BEGIN { for (i = 1; i <= n; i++) print(i % 20 ? "Field-" i % 20 ": value " i * 7919 % 104729 : "") }'

# Numbered, to tell each line from the others.
awk '{ print NR "\t" $0 }' text >file

lq put q <file
check 'the file goes in line by line' [ "$(lq stat q --json | jq .last_id)" -eq "$count" ]

# The three write into pipes. That of the victim is read slowly for a while and
# then, as those of the others, no further until the deed is done: so all
# three are stopped by full pipes, half-way, with messages in hand.
mkfifo pipe.1 pipe.2 pipe.3
pids=
for i in 1 2 3; do
    "$LQ" get q -c workers --all --wait 2s >"pipe.$i" 2>"err.$i" &
    pids="$pids $!"
done
# shellcheck disable=SC2086
set -- $pids
victim=$1 second=$2 third=$3

whole_lines() { # [COUNT]: passes them on, and leaves out a last one that was cut
    left=${1:--1}
    while [ "$left" -ne 0 ] && IFS= read -r line; do
        printf '%s\n' "$line"
        left=$((left - 1))
    done
}
after_the_deed() { until [ -e over ]; do sleep 0.02; done; }
(whole_lines 5000 && touch half && after_the_deed && whole_lines) <pipe.1 >out.1 &
drains=$!
(after_the_deed && cat) <pipe.2 >out.2 &
drains="$drains $!"
(after_the_deed && cat) <pipe.3 >out.3 &
drains="$drains $!"

"$LQ" get q -c follower --all --wait 2s >out.follower 2>err.follower &
follower=$!

eventually [ -e half ]
lq stat q --json >at.the.kill
kill -KILL "$victim"
wait "$victim" 2>/dev/null
killed=$?
touch over
ended=
for process in $second $third $follower $drains; do
    wait "$process"
    ended=$ended$?
done

workers() { jq ".consumers[] | select(.name == \"workers\") | $1" at.the.kill; }

check 'one is killed by kill -9' [ "$killed" -eq 137 ]
check 'half-way' [ "$(workers .floor)" -gt 1000 -a "$(workers .delivered)" -lt "$count" ]
check 'with messages in hand' [ "$(workers .unacked)" -gt 0 ]
check 'the others end well' [ "$ended" = 000000 ]
silent() { is '' "$(cat err.2 err.3 err.follower)"; }
check 'and say nothing' silent

check 'the follower has the file byte for byte, in order' cmp file out.follower

sort file >wanted
nothing_missing() { sort -u out.1 out.2 out.3 | cmp wanted -; }
check 'every line comes out under the name of the workers' nothing_missing

sort out.1 out.2 out.3 | uniq -d >twice
what_it_held() { [ "$(wc -l <twice)" -le "$held_max" ] && sort out.1 | comm -23 twice - | cmp - /dev/null; }
check 'what comes twice is only what the killed one held' what_it_held
never_thrice() { is 0 "$(sort out.1 out.2 out.3 | uniq -c | awk '$1 > 2' | wc -l)"; }
check 'nothing comes more than twice' never_thrice
all_worked() { [ -s out.1 ] && [ -s out.2 ] && [ -s out.3 ]; }
check 'all three have their share' all_worked

check 'nothing is left for the workers' ends 1 lq get q -c workers
check 'nor for the follower' ends 1 lq get q -c follower

byte_for_byte() { lq cat --raw q | cmp file -; }
check 'cat --raw gives back the file byte for byte' byte_for_byte
check 'every byte of the queue is sound' lq verify q

done_testing
