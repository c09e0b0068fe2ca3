
# Copyright (c) 2026, unleash_tokens contributors

# A flood of what are no tokens: those who have one hardly feel it, refusing
# takes no memory that stays, and a mistyped token costs no look at a table.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/..";

use FaultsTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rate = 10000;      # refused secrets a second, if the machine can do more than that
my $seconds = 2;       # of one measurement
my $rounds = 5;        # quiet and flooded in turns
my $attempts = 4;      # other work on the machine may spoil one
my $most = 2;          # times the quiet time, at most

my $node = PostgreSQL::Test::Cluster->new('flood');
$node->init;
$node->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'", 'autovacuum = off', 'log_statement = none',
  'jit = off';
$node->start;

# Unknown ones of every shape: those of tokens that are deleted, mistyped ones,
# another's two forms, and rubbish.
$node->safe_psql('postgres', q{
	CREATE EXTENSION unleash_tokens;
	CREATE TABLE secret AS SELECT i AS id, unleash_tokens.create_api_token('{"type": "client", "tokenName": "good"}') ->> 'secret' AS secret
		FROM generate_series(1, 1000) AS i;
	CREATE TABLE bad AS SELECT i AS id, unleash_tokens.create_api_token('{"type": "client", "tokenName": "gone"}') ->> 'secret' AS secret
		FROM generate_series(1, 2000) AS i;
	SELECT count(unleash_tokens.delete_api_token(secret)) FROM bad;
	INSERT INTO bad SELECT 2000 + id, overlay(secret PLACING CASE WHEN right(secret, 1) = 'x' THEN 'y' ELSE 'x' END FROM length(secret)) FROM secret;
	INSERT INTO bad SELECT 3000 + i, '*:development.v2_' || left(md5(i::text), 22) || '_' || left(md5(i::text) || md5(i::text), 43) FROM generate_series(1, 1000) AS i;
	INSERT INTO bad SELECT 4000 + i, '*:development.' || md5(i::text) || left(md5(i::text), 24) FROM generate_series(1, 1000) AS i;
	INSERT INTO bad SELECT 5000 + i, repeat(chr(32 + i % 90), i * 5) FROM generate_series(1, 1000) AS i;
	CREATE INDEX ON secret (id);
	CREATE INDEX ON bad (id);
	VACUUM ANALYZE});

my %script = (
	good => "\\set id random(1, 1000)\nSELECT unleash_tokens.validate_api_token(secret) FROM secret WHERE id = :id;\n",
	bad => "\\set id random(1, 6000)\nSELECT unleash_tokens.validate_api_token(secret) FROM bad WHERE id = :id;\n");
foreach my $name (keys %script)
{
	append_to_file($node->basedir . "/$name.sql", $script{$name});
}

sub start_pgbench
{
	my ($name, @options) = @_;
	my %run = (out => '');

	$run{run} = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-M', 'prepared', '-h', $node->host, '-p', $node->port, '-f', $node->basedir . "/$name.sql", @options, 'postgres' ],
		'>', \$run{out}, '2>', \$run{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%run;
}

sub finish_pgbench
{
	my ($run) = @_;

	$run->{run}->finish or die "pgbench failed: $run->{out}";
	return $run->{out} =~ /^tps = ([0-9.]+)/m ? $1 : die "pgbench says: $run->{out}";
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[ $#sorted / 2 ]; }

# The 99th of a hundred of one client's calls, one after the other, in
# microseconds; and half of them.
sub measure_good
{
	my $prefix = $node->basedir . '/calls';
	my @times;

	unlink glob("$prefix.*");
	finish_pgbench(start_pgbench('good', '-c', 1, '-T', $seconds, '-l', "--log-prefix=$prefix"));
	foreach my $file (glob("$prefix.*"))
	{
		push @times, map { (split ' ')[2] } split /\n/, slurp_file($file);
	}
	@times = sort { $a <=> $b } @times;
	return ($times[ $#times * 0.99 ], $times[ $#times / 2 ], scalar @times);
}

# With the server's time.
sub counted { return split /\|/, $node->safe_psql('postgres', 'SELECT refused_malformed + refused_unknown, extract(epoch FROM clock_timestamp()) FROM unleash_tokens.stat'); }
sub refused { return $node->safe_psql('postgres', 'SELECT refused_malformed + refused_unknown FROM unleash_tokens.stat'); }

# ---- How many there can be -------------------------------------------------------

my $before = refused();
my $can = finish_pgbench(start_pgbench('bad', '-c', 4, '-j', 2, '-T', 3));
note(sprintf 'figure: as many as it can: %d refusals a second, by 4 clients', $can);
cmp_ok(refused() - $before, '>=', 3 * $can * 0.9, sprintf 'every one of a flood is refused: %d a second by 4 clients that do nothing else', $can);

# Where they and the server share few processors, a flood at the very limit leaves none to anyone.
$rate = int(0.6 * $can) if $rate > 0.6 * $can;

# ---- What the others feel --------------------------------------------------------

my ($ratio, $told);
foreach my $attempt (1 .. $attempts)
{
	my (%p99, %p50, @rates);

	foreach my $round (1 .. $rounds)
	{
		my ($p99, $p50) = measure_good();
		push @{ $p99{quiet} }, $p99;
		push @{ $p50{quiet} }, $p50;
		my $flood = start_pgbench('bad', '-c', 2, '-j', 1, '-R', $rate, '-T', 3600);
		$node->poll_query_until('postgres', q{SELECT count(*) >= 2 FROM pg_stat_activity WHERE query LIKE '%FROM bad WHERE%' AND pid <> pg_backend_pid()}) or die 'no flood';
		my ($count, $time) = counted();
		($p99, $p50) = measure_good();
		push @{ $p99{flooded} }, $p99;
		push @{ $p50{flooded} }, $p50;
		my ($more, $later) = counted();
		push @rates, ($more - $count) / ($later - $time);
		$flood->{run}->kill_kill;
	}
	$ratio = median(@{ $p99{flooded} }) / median(@{ $p99{quiet} });
	$told = sprintf 'p99 %d us quiet, %d us flooded (%.2f times); p50 %d and %d us; %d refused a second meanwhile; medians of %d rounds',
	  median(@{ $p99{quiet} }), median(@{ $p99{flooded} }), $ratio, median(@{ $p50{quiet} }), median(@{ $p50{flooded} }), median(@rates), $rounds;
	note("figure: attempt $attempt: $told");
	last if $ratio <= $most;
}
cmp_ok($ratio, '<=', $most, "a client with a token, while others have none: $told");

# ---- Memory ----------------------------------------------------------------------

# What the process has of its own, in kB.
sub anonymous
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die 'no RssAnon';
}

my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->set_query_timer_restart;
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $contexts = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name NOT IN ('ExecutorState', 'ExprContext', 'MessageContext', 'PortalContext')};
my %call = (
	'one by one' => 'SELECT count(unleash_tokens.validate_api_token(secret)) FROM bad, generate_series(1, 20)',
	'all at once' => 'SELECT count(*) FROM unleash_tokens.validate_api_tokens(ARRAY(SELECT secret FROM bad, generate_series(1, 20)))');
foreach my $way (sort keys %call)
{
	$session->query_safe($call{$way}) foreach 1 .. 2;
	$session->query_safe($contexts);
	my ($rss, $bytes) = (anonymous($pid), $session->query_safe($contexts));
	is($session->query_safe($call{$way}), 0, "$way: none of 120000 is valid") foreach 1 .. 5;
	my $grown = $session->query_safe($contexts) - $bytes;
	my $more = anonymous($pid) - $rss;
	cmp_ok($grown, '<=', 262144, "$way: 600000 refusals leave nothing in the memory contexts: $bytes bytes before, $grown more");
	# less than a byte for each: pages that malloc() holds on to differ from run to run, and do not add up
	cmp_ok($more, '<=', 512, "$way: nor in the process: $rss kB before, $more kB more");
}

# ---- Tables ----------------------------------------------------------------------

# A million mistyped ones; numbers are told once the session has ended.
$session->quit;
my $reads = q{SELECT sum(idx_scan) + (SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE schemaname = 'unleash_tokens')
	FROM pg_stat_user_indexes WHERE schemaname = 'unleash_tokens'};
sub count_reads
{
	my $last = '';
	for (;;)
	{
		# until two looks are the same: numbers come late
		my $now = $node->safe_psql('postgres', $reads);
		return $now if $now eq $last;
		$last = $now;
	}
}
my $looked = count_reads();
$before = $node->safe_psql('postgres', 'SELECT refused_malformed FROM unleash_tokens.stat');
is($node->safe_psql('postgres', 'SELECT count(unleash_tokens.validate_api_token(secret)) FROM bad, generate_series(1, 1000) WHERE id BETWEEN 2001 AND 3000'), 0,
	'none of a million mistyped tokens is valid');
is($node->safe_psql('postgres', 'SELECT refused_malformed FROM unleash_tokens.stat') - $before, 1000000, '... each is refused by its text');
is(count_reads() - $looked, 0, '... without a look at a table or an index');
is($node->safe_psql('postgres', 'SELECT count(unleash_tokens.validate_api_token(secret)) FROM bad WHERE id <= 2000'), 0, 'those of deleted tokens are refused');
cmp_ok(count_reads() - $looked, '>=', 2000, '... after a look: it is counted rightly');

$node->stop;
done_testing();
