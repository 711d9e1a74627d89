# shellcheck shell=sh
# TAP for tests written in shell:  . tests/support/tap.sh
#
#   check WHAT COMMAND...   one test: passes if the command does, shows what it said if not
#   skip_all WHY            ends a script that cannot be tried here
#   done_testing            the last line of a script
tap_count=0
tap_failed=0

check() {
    tap_what=$1
    shift
    tap_count=$((tap_count + 1))
    if "$@" >"$TMPDIR/said" 2>&1; then
        echo "ok $tap_count - $tap_what"
    else
        echo "not ok $tap_count - $tap_what"
        sed 's/^/# /' "$TMPDIR/said" >&2
        tap_failed=1
        [ "${CMOCKA_TEST_ABORT:-0}" = 0 ] || exit 1 # whoever asks for this of cmocka's programs wants no more of ours
    fi
}

skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

done_testing() {
    echo "1..$tap_count"
    exit "$tap_failed"
}
