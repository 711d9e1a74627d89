#!/bin/sh
# Text from strangers on a terminal: bodies, keys, headers, names of queues, files and programs may hold what a
# terminal would obey. Nothing of it gets there raw, in any view, on standard output or standard error.
. tests/support/cli.sh

has_terminal || skip_all 'script(1) can give no terminal here'

# Clear the screen, set the title, answer back, one-byte CSI, CSI in UTF-8, overprint, right-to-left, zero byte last.
evil=$(printf '\033[2Jx\033]0;owned\007\033[6n\23331m\302\23331m\rfoo\010\177\342\200\256gnp\342\201\246')
name=$(printf 'q\033[31m\302\2332J\tx')
export NO_COLOR=1 TERM=xterm name evil

{ printf '%s' "$evil" && printf '\000'; } | lq put "./$name" --whole --key "$evil" --headers "$evil" --segment-size 64k 2>err ||
    { echo "Bail out! $(cat err)" && exit 1; }
lq put "./$name" plain "$evil" --key "k$evil"
lq put "./$name" "$(printf '\033[2J\342\200\256\302\233')"
lq get "./$name" -c billing >/dev/null

# terminal COMMAND: as typed on a terminal; all that it shows, in `shown`, and its exit code.
terminal() {
    timeout 60 script -qec "$*" /dev/null >shown </dev/null
}

# Characters that move no cursor and change no colours; lines end as a terminal has it.
safe() {
    perl -0777 -ne '
        utf8::decode($_) or die "no UTF-8\n";
        s/\r\n/\n/g;
        /([\x00-\x08\x0b-\x1f\x7f-\x9f\x{61c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}])/
            and die sprintf "U+%04X in: %s\n", ord $1, $_ =~ s/[^\x20-\x7e\n]/?/gr' "$1"
}

# What a command shows, and how it ends: on a terminal, and with both its outputs in a pipe.
shows_safely() {
    shows_end=$1 shows_text=$2
    shift 2
    ends "$shows_end" terminal "$LQ $*" && safe shown && has "$shows_text" shown
}
in_a_pipe_too() {
    shows_safely "$@" || return
    shift 2
    sh -c "$LQ $*" >shown 2>&1 </dev/null
    safe shown
}

all_views() {
    in_a_pipe_too 0 '\x1b[2J' "peek \"./\$name\"" && in_a_pipe_too 0 '[\x1b[2J' "cat \"./\$name\"" &&
        in_a_pipe_too 0 'k\x1b[2J' "tail \"./\$name\"" && in_a_pipe_too 0 'message 1' "cat \"./\$name\" --hex" &&
        in_a_pipe_too 0 '"data":"\u001b[2J\u202e\u009b"' "cat \"./\$name\" --json" && in_a_pipe_too 0 plain "peek \"./\$name\" -c billing -n 9"
}
check 'messages are shown escaped: peek, cat, tail, --hex, --json' all_views

on_a_terminal() {
    shows_safely 0 '\x1b[2Jx' "get \"./\$name\" -c one" && shows_safely 0 'plain' "get \"./\$name\" -c one --all" &&
        shows_safely 0 '\x1b[2Jx' "replay \"./\$name\" -" &&
        shows_safely 0 '1 \x1b[2J' "cat \"./\$name\" -F '\"%i %s %k %h\\n\"'"
}
check 'where bodies go out as they are, a terminal gets them escaped: get, replay, --format' on_a_terminal

as_they_are() {
    { printf '%s' "$evil" && printf '\000\n'; } >wanted
    lq get "./$name" -c two >got && cmp wanted got && lq replay "./$name" - -n 1 >got && cmp wanted got &&
        lq cat "./$name" -n 1 -F '%s\n' >got && cmp wanted got &&
        terminal "$LQ get \"./\$name\" -c three --raw" && grep -q "$(printf '\033\[2J')" shown
}
check 'a pipe gets them as they are, and so does a terminal when --raw asks for it' as_they_are

names() {
    in_a_pipe_too 0 'q\x1b[31m\u009b2J\tx' ls && in_a_pipe_too 0 'q\x1b[31m' "stat \"./\$name\"" && in_a_pipe_too 0 '.seg' "segments \"./\$name\"" &&
        in_a_pipe_too 0 'q\x1b[31m' "verify \"./\$name\"" && in_a_pipe_too 0 '"q\u001b[31m' "ls --json" &&
        in_a_pipe_too 0 'u001b[31m' "stat \"./\$name\" --json" && in_a_pipe_too 0 'u001b[31m' "verify \"./\$name\" --json"
}
check 'names of queues are shown escaped: ls, stat, segments, verify' names

errors() {
    in_a_pipe_too 4 '\x1b[2J' "stat \"./\$evil\"" && in_a_pipe_too 2 '\x1b[2J' "\"\$evil\"" && in_a_pipe_too 2 '\x1b[2J' "ls \"--\$evil\"" &&
        in_a_pipe_too 2 '\x1b[2J' "cat \"./\$name\" --from \"@\$evil\"" && in_a_pipe_too 2 '\x1b[2J' "cat \"./\$name\" --from \"x\$evil\"" &&
        in_a_pipe_too 2 '\x1b[2J' "get \"./\$name\" -c \"\$evil\"" && in_a_pipe_too 2 'grep' "cat \"./\$name\" --grep \"[\$evil\"" &&
        in_a_pipe_too 4 '\x1b[2J' "get \"./\$name\" -c four -- \"\$evil\"" && in_a_pipe_too 4 "did you mean" "stat \"./\${name}y\"" &&
        in_a_pipe_too 2 'column' "put \"./\$name\" --json <bad"
}
printf '{"data":"%s"}\n' "$evil" >bad
check 'errors and hints show what was typed, and names that are near, escaped' errors

# Names that no queue has made, in its directories.
files() {
    cp -R "./$name" strange && : >"strange/log/$evil.seg" && : >"strange/consumers/$evil.pos" && : >"strange/$evil" &&
        : >"strange/consumers/x$(printf '\033')c.pos" && mkdir "strange/log/00000000000000000099.seg" &&
        in_a_pipe_too 3 '\x1b[2J' 'verify strange' && in_a_pipe_too 3 'u001b' 'verify strange --json' &&
        in_a_pipe_too 3 strange 'ls strange' && in_a_pipe_too 3 billing 'stat strange' && in_a_pipe_too 3 plain 'cat strange' || return
    in_a_pipe_too 3 99 'segments strange'
}
check 'names of files that somebody has put into a queue are shown escaped' files

# A process that has the queue open, and calls itself something.
programs() {
    cp "$LQ" "$(printf 'l\033[31mq')" && "./$(printf 'l\033[31mq')" get "./$name" -c waits -n 99 --wait 60s >/dev/null &
    holder=$!
    held() { lq stat "./$name" | grep -q '31mq'; }
    eventually held && in_a_pipe_too 0 'l\x1b[31mq' "stat \"./\$name\"" && in_a_pipe_too 0 'u001b[31mq' "stat \"./\$name\" --json"
    programs_end=$?
    kill "$holder" && wait "$holder" 2>/dev/null
    return "$programs_end"
}
check 'names of programs that have the queue open are shown escaped' programs

done_testing
