#!/bin/sh
# ls, stat, segments: tables and JSON.
. tests/support/cli.sh

mkdir -p root/deep/er && seq 1 2000 | lq put root/one --segment-size 64k && lq put root/deep/er/two x y &&
        lq put root/empty </dev/null
lq get root/one -c fast -n 1500 >/dev/null
lq get root/one -c slow -n 500 >/dev/null

table() {
    lq ls root >out && sed -n 1p out | grep -qE '^NAME +STATE +READY +UNACKED +SIZE +CONSUMERS +OLDEST$' &&
        grep -qE '^one +idle +1,500 +0 +[0-9.]+ [kM]?B +2 ' out && grep -qE '^deep/er/two +idle +2 +0 ' out &&
        grep -qE '^empty +idle +0 +0 .* -$' out &&
        is 4 "$(wc -l <out)"
}
check 'ls shows the queues below a directory' table

ls_json() {
    lq ls root --json | jq -r '[.queue, .state, .ready, .consumers] | join(" ")' | sort >out &&
        printf '%s\n' 'deep/er/two idle 2 0' 'empty idle 0 0' 'one idle 1500 2' | diff - out
}
check 'ls --json' ls_json

roots() {
    names() { awk "{ print \$1 }"; }
    lq ls root | names >out && lq -C root ls | names | diff out - && LQ_ROOT=root lq ls | names | diff out - &&
        (cd root && lq ls) | names | diff out - && lq ls root/one >out && is 2 "$(wc -l <out)"
}
check 'ls looks below -C, LQ_ROOT, here, or at one queue' roots

nothing_there() {
    mkdir none && ends 1 lq ls none >out 2>err && has 'no queue' err && ends 4 lq ls nowhere 2>err &&
        ends 4 lq ls out 2>err
}
check 'ls ends with 1 where there is no queue' nothing_there

state_is() { [ "$(lq stat "$1" --json | jq -r .state)" = "$2" ]; }
handed_out() { [ "$(lq stat "$1" --json | jq '.consumers[0].unacked')" = "$2" ]; }

running() {
    mkfifo pipe && "$LQ" put root/empty <pipe &
    writer=$!
    sleep 0.2
    exec 3>pipe
    eventually state_is root/empty running && lq stat root/empty >out && grep -qE "^open +.*\b$writer\b" out
    shown=$?
    exec 3>&-
    wait "$writer"
    return "$shown"
}
check 'stat shows who has it open' running

running_in_a_list() {
    "$LQ" put root/empty <pipe &
    writer=$!
    exec 3>pipe
    eventually state_is root/empty running && ln -s nowhere root/broken && lq ls root | grep -q '^empty *running '
    shown=$?
    exec 3>&- && rm root/broken
    wait "$writer"
    return "$shown"
}
check 'ls shows which queues are in use, and passes over links to nothing' running_in_a_list

many_queues() {
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do lq put "many-$i" --sync never x || return; done
    mkdir many && mv many-* many && is 13 "$(lq ls many | wc -l)" && is 12 "$(lq ls many | grep -c ' idle ')"
}
check 'a list may be long' many_queues

stalled() {
    "$LQ" put root/one <pipe &
    writer=$!
    exec 3>pipe
    eventually state_is root/one stalled && lq ls root | grep -q '^one *stalled '
    shown=$?
    exec 3>&-
    wait "$writer"
    return "$shown"
}
check 'a queue in use whose consumer has work and no member is stalled' stalled

stat_text() {
    lq stat root/one >out && grep -q '^queue *root/one (idle)$' out &&
        grep -q '^messages *2,000, ids 1 to 2,000$' out && grep -q '^sync *always$' out &&
        grep -q 'segments of 64k, ring of 4M, messages up to 1G, compression none' out &&
        grep -qE '^fast +500 +0 +1,500 +1,500 +0 +0 ' out && grep -qE '^slow +1,500 +0 +500 +500 +0 +0 ' out
}
check 'stat shows contents, options and consumers' stat_text

stat_json() {
    is '1 2000 always 65536 fast:500 slow:1500' "$(lq stat root/one --json |
        jq -r '"\(.first_id) \(.last_id) \(.sync) \(.segment_size) \([.consumers[] | "\(.name):\(.ready)"] | join(" "))"')"
}
check 'stat --json' stat_json

unacked() {
    "$LQ" get root/one -c fast -- sleep 30 &
    holder=$!
    eventually handed_out root/one 1
    seen=$?
    kill -TERM "$holder"
    wait "$holder" 2>/dev/null
    return "$seen"
}
check 'stat sees what is handed out' unacked

segments() {
    lq segments root/one >out && sed -n 1p out | grep -qE '^FILE +FIRST +LAST +MESSAGES ' &&
        is "$(($(find root/one/log -name '*.seg' | wc -l) + 1))" "$(wc -l <out)" &&
        is 2000 "$(lq segments root/one --json | jq -s 'map(.messages) | add')" &&
        is 1 "$(lq segments root/one --json | jq -s '.[0].first_id')" &&
        seq -f 'message number %05g' 1 3000 | lq put sealed --batch 1 --segment-size 64k --sync never &&
        is 'true true false' "$(lq segments sealed --json | jq -s 'map(.sealed) | join(" ")' -r)" && is 2 "$(lq segments sealed | grep -c ' sealed$')"
}
check 'segments shows a line for each log file' segments

hostile_directories() {
    mkdir -p "root/a b" "root/$(printf 'x\ny')" && ln -s .. root/loop && ln -s ../root/one root/link &&
        lq ls root >out && has 'link' out && is 5 "$(wc -l <out)"
}
check 'ls follows no ring of links' hostile_directories

without_meta() {
    seq 5 | lq put bare && : >bare/meta || return
    ends 3 lq stat bare >out && has 'damage' out && ends 3 lq ls bare >out && has 'damaged' out
}
check 'without its meta a queue is damaged, in stat and ls, too' without_meta

options() {
    lq put opts x --sync interval --sync-interval 50ms --size-max 1G --age-max 2d --full block --compression 6 &&
        lq stat opts >out && has 'interval, 50 ms' out && has 'consumed, at most 1G, at most 2 d 00 h old; when full: block' out &&
        has 'compression level 6' out && lq put both --retention both x && lq stat both >out && grep -q '^retention *both, ' out &&
        lq put full --full drop --size-max 130M x && lq stat full >out &&
        has 'at most 130M' out && has 'when full: drop' out && lq put old --retention limits --age-max 90s x &&
        lq stat old >out && has 'retention   limits, no limit of size, at most 1 m 30 s old' out
}
check 'stat shows the options' options

puts_and_is_killed() { # QUEUE HOW MANY
    "$LQ" put "$1" --sync never <pipe &
    writer=$!
    exec 3>pipe
    seq "$2" >&3
    eventually last_is "$1" "$2" && kill -9 "$writer"
    exec 3>&-
    wait "$writer" 2>/dev/null
}
last_is() { [ "$(lq stat "$1" --json 2>/dev/null | jq .last_id)" = "$2" ]; }

saved_from_the_dead() { # QUEUE WHAT IS SAID
    "$LQ" put "$1" <pipe &
    writer=$!
    exec 3>pipe
    eventually state_is "$1" running && lq stat "$1" >out && has "$2" out
    seen=$?
    exec 3>&-
    wait "$writer"
    return "$seen"
}
recovered() {
    puts_and_is_killed crash1 1
    puts_and_is_killed crash2 2
    saved_from_the_dead crash1 'recovery    1 message of dead processes saved' &&
        saved_from_the_dead crash2 'recovery    2 messages of dead processes saved'
}
check 'stat tells what was saved from dead processes' recovered

damaged_consumer() {
    lq put dc 1 2 3 && lq get dc -c good >/dev/null && lq get dc -c bad >/dev/null
    for at in 60 572; do printf 'XXXX' | dd of=dc/consumers/bad.pos bs=1 seek="$at" conv=notrunc status=none; done
    ends 3 lq stat dc >out && grep -qE '^bad +- +- +- +- +- +- +damaged' out && grep -qE '^good +2 +0 +1 ' out &&
        ends 3 lq stat dc --json >out && is 'LQ_ECORRUPT null' "$(jq -r '[.consumers[].error | tostring] | join(" ")' out)" &&
        is damaged "$(jq -r .state out)" && mkdir -p dcs && cp -a dc dcs && ends 3 lq ls dcs >out && has damaged out
}
check 'a consumer that cannot be read is shown as damaged beside the others' damaged_consumer

two_holders() {
    mkfifo other && "$LQ" put root/two_users <pipe & first=$!
    exec 3>pipe
    eventually state_is root/two_users running && {
        "$LQ" put root/two_users <other & second=$!
    }
    exec 4>other
    eventually handles_are root/two_users 2 && lq stat root/two_users >out && grep -qE "^open +lq [0-9]+, lq [0-9]+$" out
    seen=$?
    exec 3>&- 4>&-
    wait "$first" "$second"
    return "$seen"
}
handles_are() { [ "$(lq stat "$1" --json | jq .handles)" = "$2" ]; }
check 'stat names everybody who has it open' two_holders

# More than there is room for in a line of before, and than are looked for.
many_holders() {
    pids=
    for _ in $(seq 70); do
        # shellcheck disable=SC2217 # held, not read
        sleep 30 <root/one/meta &
        pids="$pids $!"
    done
    lq stat root/one >out && lq stat root/one --json >json
    # shellcheck disable=SC2086
    kill $pids
    wait
    # Who has just begun may still have the name of the shell.
    grep '^open ' out | tr ',' '\n' | grep -cE '[^ ]+ [0-9]+$' >count && is 64 "$(cat count)" && has ', and maybe others' out &&
        is 64 "$(jq '.open | length' json)"
}
check 'of many who have it open 64 are named, and that there may be more is said' many_holders

never_saved() {
    lq put ns a && "$LQ" get ns -c new -n 2 --wait 60s >out &
    getter=$!
    eventually last_is ns 1 && eventually test -s out && lq stat ns --json >json
    kill "$getter"
    wait "$getter" 2>/dev/null
    is new "$(jq -r '.consumers[0].name' json)" && jq -e '.consumers[0].saved_time_us > 0' json
}
check 'a consumer is saved when it is made' never_saved

# Two records of a queue in use are hit; who reads them through the same working memory counts them.
two_places() {
    seq 1 200 | lq put tp --batch 10 || return
    for at in 320 1000; do for name in tp/log/*; do printf XX | dd of="$name" bs=1 seek="$at" conv=notrunc status=none; done; done
    "$LQ" put tp <pipe &
    writer=$!
    exec 3>pipe
    eventually handles_are tp 1 && ends 3 lq get tp -c c --all >out 2>err && ends 3 lq stat tp >out && grep -qE '^damage      [2-9] places met$' out &&
        ends 3 lq ls tp >out && has damaged out
    seen=$?
    exec 3>&-
    wait "$writer"
    return "$seen"
}
check 'stat counts the damaged places that were met' two_places

# The machine loses power: `shared` is of another boot, and the end of the log is not what was written.
all_is_written() { [ "$(lq stat "$1" --json | jq '.last_id == 3 and .written == .appended')" = true ]; } # jq -e is content with nothing, too
torn_tail() {
    "$LQ" put torn <pipe &
    writer=$!
    exec 3>pipe
    seq 3 >&3
    eventually all_is_written torn
    kill -9 "$writer"
    exec 3>&-
    wait "$writer" 2>/dev/null
    rm torn/shared || return
    for name in torn/log/*.seg; do # whoever dies may leave a file that he was making
        at=$(LC_ALL=C grep -obaF 3 "$name" | tail -1 | cut -d: -f1)
        [ "$at" -gt 256 ] && printf XX | dd of="$name" bs=1 seek="$at" conv=notrunc status=none || return
    done
    saved_from_the_dead torn ' B dropped as a torn tail'
}
check 'stat tells how much of a torn tail was dropped' torn_tail

done_testing
