#!/bin/sh
# Damage is set aside, and the rest is a whole queue again.
. tests/support/cli.sh

# Three segments; each message is a record of its own.
seq -f 'message number %05g' 1 3000 | lq put q --batch 1 --segment-size 64k
lq get q -c x -n 5 >/dev/null

flip() { # FILE BYTE: turns one bit of it
    flip_value=$(od -An -tu1 -j"$2" -N1 "$1")
    # shellcheck disable=SC2059 # the escape is the point
    printf "\\$(printf %03o $((flip_value ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
byte_of() { LC_ALL=C grep -obaF -e "$2" "$1" | head -1 | cut -d: -f1; }
file_of() { grep -laF -e "$1" q/log/*; }

nothing_to_do() {
    picture q >before && ends 0 lq repair q </dev/null >out && is 'q: nothing to repair' "$(cat out)" &&
        ends 0 lq repair --yes q >out && ends 0 lq repair --dry-run q >out && is 'q: nothing to repair' "$(cat out)" &&
        picture q | diff before - && [ ! -e q/aside ]
}
check 'a sound queue is left as it is' nothing_to_do

file=$(file_of 'number 01000')
flip "$file" "$(byte_of "$file" 'number 01000')"
touch q/log/notes.txt
cp -a "$file" damaged

verify_hints() {
    ends 3 lq verify q >out && has 'hint: lq repair --dry-run q' out
}
check 'lq verify leads to it' verify_hints

dry_run() {
    picture q >before && ends 3 lq repair --dry-run q >out && picture q | diff before - &&
        grep -qE "^${file#q/}  byte [0-9]+: body checksum" out && has 'would be written anew' out &&
        has '; message 1,000 is given up' out && has 'log/notes.txt' out && has 'would be set aside' out &&
        is 'q: 2 things to repair, 1 message given up' "$(tail -1 out)"
}
check 'a dry run says what would be done, changes nothing and ends with 3' dry_run

dry_json() {
    ends 3 lq repair -n --json q >out &&
        is "step ${file#q/} 1000 1 true" "$(jq -r 'select(.lost == 1 and .type == "step") | [.type, .file, .first_id, .lost, .dry_run] | join(" ")' out)" &&
        is 'LQ_OK 2 1' "$(jq -r 'select(.type == "result") | [.code, .steps, .lost] | join(" ")' out)"
}
check 'the same in JSON' dry_json

wants_yes() {
    picture q >before && ends 2 lq repair q </dev/null >out 2>err && picture q | diff before - &&
        is 'lq: q: not repaired: there is no terminal to ask at' "$(head -1 err)" && has 'hint: lq repair --yes' err &&
        has 'would be' out
}
check 'without a terminal it wants --yes' wants_yes

in_use() {
    picture q >before
    "$LQ" get q -c z --wait 60s --start end >/dev/null 2>&1 &
    user=$!
    eventually eval 'lq stat q --json | jq -e .live >/dev/null' || return
    ends 4 lq repair --yes q >out 2>err && has 'in use' err && ends 4 lq repair --dry-run q 2>err
    in_use_end=$?
    kill "$user"
    wait "$user"
    return "$in_use_end"
}
check 'a queue in use is not touched' in_use

asks() {
    script -qec "$LQ repair q" typescript <<END >screen 2>&1
n
END
    has 'Repair it? [y/N]' screen && ends 3 lq verify q >out
}
if has_terminal; then
    check 'on a terminal it asks, and takes no for an answer' asks
fi

repairs() {
    ends 0 lq repair --yes q >out && has 'what was there is now aside/' out &&
        is 'q: 2 things repaired, 1 message given up' "$(tail -1 out)" &&
        ends 0 lq verify q >out && has ', 2,999 messages, ' out && has ': no damage' out
}
check 'with --yes it is done, and lq verify finds no damage' repairs

all_is_left() {
    ends 0 lq cat q --raw >out && seq -f 'message number %05g' 1 3000 | grep -v 01000 | cmp out - &&
        is 1001 "$(lq cat q --from 1000 --to 1001 -F '%i\n')"
}
check 'what was good is there, each message at its id' all_is_left

set_aside() {
    set -- q/aside/*Z-log-"${file##*/}" && cmp "$1" damaged && [ -e "$(echo q/aside/*Z-log-notes.txt)" ]
}
check 'what was damaged is set aside, byte for byte' set_aside

consumer_goes_on() {
    ends 0 lq get q -c x --all >out && seq -f 'message number %05g' 6 3000 | grep -v 01000 | cmp out - &&
        is 3001 "$(lq put q --ids more)" && is more "$(lq get q -c x)"
}
check 'its consumers go on without an error, and so does PUT' consumer_goes_on

lost_files() {
    seq 1 20000 | lq put r --batch 1 --segment-size 64k && lq get r -c x -n 7 >out && lq get r -c y -n 3 >out || return
    rm "$(find r/log -name '*.seg' | sort | sed -n 2p)" && truncate -s 10 r/consumers/x.pos && rm r/meta
    ends 3 lq verify r >out && ends 0 lq repair --yes r >out && has 'this segment is missing' out &&
        has 'the consumer starts again at message 1' out && has 'with the default options' out &&
        ends 0 lq verify r && is '1 4' "$(lq get r -c x) $(lq get r -c y)" && lq put r more &&
        is more "$(lq cat r --from -1 --raw)"
}
check 'lost files: a hole for a segment, the oldest message for a consumer, the default options' lost_files

several() {
    mkdir empty && ends 4 lq repair --yes empty 2>err && has 'is not a queue' err && ends 4 lq repair --yes ghost 2>err &&
        ends 0 lq repair --yes q r >out && is 2 "$(grep -c 'nothing to repair' out)" && ends 2 lq repair 2>err
}
check 'no queue is no damage; several queues at once' several

cannot_in_json() {
    ends 4 lq repair --yes --json ghost >out 2>err && has 'cannot repair' err && is 'result ghost LQ_ENOTFOUND 0' "$(jq -r '[.type, .queue, .code, .steps] | join(" ")' out)"
}
check 'that it cannot is in the JSON, too' cannot_in_json

done_testing
