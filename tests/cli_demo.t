#!/bin/sh
# The demo, and that it can fail.
. tests/support/cli.sh

runs() {
    mkdir tmp && before=$(date +%s) && TMPDIR=$PWD/tmp ends 0 lq demo >out &&
        took=$(($(date +%s) - before)) || return
    grep -q '50,000 messages put' out && grep -q "'billing' got each message once" out &&
        grep -q 'marked as attempt 2' out &&
        grep -q 'none is lost' out && grep -q 'no damage' out && grep -q 'found: log/' out &&
        [ "$(grep -c '^  ok  ' out)" -ge 12 ]
}
check 'the demo shows what it claims and ends with 0' runs

# With room for slow machines and sanitizers; the aim is five seconds.
check 'it takes a few seconds' [ "$took" -le 60 ]

check 'it leaves nothing behind' [ -z "$(ls tmp)" ]

no_room() {
    TMPDIR=$PWD/nowhere ends 4 lq demo 2>err >out && has 'cannot make a temporary directory' err
}
check 'it ends with 4 when it has no room' no_room

no_way_to_put() {
    (export TMPDIR="$PWD/tmp" && ulimit -f 64 && exec "$LQ" demo >out 2>err)
    is 4 $? && has 'lq: demo: cannot ' err && is '' "$(ls tmp)"
}
check 'it ends with 4, and cleans up, when it cannot put' no_way_to_put

interrupted() {
    rm -f out
    TMPDIR=$PWD/tmp "$LQ" demo >out 2>err &
    demo=$!
    eventually grep -q '^4\. ' out && kill -TERM "$demo" && wait "$demo"
    is 143 $? && is '' "$(ls tmp)" && is 0 "$(wc -c <err)"
}
check 'stopped in the middle, it still cleans up' interrupted

done_testing
