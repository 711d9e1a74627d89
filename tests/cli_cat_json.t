#!/bin/sh
# The log shown: forms of output, and the round trip through JSON.
. tests/support/cli.sh

file_comes_back() {
    seq 1 5000 | sed 's/.*/line & with\ttabs and a \\ and a "quote"/' >file
    printf '\r\n\n  \n\001\377\200\n' >>file
    lq put file.q <file && lq cat --raw file.q | cmp file - &&
        lq get file.q -c x --all | cmp file -
}
check 'a file put by lines comes back byte for byte' file_comes_back

# Bodies that JSON has trouble with: empty, quotes, control characters, not UTF-8, beyond the BMP.
hard() {
    printf '\0'
    printf 'plain\0'
    printf 'q"b\\s/\b\f\n\r\t\001\177\0'
    printf '\303\251 \342\202\254 \360\237\230\200 \302\200 \342\200\256\0'
    printf '\377\376\0\355\240\200\0\300\200\0\360\202\202\254\0\364\220\200\200\0'
    printf 'a\0ab\0abc\0\377a\0\377ab\0\377abc\0'
}

round_trip() {
    hard >hard.bin
    lq put -0 hard --key "$(printf 'k\377')" --headers '{"h":1}' <hard.bin &&
        lq put hard --key plain '' 'x' && lq put --whole hard <hard.bin &&
        lq cat hard --json | lq put copy --json &&
        is "$(lq cat hard -F '%x|%k|%h\n')" "$(lq cat copy -F '%x|%k|%h\n')" &&
        lq cat -0 hard >one && lq cat -0 copy | cmp one -
}
check 'cat --json and put --json are a round trip, keys and headers included' round_trip

valid_json() {
    lq cat hard --json >lines && is "$(lq cat hard -F '%i\n' | wc -l)" "$(wc -l <lines)" &&
        jq -e 'has("id") and has("time") and has("time_us") and has("enc") and has("data")' lines >/dev/null &&
        LC_ALL=C awk '/[\001-\037\177]/ { exit 1 }' lines
}
check 'each line is one object of valid JSON without control characters' valid_json

jq_round_trip() {
    lq cat hard --json | jq -cS . | lq put copy2 --json && lq cat -0 copy2 | cmp one -
}
check 'what jq has rewritten is taken, too' jq_round_trip

json_times() {
    lq put t x && lq cat t --json | jq -r '.time, .time_us' >stamps &&
        grep -qE '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z$' stamps &&
        is "$(date -u -d "$(head -1 stamps)" +%s%6N)" "$(tail -1 stamps)"
}
check 'times are RFC 3339 with microseconds, and a number' json_times

json_never_cut() {
    head -c 300000 /dev/urandom >random
    lq put big --whole <random && is 300000 "$(lq cat big --json | jq -r .data | base64 -d | wc -c)"
}
check 'bodies in JSON are never cut' json_never_cut

foreign_json() {
    printf '%s\n' '{"data":"a","other":[1,-2.5e3,{"x":null}],"id":99}' '' '  { "enc" : "base64" , "data" : "AP8=" }  ' \
        '{"key":null,"data":"\ud83d\ude00\u00e9","headers":"h"}' '{"data":"tail"}' >foreign
    lq put foreign.q --json <foreign && is '61 00ff f09f9880c3a9 7461696c ' "$(lq cat foreign.q -F '%x ')" &&
        is h "$(lq cat foreign.q --from 3 --to 3 -F %h)"
}
check 'put --json ignores unknown members and empty lines' foreign_json

flag_key_is_default() {
    printf '{"data":"a","key":"own"}\n{"data":"b"}\n' | lq put dk --json --key all &&
        is 'own all ' "$(lq cat dk -F '%k ')"
}
check 'a key of its own outdoes --key' flag_key_is_default

# Each of these is refused, and nothing behind it goes in.
bad_json() {
    for line in '{' '{}' '[]' '"x"' 'x' '{"data":1}' '{"data":"a"' '{"data":"a"}}' '{"data":"a",}' "{'data':'a'}" \
        '{"data":"a","data":"b"}' '{"data":"\x"}' '{"data":"\ud800"}' '{"data":"a","enc":"hex"}' \
        '{"data":"AA=A","enc":"base64"}' '{"data":"AAE","enc":"base64"}' '{"data":"AAF=","enc":"base64"}' \
        '{"data":"a","n":01}' '{"data":"a","n":1.}' '{"data":"a","n":+1}' '{"data":"a","n":tru}' \
        '{"data":"a" "b":1}' '{"data":null}' '{"data":"	"}' '{"data":"a"} x' '{"data":"\u12g4"}'; do
        rm -rf bad
        printf '%s\n%s\n%s\n' '{"data":"first"}' "$line" '{"data":"last"}' >bad.json
        ends 2 lq put bad --json <bad.json 2>err || { echo "$line" && return 1; }
        { has 'line 2 column' err && has '1 put before it' err && is first "$(lq cat bad --raw)"; } ||
            { echo "$line" && return 1; }
    done
}
check 'bad JSON ends with 2 and names line and column; what was before it is in' bad_json

deep_json() {
    { printf '{"data":"a","x":'; head -c 100000 /dev/zero | tr '\0' '['; echo; } >deep
    ends 2 lq put deep.q --json <deep 2>err && has 'nested too deeply' err
}
check 'nesting is bounded' deep_json

control_characters_stay_out() {
    printf 'bell\007 esc\033[31m \302\233 \342\200\256 \377 tab\t cr\r nl\n' >nasty
    lq put nasty.q --whole --key "$(printf 'k\033')" <nasty &&
        lq cat nasty.q >view && is 1 "$(wc -l <view)" &&
        has 'bell\x07 esc\x1b[31m \u009b \u202e \xff tab\t cr\r nl\n' view &&
        has '[k\x1b]' view && lq cat nasty.q --hex | LC_ALL=C grep -qv '[[:cntrl:]]' &&
        is 0 "$(lq cat nasty.q --hex | LC_ALL=C tr -d '\n[:print:]' | wc -c)"
}
check 'the view and --hex let no control character through' control_characters_stay_out

view_is_bounded() {
    head -c 100000 /dev/zero | tr '\0' x | lq put huge --whole &&
        lq cat huge >view && has '... and 98,000 bytes more' view && [ "$(wc -c <view)" -lt 2200 ]
}
check 'the view shows the beginning of a large body' view_is_bounded

hex_shows_bytes() {
    printf '0123456789abcdef\0\377' | lq put hex --whole &&
        lq cat hex --hex >out &&
        has '00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|' out &&
        has '00000010  00 ff ' out
}
check '--hex shows the bytes' hex_shows_bytes

formats() {
    lq put f --key k --headers h abc &&
        is "1 3 abc 616263 k h 0 % \\" "$(lq cat f -F "%i %l %s %x %k %h %a %% \\\\")" &&
        printf 'abc\t\n\0' >wanted && lq cat f -F '%s\t\n\0' | cmp wanted - &&
        lq cat f -F '%t' | grep -qE '^20.*Z$'
}
check 'format strings' formats

bad_formats() {
    for format in % %q "a\\" "\\z" '%-5i'; do ends 2 lq cat f -F "$format" 2>err || return; done
}
check 'bad format strings are refused' bad_formats

hidden_signs() {
    printf 'a\330\234b\342\200\216c\342\200\217d\342\201\246e\342\201\251f\342\200\256' | lq put signs --whole &&
        lq cat signs >out && has 'a\u061cb\u200ec\u200fd\u2066e\u2069f\u202e' out
}
check 'signs that turn text around are shown as what they are' hidden_signs

spaces() {
    printf '{ "data" :\t"x" , \r "key":"k"\r}\n' | lq put spaced --json && is 'x k' "$(lq cat spaced -F '%s %k')" &&
        printf '{"data":"y","more":[1,-2.5e+3,true,null,{"a":[]}],"and":{}}\n' | lq put spaced --json && is y "$(lq cat spaced --from 2 -F %s)"
}
check 'blanks between the parts of an object, and parts that nobody asks for' spaces

bad_objects() {
    while IFS='|' read -r object column what; do
        printf '%s\n' "$object" | ends 2 lq put bad --json 2>err && has "line 1 column $column: $what" err || return 1
    done <<'END'
{"data":"x"} y|14|something stands behind the object
{"data":"\|11|the string does not end
{"data":"x","a":1.}|19|expected a digit
{"data":"x","a":-}|18|expected a digit
{"data":"x","a":1e}|19|expected a digit
{"data":"x","a":[1|19|expected ',' or ']'
{"data":"x","a":[1}|19|expected ',' or ']'
{"data":"x","a":{"b":1]|23|expected ',' or '}'
{"data":"x","enc":"hex"}|19|the encoding must be "utf8" or "base64"
{"data" "x"}|9|expected ':'
END
}
check 'what is no object is told with its place' bad_objects

harmless_signs() {
    printf '\303\251 \342\202\254 \360\237\230\200' | lq put signs.ok --whole && lq put signs.ok '' && lq cat signs.ok >out &&
        has "$(printf '\303\251 \342\202\254 \360\237\230\200')" out && is 2 "$(wc -l <out)" && sed -n 2p out | grep -qE '     0 B  $'
}
check 'letters of all languages are shown as they are, and an empty body as nothing' harmless_signs

# Far more than lq holds back before it writes.
long_views() {
    seq 1 400 | awk '{ s = ""; for (i = 0; i < 90; i++) s = s "é\t" $1; print s }' >bodies && lq put lv <bodies &&
        lq cat lv | sed 's/^ *[0-9]*  [^ ]* [^ ]*  *[0-9.]* k*B  //' >view && sed 's/\t/\\t/g' bodies | cmp view - &&
        is "$(od -An -v -tx1 bodies | tr -d ' \n')" "$(lq cat lv -F '%x\n' | sed 's/$/0a/' | tr -d '\n')" &&
        lq cat lv -F '%s\n' | cmp bodies -
}
check 'views of any length are whole' long_views

base64_of_nothing() {
    printf '{"data":"","enc":"base64"}\n{"data":"a{==","enc":"base64"}\n' | ends 2 lq put b64 --json 2>err &&
        has 'line 2 column 9: this is not base64' err && is 0 "$(lq cat b64 -F %l)"
}
check 'base64 may be empty, and is of no other letters' base64_of_nothing

done_testing
