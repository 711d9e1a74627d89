# shellcheck shell=sh
# For tests that type commands as a user does:  . tests/support/cli.sh
#
#   lq ARGUMENTS...        the program under test, with a time limit
#   ends CODE COMMAND...   true if the command ends with that exit code
#   is WANTED GOT          true if the two texts are the same; shows them if not
#   has TEXT FILE          true if the file has that text in it
#   has_terminal           true if script(1) can give a program a terminal here
#   $top                   where the sources are
#   picture DIRECTORY      everything about the files in it: names, sizes, times, contents
#
# Starts in an empty directory, which goes away at the end.
. tests/support/tap.sh

top=$PWD
case ${LQ:=./lq} in
/*) ;;
*) LQ=$PWD/$LQ ;;
esac
[ -x "$LQ" ] || { echo "Bail out! There is no $LQ: run make" && exit 1; }
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/lq-cli.XXXXXX") || exit 1
export LQ TMPDIR LC_ALL=C top
unset LQ_ROOT
trap 'cd / && rm -rf "$TMPDIR"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$TMPDIR/work" && cd "$TMPDIR/work" || exit 1

lq() {
    timeout 120 "$LQ" "$@"
}

# There is a script(1), and a pseudo-terminal to be had: not so in a bare chroot.
has_terminal() {
    script -qec true /dev/null </dev/null >/dev/null 2>&1
}

ends() {
    ends_wanted=$1
    shift
    "$@"
    ends_got=$?
    [ "$ends_got" -eq "$ends_wanted" ] && return
    echo "ended with $ends_got, not $ends_wanted: $*"
    return 1
}

is() {
    [ "$1" = "$2" ] && return
    printf 'wanted: %s\ngot:    %s\n' "$1" "$2"
    return 1
}

has() {
    grep -qF -e "$1" "$2" && return
    echo "no '$1' in:"
    cat "$2"
    return 1
}

picture() {
    find "$1" -printf '%p %y %m %s %T@ %C@\n' | sort
    find "$1" -type f -exec sha256sum {} + | sort
}

# Waits until the command is true, at most ten seconds.
eventually() {
    eventually_left=200
    until "$@"; do
        eventually_left=$((eventually_left - 1))
        [ "$eventually_left" -gt 0 ] || return 1
        sleep 0.05
    done
}
