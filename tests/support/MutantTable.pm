# The tables of tests/mutants: `planted`, what people broke on purpose, and `equivalent`, what a machine breaks (Mutate.pm)
# and nobody could notice. Both are written the same way, and name code by its text.
#
# A complaint is what these die of; it begins with the file and the line that is wrong.
package MutantTable;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT_OK = qw(changed_texts equivalents_of read_table stale_entries text_of);

use Mutate;

my ($planted, $equivalent) = ('tests/mutants/planted', 'tests/mutants/equivalent');

sub text_of {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return <$in>;
}

# Entries of a table: a name, and below it, indented, what is replaced by what, and who finds it. See tests/mutants/planted.
sub read_table {
    my ($file) = @_;
    my (@entries, $number);
    for my $line (split /\n/, text_of($file)) {
        $number++;
        next if $line =~ /^\s*(#|$)/;
        if ($line =~ /^\S/) {
            push @entries, {name => $line, line => "$file:$number", edits => [], by => []};
            next;
        }
        my ($key, $rest) = $line =~ /^\s+(in|-|\+|by)(?:\s+(.*?))?\s*$/ or die "$file:$number: neither in, -, + nor by\n";
        my $entry = $entries[-1] or die "$file:$number: before any name\n";
        my $edits = $entry->{edits};
        $rest //= '';
        if ($key eq 'in') { push @$edits, {file => $rest, from => [], to => []} }
        elsif ($key eq 'by') {
            my ($program, $title) = $rest =~ /^((?:\w+=\S+ )*\S+)(?:\s+(.*))?$/ or die "$file:$number: by whom?\n";
            push @{$entry->{by}}, [$program, $title];
        }
        elsif (!@$edits) { die "$file:$number: in which file?\n" }
        elsif ($key eq '+') { push @{$edits->[-1]{to}}, $rest }
        else {
            push @$edits, {file => $edits->[-1]{file}, from => [], to => []} if @{$edits->[-1]{to}};
            push @{$edits->[-1]{from}}, $rest;
        }
    }
    return @entries;
}

# The texts of the files that the entry changes, changed. Dies with a complaint.
sub changed_texts {
    my ($entry) = @_;
    my %texts;
    for my $edit (@{$entry->{edits}}) {
        my $file = $edit->{file};
        my $text = $texts{$file} // text_of($file);
        if (defined $edit->{at}) {
            substr($text, $edit->{at}, length $edit->{from}) = $edit->{to};
        } else {
            my $search = join '\s*\n\s*', map quotemeta, @{$edit->{from}};
            my $found = () = $text =~ /$search/g;
            die "in $file this is there $found times, not once: @{$edit->{from}}\n" if $found != 1 || $search eq '';
            my $replacement = join "\n", @{$edit->{to}};
            $text =~ s/$search/$replacement/;
        }
        $texts{$file} = $text;
    }
    die "nothing is changed\n" if !%texts;
    return %texts;
}

# file -> {key of the mutant (Mutate::key_of) -> where the entry stands}, of the whole table of what is equivalent.
sub equivalents {
    my %known;
    for my $entry (read_table($equivalent)) {
        for my $edit (@{$entry->{edits}}) {
            my ($file, $function) = $edit->{file} =~ /^(\S+)\s+(\w+)\(\)$/ or die "$entry->{line}: in FILE FUNCTION()\n";
            $known{$file}{join "\n", $function, "@{$edit->{from}}", "@{$edit->{to}}"} = $entry->{line};
        }
    }
    return %known;
}

# What is equivalent in this file: key -> true. An entry that is none of its mutants is a complaint.
sub equivalents_of {
    my ($file) = @_;
    my %all = equivalents();
    my $known = $all{$file} // {};
    my %made = map { Mutate::key_of($_) => 1 } Mutate::mutants_of(text_of($file));
    $made{$_} or die "$known->{$_}: there is no such mutant in $file (any more): " . (s/\n/: /r =~ s/\n/ -> /r) . "\n" for sort keys %$known;
    return $known;
}

# Complaints about entries whose lines are not in the code (any more).
sub stale_entries {
    my @stale;
    my %all = equivalents();
    for my $file (sort keys %all) {
        eval { equivalents_of($file) } or push @stale, $@;
    }
    for my $entry (read_table($planted)) {
        eval { changed_texts($entry) } or push @stale, "$entry->{line}: $@";
    }
    return @stale;
}

1;
