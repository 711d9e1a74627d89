# Makes small mistakes in C code, as a machine can think of them, in every place where each is possible:
#
#   a comparison that is off by one or turned round, && for ||, + for -, min for max, a flag that is there or not,
#   a condition negated or decided beforehand, a number one more or less, a failure that is called LQ_OK,
#   a statement (a call, an assignment, a way out) that is forgotten
#
# Works on the text: this code is formatted evenly enough. What does not compile is the caller's to leave out.
package Mutate;
use strict;
use warnings;

# Mistakes that are one text for another. Operators have blanks around them here, and -> has none.
my @swaps = (
    [qr/ <(?= )/, ' <='],   [qr/ <=(?= )/, ' <'],   [qr/ >(?= )/, ' >='],   [qr/ >=(?= )/, ' >'],
    [qr/ ==(?= )/, ' !='],  [qr/ !=(?= )/, ' =='],  [qr/ &&(?= )/, ' ||'],  [qr/ \|\|(?= )/, ' &&'],
    [qr/ &(?= )/, ' |'],    [qr/ \|(?= )/, ' &'],   [qr/ \+(?= )/, ' -'],   [qr/ -(?= )/, ' +'],
    [qr/\+\+/, '--'],       [qr/--/, '++'],         [qr/ \+=/, ' -='],      [qr/ -=/, ' +='],      [qr/ \|=/, ' ='],
    [qr/\blqi_min64\b/, 'lqi_max64'],               [qr/\blqi_max64\b/, 'lqi_min64'],
    [qr/\btrue\b/, 'false'],                        [qr/\bfalse\b/, 'true'],
    [qr/!(?=[a-z_(*])/, ''],                        # not any more
    [qr/ \?(?= )/, ' || 1 ?'],                      # always the first, always the second: ?: binds weaker than || and &&
    [qr/ \?(?= )/, ' && 0 ?'],
    [qr/\breturn (?!LQ_OK\b)(?:err\b|lqi_fail\w*\(|report_\w+\()[^;]*;/, 'return LQ_OK;'],
);

# The same text with blanks for comments, strings, assertions (right code passes without them), and what is for the preprocessor.
sub blanked {
    my ($text) = @_;
    $text =~ s{(\bassert\([^;]*\);|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|/\*.*?\*/|^\#(?:[^\n]*\\\n)*[^\n]*)}{$1 =~ s/[^\n]/ /gr}gems;
    return $text;
}

# [name, offset of the body's {, offset of its }] of each function.
sub functions_of {
    my ($code) = @_;
    my @found;
    push @found, [$1, $-[2], $+[2] - 1] while $code =~ /^\w[^;{}=()]*?\b(\w+)\([^;{}]*?\)\n(\{\n.*?^\})/gms;
    return @found;
}

# The offset of the parenthesis that closes the one at `open`.
sub closing {
    my ($code, $open) = @_;
    pos($code) = $open;
    my $depth = 0;
    while ($code =~ /([()])/g) {
        $depth += $1 eq '(' ? 1 : -1;
        return $-[0] if $depth == 0;
    }
    return length $code;
}

# [from, behind] of each statement that ends with a semicolon and declares nothing.
sub statements_of {
    my ($code, $from, $to) = @_;
    my @found;
    my ($start, $depth) = ($from + 1, 0);
    for my $at ($from + 1 .. $to - 1) {
        my $c = substr $code, $at, 1;
        $depth += $c eq '(' ? 1 : $c eq ')' ? -1 : 0;
        next if $depth || $c !~ /[;{}]/;
        my $statement = substr $code, $start, $at + 1 - $start;
        if ($c eq ';' && $statement =~ /^(\s*(?:(?:else|case \w+:|default:|\w+:)\s+)*)(\S.*)$/s) {
            my ($before, $rest) = ($1, $2);
            my $declares = $rest =~ /^(?:const|struct|enum|union|static|unsigned|typedef|_Atomic|while)\b/ ||
                           $rest =~ /^(?!return|goto)\w+ \**\w+(?:\[|;|,| =)/;
            push @found, [$start + length $before, $at + 1] if !$declares && $rest ne ';';
            # What an `if` with an `else` does: the whole of it cannot be left out.
            if ($rest =~ /^if \(/ && substr($code, $at + 1) =~ /^\s*else\b/) {
                my $behind = closing($code, $start + length($before) + 3) + 1;
                push @found, [$behind + 1, $at + 1];
            }
        }
        $start = $at + 1;
    }
    return @found;
}

# {at, from, to} of each mistake between two offsets.
sub mistakes_in {
    my ($text, $code, $from, $to) = @_;
    my @found;
    my $note = sub { my ($at, $behind, $new) = @_; push @found, {at => $at, from => substr($text, $at, $behind - $at), to => $new} };
    my $body = substr $code, $from, $to - $from;

    for my $swap (@swaps) {
        my ($search, $new) = @$swap;
        $note->($from + $-[0], $from + $+[0], $new) while $body =~ /$search/g;
    }
    while ($body =~ /\b(?:if|while) (?=\()/g) {
        my ($open, $close) = ($from + $+[0], closing($code, $from + $+[0]));
        my $condition = substr $text, $open, $close + 1 - $open;
        $note->($open, $close + 1, "(!$condition)");
    }
    while ($body =~ /(?<![\w.])(?<!\[)(\d+)[uUlL]*(?![\w.])/g) {
        my ($number, $at, $behind) = ($1, $from + $-[1], $from + $+[1]);
        my $before = substr $code, rindex($code, "\n", $at) + 1, $at - rindex($code, "\n", $at) - 1;
        # One more in a declared array is room that nobody uses; one less than a -1 that stands for none stands for it, too.
        my $room = $before =~ /^\s*(?:(?:static|const|unsigned|struct \w+) )*\w+ \**\w[^=;()]*\[[^\]]*$/;
        my $none = $before =~ /(?:[(,:?=]|return) -$/;
        $note->($at, $behind, $number + 1) unless $room || $none;
        $note->($at, $behind, $number - 1) if $number > 0;
    }
    for my $statement (statements_of($code, $from, $to)) {
        my ($at, $behind) = @$statement;
        $note->($at, $behind, substr($text, $at, $behind - $at) =~ tr/\n//cdr . ';');
    }
    return @found;
}

# Without comments, with single blanks.
sub trimmed { return join ' ', split ' ', $_[0] =~ s{/\*.*?(?:\*/|$)}{}gsr }

# All of them: {at, from, to, line, function, before, after}; the last two are the whole lines around it.
sub mutants_of {
    my ($text) = @_;
    my $code = blanked($text);
    my @found;
    for my $function (functions_of($code)) {
        my ($name, $from, $to) = @$function;
        my %times;
        for my $mistake (sort { $a->{at} <=> $b->{at} } mistakes_in($text, $code, $from, $to)) {
            my $start = rindex($text, "\n", $mistake->{at}) + 1;
            my $behind = index $text, "\n", $mistake->{at} + length $mistake->{from};
            my $before = substr $text, $start, $behind - $start;
            my $after = $before;
            substr($after, $mistake->{at} - $start, length $mistake->{from}) = $mistake->{to};
            ($before, $after) = (trimmed($before), trimmed($after));
            my $again = $times{"$before\n$after"}++;
            push @found, {%$mistake, line => 1 + (substr($text, 0, $mistake->{at}) =~ tr/\n//), function => $name,
                          before => $before, after => $again ? "$after [$again]" : $after};
        }
    }
    return @found;
}

# By which a mutant is known: texts, so that it survives changes elsewhere.
sub key_of { my ($mutant) = @_; return join "\n", @$mutant{qw(function before after)} }

1;
