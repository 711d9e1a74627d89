#!/bin/sh
# The names that the libraries give to the programs they are linked with, and what
# else they bring along.
. tests/support/tap.sh

archive=$LQ_BUILD/libqueue.a
shared=$(echo "$LQ_BUILD"/libqueue.so.*)

# The functions of the header, one a line: LQ_API ... lq_name(
sed -n 's/^LQ_API .*[ *]\(lq_[a-z_]*\)(.*/\1/p' include/libqueue.h | sort >"$TMPDIR/declared"
nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$TMPDIR/exported"
nm -g --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort >"$TMPDIR/global"

is_all() { # PATTERN FILE: some lines, and all like that
    [ -s "$2" ] && ! grep -vE "$1" "$2"
}

needs_only() { # the libraries that are named, and the system's
    readelf -d "$shared" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE '^(libxxhash|libz|libc|libpthread|ld-linux[a-z0-9_-]*)\.so' >"$TMPDIR/more"
    cat "$TMPDIR/more" && ! [ -s "$TMPDIR/more" ]
}

check 'every function of the header is exported, and nothing else' diff "$TMPDIR/declared" "$TMPDIR/exported"
check 'every exported name begins with lq_' is_all '^lq_' "$TMPDIR/exported"
check 'every global name of the static library begins with lq_ or lqi_' is_all '^lqi?_' "$TMPDIR/global"
check 'the shared library needs xxHash, zlib and libc only' needs_only
done_testing
