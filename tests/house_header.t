#!/bin/sh
# <libqueue.h> is clean in every dialect that somebody may include it from.
. tests/support/tap.sh

case $CC in
*clang*) CXX=clang++ ;;
*) CXX=g++ ;;
esac
command -v "$CXX" >/dev/null || skip_all "no $CXX here"

# Included first, and twice, it needs nobody and does no harm. The initializers say
# that zero is the default and that the constants are constants.
cat >"$TMPDIR/user.c" <<'END'
#include <libqueue.h>
#include <libqueue.h>

int use(const char *path, lq_queue **queue_out);
int use(const char *path, lq_queue **queue_out)
{
    lq_options options = {0};
    char name[LQ_NAME_MAX + 1];

    name[0] = '\0';
    options.size = sizeof options;
    options.sync = LQ_SYNC_ALWAYS;
    return name[0] + lq_open(path, &options, queue_out);
}
END
# In C++, {0} for an enum or missing fields is a warning that has nothing to do with us.
sed 's/{0}/lq_options()/' "$TMPDIR/user.c" >"$TMPDIR/user.cc"

strict='-Wall -Wextra -pedantic -Wshadow -Wundef -Wconversion -Werror -Iinclude -fsyntax-only'
for standard in c99 c11 c17 c2x gnu99 gnu17; do
    # shellcheck disable=SC2086 # words, all of them
    check "it is clean as $standard" $CC -std=$standard $strict -Wstrict-prototypes "$TMPDIR/user.c"
done
for standard in c++11 c++14 c++17 c++20; do
    # shellcheck disable=SC2086
    check "it is clean as $standard" $CXX -std=$standard $strict -Wold-style-cast "$TMPDIR/user.cc"
done
done_testing
