#!/bin/sh
# What lq says when it cannot, and how it ends.
. tests/support/cli.sh

lq put orders a b c

alone() {
    ends 2 lq >out 2>err && is 0 "$(wc -c <out)" && is 12 "$(wc -l <err)" && head -1 err | grep -q '^lq put'
}
check 'lq alone prints twelve lines on standard error, an example first, and ends with 2' alone

help_pages() {
    for verb in peek cat tail ls stat segments verify repair put get replay demo help version; do
        ends 0 lq help "$verb" >one 2>err && is 0 "$(wc -c <err)" && ends 0 lq "$verb" --help >two &&
        cmp one two || return
        sed -n 3p one | grep -q "^  .*lq $verb" || { cat one && return 1; }
        ends 0 lq "$verb" -h >two && cmp one two || return
    done
}
check 'lq help CMD is lq CMD --help: on standard output, an example first' help_pages

help_lists_all() {
    lq help >one && lq --help >two && cmp one two || return
    for verb in peek cat tail ls stat segments verify repair put get replay demo help version; do
        grep -q "^  $verb " one || return
    done
}
check 'lq help lists the commands' help_lists_all

manual_is_complete() {
    for verb in peek cat tail ls stat segments verify repair put get replay demo help version; do
        grep -q "^\.It Ic $verb" "$top/cli/lq.1" || { echo "$verb" && return 1; }
        for flag in $(lq help "$verb" | sed -n 's/^  \(-.,\|   \) --\([a-z-]*\).*/\2/p'); do
            grep -q "Fl Fl $flag\>" "$top/cli/lq.1" || { echo "$verb --$flag" && return 1; }
        done
    done
}
check 'the manual has every command and every flag' manual_is_complete

version() {
    lq version | grep -qE '^lq [0-9]+\.[0-9]+\.[0-9]+$' && is "$(lq version)" "$(lq --version)"
}
check 'version' version

unknown_command() {
    ends 2 lq tial orders 2>err && has 'lq: tial: no such command' err &&
        has "hint: did you mean 'lq tail'?" err &&
        ends 2 lq xyzzy 2>err && has 'hint: lq help' err && ends 2 lq help xyzzy 2>err
}
check 'an unknown command gets the nearest as a hint' unknown_command

unknown_queue() {
    ends 4 lq cat ordres 2>err && is 2 "$(wc -l <err)" &&
        sed -n 1p err | grep -q '^lq: ordres: cannot open: ' &&
        has "hint: did you mean 'orders'?" err && ends 4 lq verify ./ordes 2>err &&
        has "hint: did you mean './orders'?" err &&
        ends 4 lq get oders -c x 2>err && has "'orders'" err && ends 4 lq cat quite-another 2>err &&
        is 1 "$(wc -l <err)"
}
check 'an unknown queue gets the nearest as a hint' unknown_queue

unknown_flag() {
    ends 2 lq cat orders --jsn 2>err && has 'did you mean --json?' err && has 'hint: lq help cat' err &&
        ends 2 lq cat orders -Z 2>err && has 'unknown flag -Z' err && ends 2 lq cat orders --json=3 2>err &&
        has '--json takes no value' err && ends 2 lq cat orders --from 2>err &&
        has '--from needs a value' err &&
        ends 2 lq --frob 2>err && ends 2 lq cat orders --raw --json 2>err
}
check 'unknown flags, missing values and contradictions end with 2' unknown_flag

operands() {
    for words in cat 'cat a b' get 'get orders' 'get orders x -c y' 'get -c y -- cat' peek 'replay orders' verify put \
        'put orders x --json' 'put orders x --whole' 'version x' 'get orders -c x --json -- cat'; do
        # shellcheck disable=SC2086
        ends 2 lq $words </dev/null 2>err || { echo "$words" && return 1; }
    done
}
check 'missing and superfluous operands end with 2' operands

numbers() {
    for flag in '-n -1' '-n x' '-n 1x' '-n 99999999999999999999' '--wait 5y' '--wait -1s' '--wait 1e3' '-n 0x10'; do
        # shellcheck disable=SC2086
        ends 2 lq get orders -c x $flag 2>err || { echo "$flag" && return 1; }
    done
    for flag in '--segment-size 1z' '--segment-size -1' '--size-max 99999999T' '--compression 10' '--mode 0999' \
        '--mode 10000' '--sync sometimes' '--batch 0' '--batch 65536' '--segment-size 1' '--ring-size 1'; do
        # shellcheck disable=SC2086
        ends 2 lq put fresh x $flag 2>err || { echo "$flag" && return 1; }
    done
    [ ! -e fresh ]
}
check 'what is no number, size or time ends with 2 and makes nothing' numbers

choices() {
    ends 2 lq put fresh x --sync sometimes 2>err && has "lq: put: --sync: 'sometimes' is not always, interval or never" err &&
        ends 2 lq put fresh x --full '' 2>err && has "--full: '' is not reject, block or drop" err
}
check 'what is none of a few words is told which they are' choices

flags_anywhere() {
    is a "$(lq cat --raw -n 1 orders)" && is a "$(lq cat orders -n1 --raw)" &&
        is a "$(lq cat -n 1 orders --raw)" &&
        lq put dashes -- -x --json && is '-x|--json|' "$(lq cat dashes --raw | tr '\n' '|')" &&
        is -x "$(lq get dashes -c x -F '%s')" && is "--json" "$(lq get dashes -c x -- sh -c 'cat -- "$@"' sh -)"
}
check 'flags stand anywhere, and -- ends them' flags_anywhere

roots() {
    mkdir -p root/sub && lq -C root put inner x && [ -d root/inner ] && is x "$(lq cat -C root inner --raw)" &&
        is x "$(LQ_ROOT=root lq cat inner --raw)" && is x "$(lq cat root/inner --raw)" &&
        is x "$(LQ_ROOT=nowhere lq -C root cat inner --raw)" && is a "$(lq -C root cat ./orders --raw -n 1)" &&
        ends 4 lq -C root cat orders 2>err && has 'hint: there is a queue in this directory: ./orders' err &&
        ends 4 lq -C root cat iner 2>err && has "did you mean 'inner'?" err
}
check 'a name is below the root, a path is a path' roots

not_a_queue() {
    mkdir -p plain && echo x >file && ends 4 lq cat plain 2>err && ends 4 lq cat file 2>err &&
        ends 4 lq put plain/none/deep x 2>err && has 'hint: mkdir -p plain/none' err &&
        ends 2 lq cat '' 2>err &&
        is 0 "$(find plain -mindepth 1 | wc -l)" && is x "$(cat file)"
}
check 'what is no queue is told so, and left alone' not_a_queue

bad_names() {
    for name in '' . .. a/b -x 'a b' "$(printf 'a\033')" "$(head -c 101 /dev/zero | tr '\0' a)"; do
        ends 2 lq get orders --consumer="$name" 2>err || { echo "$name" && return 1; }
        is 0 "$(LC_ALL=C tr -d '\n[:print:]' <err | wc -c)" || return
    done
}
check 'bad names of consumers end with 2' bad_names

hostile_queue_name() {
    name=$(printf 'evil\033[31m\nname')
    ends 4 lq cat "$name" 2>err && has 'lq: evil\x1b[31m\nname: cannot open' err && lq put "$name" x &&
        lq ls >out &&
        has 'evil\x1b[31m\nname' out && is 0 "$(LC_ALL=C tr -d '\n[:print:]' <out | wc -c)" &&
        lq ls --json | jq -e . >/dev/null &&
        rm -r "$name"
}
check 'names with control characters do no harm' hostile_queue_name

looking_writes_nothing() {
    lq get orders -c x >/dev/null && picture orders >before
    lq cat orders >out && lq tail orders >out && lq peek orders -c x >out && lq stat orders >out &&
        lq segments orders >out &&
        lq ls >out && lq verify orders >out && lq cat orders --json >out && lq replay orders - >out &&
        picture orders | diff before -
}
check 'looking changes no byte and no time of any file' looking_writes_nothing

looking_at_read_only_files() {
    cp -a orders frozen && chmod -R a-w frozen && lq cat frozen >out && lq verify frozen >out &&
        lq stat frozen >out
    looked=$?
    chmod -R u+w frozen
    return "$looked"
}
check 'looking works without permission to write' looking_at_read_only_files

full_disk() {
    [ -c /dev/full ] || return 0
    for words in 'cat orders' 'stat orders' 'ls' help version 'cat orders --json' 'replay orders -' \
        'verify orders'; do
        # shellcheck disable=SC2086
        ends 4 lq $words >/dev/full 2>err &&
        has 'cannot write to standard output: No space left on device' err || return
    done
    ends 4 lq get orders -c full --all >/dev/full 2>err && is 'a b c' "$(lq get orders -c full --all | xargs)"
}
check 'a full disk under standard output ends with 4, and nothing that was not written is acked' full_disk

closed_files() {
    ends 4 lq cat orders >&- 2>err && has 'standard output' err && ends 4 lq get orders -c closed >&- 2>err &&
        is a "$(lq get orders -c closed)" && ends 4 lq put orders <&- 2>err && has 'standard input' err &&
        lq put shut x >&- 2>&- <&- && is x "$(lq cat shut --raw)" && ends 4 lq cat ghost 2>&- &&
        lq verify orders >/dev/null
}
check 'closed standard files are errors where they matter, and never a queue file' closed_files

closed_pipe() {
    seq 1 200000 | lq put long
    for words in 'cat long' 'cat long --json' 'cat long --raw' 'tail -n 100000 long' 'replay long -' 'peek long -n 100000' \
        'get long -c p --all'; do
        # shellcheck disable=SC2086
        { lq $words 2>err && echo 0 >status || echo $? >status; } | head -1 >out
        { is 0 "$(cat status)" && is 0 "$(wc -c <err)"; } || { echo "$words" && return 1; }
    done
}
check 'a closed pipe ends quietly with 0' closed_pipe

size_limit() {
    (ulimit -f 8 && exec "$LQ" cat long >limited 2>err)
    is 4 $? && has 'File too large' err
}
check 'a file size limit is an error, not a death' size_limit

permission() {
    [ "$(id -u)" -ne 0 ] || return 0
    mkdir locked && lq put locked/q x && chmod 0 locked/q && ends 4 lq cat locked/q 2>err
    told=$?
    chmod 700 locked/q
    return "$told"
}
check 'no permission ends with 4' permission

roots_in_the_environment() {
    ends 2 lq -C 2>err && has '-C needs a value' err && is a "$(LQ_ROOT='' lq cat orders --raw -n 1)"
}
check 'an empty LQ_ROOT is none, and -C wants a value' roots_in_the_environment

hints_that_would_not_help() {
    mkdir -p odd/ordrs && ln -s nowhere odd/orders && ends 4 lq cat odd/orders 2>err && is 1 "$(wc -l <err)" &&
        rm odd/orders && ends 4 lq cat odd/ordrz 2>err && is 1 "$(wc -l <err)"
}
check 'no hint names what is no queue, nor a link to nothing' hints_that_would_not_help

colours() {
    lq ls | grep -q "$(printf '\033')" && return 1
    lq ls --color=always | grep -q "$(printf '\033')" &&
        lq --color always ls | grep -q "$(printf '\033')" || return
    ends 2 lq ls --color=perhaps 2>err
    has_terminal || return 0
    coloured() { env "$@" script -qec "'$LQ' ls" /dev/null </dev/null | grep -q "$(printf '\033\\[')"; }
    coloured TERM=xterm && ! coloured TERM=xterm NO_COLOR=1 && ! coloured TERM=dumb
}
check 'colour only on a terminal that wants it, or when asked for' colours

plain_is_escaped_on_a_terminal() {
    has_terminal || return 0
    printf 'a\033b' | lq put --whole term && script -qec "'$LQ' get term -c x" /dev/null </dev/null >out &&
        has 'a\x1bb' out &&
        printf 'a\033b' | lq put --whole term &&
        script -qec "'$LQ' get term -c x --raw" /dev/null </dev/null | grep -q "$(printf 'a\033b')"
}
check 'get escapes what goes to a terminal, unless --raw is given' plain_is_escaped_on_a_terminal

done_testing
