#!/bin/sh
# What `make install` puts where, and that a program can be built on it.
. tests/support/tap.sh

root=$TMPDIR/root
prefix=/opt/libqueue
there=$root$prefix
version=$(sed -n 's/^.define LQ_VERSION "\(.*\)"/\1/p' include/libqueue.h)

# Everything is built already, and with these flags: this copies only.
check 'make install works into a DESTDIR' make install DESTDIR="$root" PREFIX=$prefix

for file in bin/lq include/libqueue.h lib/libqueue.a "lib/libqueue.so.$version" lib/pkgconfig/libqueue.pc; do
    check "$file is installed" test -f "$there/$file"
done
for manual in cli/*.[1-8] libqueue/*.[1-8]; do
    [ -e "$manual" ] || continue
    check "${manual##*/} is installed" test -f "$there/share/man/man${manual##*.}/${manual##*/}"
done
check 'nothing is installed outside of the prefix' test "$(find "$root" -type f ! -path "$there/*")" = ""
check 'the installed lq runs' "$there/bin/lq" --version

soname_is() { readelf -d "$there/lib/libqueue.so.$version" | grep "SONAME.*\[$1\]"; }
check 'the shared library has a soname' soname_is libqueue.so.0
check 'the soname leads to it' test "$(readlink -f "$there/lib/libqueue.so.0")" = "$(readlink -f "$there/lib/libqueue.so.$version")"
check 'the name to link with leads to it' test "$(readlink -f "$there/lib/libqueue.so")" = "$(readlink -f "$there/lib/libqueue.so.$version")"

command -v pkg-config >/dev/null || done_testing
export PKG_CONFIG_LIBDIR="$there/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
check 'the .pc file says the version of the header' test "$(pkg-config --modversion libqueue)" = "$version"

cat >"$TMPDIR/program.c" <<'END'
#include <libqueue.h>
#include <string.h>

int main(int argc, char **argv)
{
    lq_queue *queue;
    lq_consumer *consumer;
    lq_message message;

    if (argc != 2 || strcmp(lq_version(), LQ_VERSION) != 0) return 1;
    if (lq_open(argv[1], NULL, &queue) != LQ_OK) return 2;
    if (lq_put(queue, "hello", 5, NULL) != LQ_OK) return 3;
    if (lq_consumer_open(queue, "reader", NULL, &consumer) != LQ_OK) return 4;
    if (lq_get(consumer, &message, 1000) != LQ_OK) return 5;
    if (message.size != 5 || memcmp(message.data, "hello", 5) != 0) return 6;
    if (lq_ack(consumer, &message) != LQ_OK) return 7;
    return lq_consumer_close(consumer) != LQ_OK || lq_close(queue) != LQ_OK;
}
END

build() { # NAME FLAGS...: builds program.c on what pkg-config says
    name=$1
    shift
    # shellcheck disable=SC2046 # words, all of them
    $CC -o "$TMPDIR/$name" "$TMPDIR/program.c" "$@" $(pkg-config --cflags --libs ${static:+--static} libqueue)
}
uses_shared() { readelf -d "$TMPDIR/$1" | grep 'NEEDED.*libqueue.so.0'; }

check 'a program is built with the shared library' build shared
check 'it asks for the library by its soname' uses_shared shared
check 'it runs' env LD_LIBRARY_PATH="$there/lib" "$TMPDIR/shared" "$TMPDIR/queue1"

# The program of the README and the commands under it, as they stand there.
as_the_readme_says() {
    # shellcheck disable=SC2016 # a fence, and no command
    sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' >"$TMPDIR/kitchen.c"
    commands=$(sed -n '/^    cc kitchen\.c /,/^$/p' README.md)
    [ -n "$commands" ] || return
    (cd "$TMPDIR" && cc() { command ${CC:-cc} "$@"; } && export LD_LIBRARY_PATH="$there/lib" && eval "$commands") >"$TMPDIR/printed" &&
        test "$(cat "$TMPDIR/printed")" = 'two pizzas'
}
check 'the program of the README builds and runs as it says' as_the_readme_says

static=yes
check 'a program is built with the static libraries' build static -static
check 'it runs, too' "$TMPDIR/static" "$TMPDIR/queue2"
done_testing
