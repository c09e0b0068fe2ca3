
# Copyright (c) 2026, unleash_tokens contributors

# Clients that send many statements before they read the first answer: a batch that fails is skipped to its end by the server, and a
# transaction may begin in one batch and end in another. Identity and role are still those of the transaction, and nothing is left.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Config;
use PostgreSQL::Test::Utils;
use Test::More;
use GuardTest;

my $node = new_guarded('app', 'reader', 'writer');
my $program = $node->basedir . '/pipeline';
sub of_libpq { my $dir = `pg_config $_[0]`; chomp $dir; return $dir; }
my @link = ('-L' . of_libpq('--libdir'), '-lpq');
system($Config{cc} || 'cc', '-I' . of_libpq('--includedir'), '-o', $program, "$FindBin::RealBin/pipeline/pipeline.c", @link) == 0
  or BAIL_OUT('pipeline.c does not compile');

register($node, map { "p$_" } 1 .. 20);
my @secrets = ('', map { new_secret($node, $_ % 2 ? 'frontend' : 'client', "t$_", ["p$_"]) } 1 .. 20);
$node->safe_psql('postgres', q{
	SELECT unleash_tokens.set_guard_role('client', 'reader'), unleash_tokens.set_guard_role('frontend', 'writer');
	CREATE TABLE note (project text PRIMARY KEY);
	INSERT INTO note SELECT 'p' || i FROM generate_series(1, 20) AS i;
	SELECT unleash_tokens.protect('note', dry_run => false);
	GRANT SELECT ON note TO reader, writer, app;
	CREATE POLICY nothing ON note TO app USING (false)});

my $ask = q{SELECT concat_ws(' ', coalesce(unleash_tokens.token_name(), '-'), current_user, (SELECT string_agg(project, '+') FROM note))};
my $nobody = '- app';
my $broken = 'SELECT 1 / 0';

sub of_token { my ($t) = @_; return sprintf 't%d %s p%d', $t, $t % 2 ? 'writer' : 'reader', $t; }
sub guard { my ($secret) = @_; return "SELECT (unleash_tokens.guard(\$1) IS NOT NULL)\t$secret"; }

# One connection that sends these batches, each an array of statements, so many at once; what each of them was answered.
sub start_pipeline
{
	my ($depth, @batches) = @_;
	my %run = (in => '', out => '', err => '');
	my $sent = 0;

	foreach my $batch (@batches)
	{
		$run{in} .= join("\n", @$batch, 'sync') . "\n";
		$run{in} .= "read\n" if ++$sent % $depth == 0;
	}
	$run{in} .= "read\n";
	$run{handle} = IPC::Run::start([ $program, $node->connstr('postgres') . ' user=app' ], '<', \$run{in}, '>', \$run{out}, '2>', \$run{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default * 2));
	return \%run;
}

sub answers_of
{
	my ($run) = @_;

	$run->{handle}->finish;
	is($run->{err}, '', 'the connection lasts');
	return split /\n/, $run->{out}, -1;
}

# ---- One by one ----

my $two = of_token(2);
my $three = of_token(3);
foreach my $case (
	[ 'a transaction', [[ 'BEGIN', guard($secrets[2]), $ask, 'COMMIT' ], [$ask]], "t,$two", $nobody ],
	[ 'two in one batch', [[ 'BEGIN', guard($secrets[2]), $ask, 'COMMIT', 'BEGIN', guard($secrets[3]), $ask, 'ROLLBACK', $ask ]], "t,$two,t,$three,$nobody" ],
	[ 'chained', [[ 'BEGIN', guard($secrets[2]), 'COMMIT AND CHAIN', $ask, guard($secrets[3]), $ask, 'COMMIT' ]], "t,$nobody,t,$three" ],
	[ 'over two batches', [[ 'BEGIN', guard($secrets[2]) ], [ $ask, 'COMMIT' ], [$ask]], 't', $two, $nobody ],
	[ 'an error', [[ 'BEGIN', guard($secrets[2]), $broken, $ask, 'COMMIT', $ask ], [$ask], [ 'ROLLBACK', $ask ]], 't,22012,aborted,aborted,aborted', '25P02', $nobody ],
	[ 'an error, and ROLLBACK AND CHAIN', [[ 'BEGIN', guard($secrets[2]), $broken ], [ 'ROLLBACK AND CHAIN', $ask, 'COMMIT' ]], 't,22012', $nobody ],
	[ 'an error behind a savepoint', [[ 'BEGIN', guard($secrets[2]), 'SAVEPOINT s', $broken, $ask ], [ 'ROLLBACK TO s', $ask, 'COMMIT' ], [$ask]], 't,22012,aborted', $two, $nobody ],
	[ 'a token of a savepoint', [[ 'BEGIN', 'SAVEPOINT s', guard($secrets[2]), $broken ], [ 'ROLLBACK TO s', $ask, guard($secrets[3]), $ask, 'COMMIT' ]], 't,22012', "$nobody,t,$three" ],
	[ 'a token that is refused', [[ 'BEGIN', guard('nonsense'), $ask, 'COMMIT' ], [ 'ROLLBACK', $ask ]], '28000,aborted,aborted', $nobody ],
	[ 'another token', [[ 'BEGIN', guard($secrets[2]), guard($secrets[3]), $ask ], [ 'ROLLBACK', $ask ]], 't,25001,aborted', $nobody ],
	[ 'a failed BEGIN', [[ 'BEGIN ISOLATION LEVEL nonsense', guard($secrets[2]), $ask ], [$ask]], '42601,aborted,aborted', $nobody ])
{
	my ($what, $batches, @expected) = @$case;
	# a statement that is skipped says so, and those without rows would not say it otherwise
	s/(?:,aborted)+/,aborted/ foreach my @got = grep { $_ ne '' } answers_of(start_pipeline(100, @$batches));
	s/(?:,aborted)+/,aborted/ foreach @expected;
	is_deeply(\@got, \@expected, $what);
}

# Without BEGIN a batch is a transaction that no statement in it knows of, before PostgreSQL 18; wherever guard() lets itself be called
# there, it is over with the batch.
my @said = answers_of(start_pipeline(100, [ $ask, guard($secrets[2]), $ask ], [$ask]));
like($said[0], qr/^\Q$nobody\E,(?:25P01,aborted|t,\Q$two\E)$/, 'without BEGIN');
is($said[1], $nobody, '... and behind it');

# ---- Many at once ----

# Batches of 20 tokens in random order on 4 connections, 50 batches before the first answer is read.
my $steps = $ENV{GUARD_STEPS} ? int($ENV{GUARD_STEPS} / 4) : 2500;
srand(5);
my (@runs, @expected);
foreach my $c (0 .. 3)
{
	my @batches;
	foreach (1 .. $steps / 4)
	{
		my $t = 1 + int rand 20;
		my $u = 1 + int rand 20;
		my @is = (of_token($t), of_token($u));
		my ($sent, @said) = @{ (
			[ [[ 'BEGIN', guard($secrets[$t]), $ask, 'COMMIT' ]], "t,$is[0]" ],
			[ [[ 'BEGIN READ ONLY', guard($secrets[$t]), $ask, 'ROLLBACK', 'BEGIN', guard($secrets[$u]), $ask, 'COMMIT' ]], "t,$is[0],t,$is[1]" ],
			[ [[ 'BEGIN', guard($secrets[$t]), $ask, $broken, $ask ], [ 'ROLLBACK', $ask ]], "t,$is[0],22012,aborted", $nobody ],
			[ [[ 'BEGIN', guard($secrets[$t]) ], [ $ask, 'SAVEPOINT s', $broken ], [ 'ROLLBACK TO s', $ask, 'COMMIT', $ask ]], 't', "$is[0],22012", "$is[0],$nobody" ],
			[ [[ 'BEGIN', 'SAVEPOINT s', guard($secrets[$t]), 'ROLLBACK TO s', guard($secrets[$u]), $ask, 'COMMIT' ]], "t,t,$is[1]" ],
			[ [[$ask]], $nobody ])[ int rand 6 ] };
		push @batches, @$sent;
		push @{ $expected[$c] }, @said;
	}
	push @runs, start_pipeline(50, @batches);
}
foreach my $c (0 .. 3)
{
	my @got = answers_of($runs[$c]);
	my @want = @{ $expected[$c] };
	my @wrong = grep { ($got[$_] // '') ne $want[$_] } 0 .. $#want;
	is(join(' | ', map { "$_: $got[$_], not $want[$_]" } @wrong[ 0 .. ($#wrong < 2 ? $#wrong : 2) ]), '', sprintf 'connection %d: %d batches, each of its own tokens', $c + 1, scalar @want);
}

$node->stop;
done_testing();
