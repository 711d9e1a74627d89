#!/bin/sh
# What lq does at a terminal and nowhere else: it says that it reads, shows how far it is, colours, asks.
. tests/support/cli.sh
has_terminal || skip_all 'script(1) can give no terminal here'

# COMMAND, a line for sh, at a terminal on which INPUT is typed; what the screen shows is in `screen`.
at_terminal() { # INPUT COMMAND
    printf '%b' "$1" | TERM=xterm timeout 60 script -qec "$2" /dev/null >screen
}

typed() {
    at_terminal 'one\ntwo\n\004' "'$LQ' put typed" && has 'reading messages, one per line' screen && is 'one two' "$(lq cat typed --raw | xargs)"
}
check 'put says that it reads what is typed' typed

typed_without_a_word() {
    at_terminal 'one\n\004' "'$LQ' put quiet 2>told" && is '' "$(cat told)" && is one "$(lq cat quiet --raw)"
}
check 'not where nobody would see it' typed_without_a_word

seq 1 150 | lq put q

progress() {
    at_terminal '' "'$LQ' replay q copy --rate 100/s" && grep -qE '\[=*>? *\] +[0-9]+ %  [0-9]+ messages  [0-9]+/s .* left' screen &&
        is 150 "$(lq stat copy --json | jq .last_id)"
}
check 'replay shows how far it is' progress

progress_without_end() {
    at_terminal '' "sh -c \"(seq 10; sleep 0.8; seq 20; sleep 0.3; seq 5) | '$LQ' put piped\"" &&
        grep -qE '[0-9]+ messages  [0-9]+/s  [0-9]+ B  [0-9]+ B/s' screen && ! grep -q ' left' screen && is 35 "$(lq stat piped --json | jq .last_id)"
}
check 'put from a pipe shows what it has, and no end' progress_without_end

no_progress() {
    at_terminal '' "TERM=dumb '$LQ' replay q copy --rate 200/s" && ! has 'messages' screen >/dev/null &&
        at_terminal '' "env -u TERM '$LQ' replay q copy --rate 200/s" && ! has 'messages' screen >/dev/null
}
check 'a terminal that can do nothing is shown nothing' no_progress

escape=$(printf '\033')
colours() {
    at_terminal '' "'$LQ' ls" && has "${escape}[1m" screen && at_terminal '' "TERM=dumb '$LQ' ls" && ! has "$escape" screen >/dev/null &&
        at_terminal '' "NO_COLOR=1 '$LQ' ls" && ! has "$escape" screen >/dev/null &&
        at_terminal '' "NO_COLOR= '$LQ' ls" && has "${escape}[1m" screen && at_terminal '' "env -u TERM '$LQ' ls" && ! has "$escape" screen >/dev/null
}
check 'colours, unless somebody does not want them' colours

damage() { # QUEUE
    rm -rf "$1" && lq put "$1" a b c && for name in "$1"/log/*; do printf XX | dd of="$name" bs=1 seek=300 conv=notrunc status=none; done
}
asks() {
    for answer in 'n\n' '\n' '\004' 'no\n'; do
        damage asked && at_terminal "$answer" "'$LQ' repair asked"
        has 'Repair it? [y/N]' screen && ends 3 lq verify asked >/dev/null && [ ! -e asked/aside ] || return 1
    done
    for answer in 'y\n' 'Y\n' 'yes\n'; do
        damage asked && at_terminal "$answer" "'$LQ' repair asked" && has 'Repair it? [y/N]' screen && lq verify asked >/dev/null && [ -e asked/aside ] || return 1
    done
}
check 'repair asks, and does nothing unless the answer is yes' asks

asks_at_stderr() {
    damage asked && at_terminal 'y\n' "'$LQ' repair asked 2>told" && ends 3 lq verify asked >/dev/null
    has 'there is no terminal to ask at' told
}
check 'without a terminal for the question it wants --yes' asks_at_stderr

done_testing
