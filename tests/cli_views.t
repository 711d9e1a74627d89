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
        is 1 "$(lq segments root/one --json | jq -s '.[0].first_id')"
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
        has 'compression level 6' out && lq put full --full drop --size-max 130M x && lq stat full >out &&
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

done_testing
