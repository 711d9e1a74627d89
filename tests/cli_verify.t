#!/bin/sh
# Damage: found, told with file and byte, contained, never hidden.
. tests/support/cli.sh

# A queue with a segment and more; each message is a record of its own.
seq -f 'message number %05g' 1 3000 | lq put q --batch 1 --segment-size 64k
lq get q -c x -n 5 >/dev/null

flip() { # FILE BYTE: turns one bit of it
    flip_value=$(od -An -tu1 -j"$2" -N1 "$1")
    # shellcheck disable=SC2059 # the escape is the point
    printf "\\$(printf %03o $((flip_value ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# The byte at which a text begins in a file.
byte_of() { LC_ALL=C grep -obaF -e "$2" "$1" | head -1 | cut -d: -f1; }

file_of() { grep -laF -e "$1" q/log/*; }

sound() {
    ends 0 lq verify q >out && grep -qE '^q: [0-9]+ segments, 3,000 messages, .* checked in .*: no damage$' out
}
check 'a sound queue ends with 0 and says what was checked' sound

sound_json() {
    lq verify q --json >out &&
        is 'result q 3000 0 0' "$(jq -r '[.type, .queue, .messages, .findings, .lost] | join(" ")' out)"
}
check 'and with --json says so in one object' sound_json

file=$(file_of 'number 01000')
byte=$(byte_of "$file" 'number 01000')
picture q >sound.picture
flip "$file" "$byte"

found() {
    ends 3 lq verify q >out && is 3 "$(wc -l <out)" &&
        sed -n 1p out | grep -q '^q: .* segments, .* messages, .* checked in ' &&
        grep -qE "^DAMAGED  ${file#q/}  byte [0-9,]+  message 1,000  .*checksum" out &&
        has '1 message lost, 2,000 after it are fine' out &&
        has 'hint: ' out
}
check 'a flipped bit ends with 3: file, byte, message, what is lost' found

byte_is_right() {
    said=$(sed -n 's/.*  byte \([0-9,]*\) .*/\1/p' out | tr -d ,)
    [ "$said" -le "$byte" ] && [ "$said" -gt $((byte - 200)) ]
}
check 'the byte is that of the record' byte_is_right

found_json() {
    ends 3 lq verify q --json >out &&
        is "finding ${file#q/} 1000 1" \
            "$(jq -r 'select(.type == "finding") | [.type, .file, .first_id, .lost] | join(" ")' out)" &&
        is '1 1' "$(jq -r 'select(.type == "result") | [.findings, .lost] | join(" ")' out)"
}
check 'the same in JSON' found_json

several_queues() {
    lq put fine x && ends 3 lq verify fine q fine >out && is 2 "$(grep -c 'no damage' out)" &&
        ends 3 lq verify q ghost 2>err >out &&
        ends 4 lq verify fine ghost 2>err >out
}
check 'of several queues, damage decides' several_queues

dump_goes_on() {
    ends 3 lq cat q --raw >out 2>err && is 2999 "$(wc -l <out)" &&
        seq -f 'message number %05g' 1 3000 | grep -v 01000 | cmp out - &&
        is 1 "$(grep -c '^lq: q: message 1,000 is lost: log/' err)" && has ' byte ' err
}
check 'a dump goes on behind it, tells where the hole is, and ends with 3' dump_goes_on

json_dump_goes_on() {
    ends 3 lq cat q --json 2>err | jq -s length >count
    ends 3 lq cat q --json 2>err >out && is 2999 "$(jq -s length out)"
}
check 'so does one in JSON' json_dump_goes_on

other_ranges_are_fine() {
    ends 0 lq cat q --from 1001 >out 2>err && ends 0 lq cat q --to 999 >out 2>err && ends 0 lq tail q >out
}
check 'elsewhere nobody notices' other_ranges_are_fine

replay_goes_on() {
    ends 3 lq replay q copy 2>err && is 2999 "$(lq cat copy -F '%i\n' | wc -l)" &&
        has 'message 1,000 is lost' err
}
check 'replay goes on behind it' replay_goes_on

looking_keeps_damage() {
    picture q >damaged.picture && lq cat q >out 2>err
    lq verify q >out 2>err
    lq stat q >out
    picture q | diff damaged.picture -
}
check 'nothing is written to a damaged queue by looking' looking_keeps_damage

get_goes_on() {
    ends 3 lq get q -c y --all >out 2>err && is 2999 "$(wc -l <out)" && is 1 "$(grep -c '^lq: q: ' err)" &&
        has log/ err
}
check 'get goes on behind it and ends with 3' get_goes_on

bit_flipped_back() {
    flip "$file" "$byte" && ends 0 lq verify q >out && lq cat q --raw | cmp - <<END
$(seq -f 'message number %05g' 1 3000)
END
}
check 'flipped back, all is well again' bit_flipped_back

offset_file() {
    flip q/consumers/x.pos 40 && flip q/consumers/x.pos 4136
    ends 3 lq verify q >out && has consumers/x.pos out
}
check 'a damaged offset file is damage, too' offset_file

cut_file() {
    lq put cut a b c && cp -a cut cut.copy && for name in cut.copy/log/*; do truncate -s 30 "$name"; done
    ends 3 lq verify cut.copy >out && has 'DAMAGED  log/' out
}
check 'a file that was cut is damage' cut_file

cut_end() {
    seq 1 100 | lq put end && cp -a end end.copy && for name in end.copy/log/*; do truncate -s -200 "$name"; done
    ends 3 lq verify end.copy >out && has ' messages lost.   hint: lq repair' out && ! has fine out || return 1
    cp -a end headless && for name in headless/log/*; do dd if=/dev/zero of="$name" bs=256 count=1 conv=notrunc status=none; done
    ends 3 lq verify headless >out && has '  100 messages lost.   hint: ' out
}
check 'of what the end of the log has lost as much is told as is known' cut_end

no_meta() {
    cp -a cut no.meta && head -c 2048 /dev/zero >no.meta/meta && lq verify no.meta >out 2>err
    [ $? -ge 3 ]
}
check 'without its meta file a queue is never fine' no_meta

harm() { # QUEUE BYTE...
    harmed=$1
    shift
    for at; do for name in "$harmed"/log/*; do printf XX | dd of="$name" bs=1 seek="$at" conv=notrunc status=none; done; done
}
several() {
    seq 1 200 | lq put several --batch 10 && harm several 320 1000 2000 && ends 3 lq verify several >out &&
        is 3 "$(grep -c '^DAMAGED  log/' out)" && has '  messages 1 to 10  ' out && has '  30 messages lost, 170 after the first are fine.' out &&
        ends 3 lq verify several --json >out && is '3 30' "$(jq -r 'select(.type == "result") | "\(.findings) \(.lost)"' out)"
}
check 'several damaged places, with the messages of each' several

# As many as are shown, and more.
very_many() {
    seq 1 10200 | lq put vm --batch 1 --sync never || return
    for name in vm/log/*; do
        perl -e 'open my $f, "+<", $ARGV[0] or die; binmode $f; local $/; my $t = <$f>; my $at = 256;
            while ($at + 48 <= length $t) { substr($t, $at + 40, 1) ^= "\x04"; $at += 48 } seek $f, 0, 0; print $f $t' "$name"
    done
    ends 3 lq verify vm >out && is 10000 "$(grep -c '^DAMAGED ' out)" && grep -qE '^\.\.\. and [0-9]+ places more$' out
}
check 'of very many damaged places 10,000 are shown, and the rest are counted' very_many

done_testing
