
# Copyright (c) 2026, unleash_tokens contributors

# Tokens rotate as fast as they can while many clients use old and new secrets at random, at every isolation level, on the
# primary and on a standby, while workers and launcher are killed and the server crashes: at no moment are both refused.
#
# ROTATIONS: how many (default 2000); CLIENTS: how many use secrets at a time (default 10); the suite "rotation" has 10000 and 100.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use UsageTest;

my $rotations = $ENV{ROTATIONS} // 2000;
my $clients = $ENV{CLIENTS} // 10;
my $tokens = 60;
my $primary = new_server('load', 'max_connections = 200', 'max_wal_senders = 5', 'wal_level = replica', 'log_statement = none',
	'log_min_messages = fatal');

# The two secrets that count, or one of which does, and how often that pair was changed: in the transaction of the change.
$primary->safe_psql('postgres', qq{
	CREATE TABLE pair (id int PRIMARY KEY, selector text, old text, new text, turn int NOT NULL DEFAULT 0);
	CREATE TABLE violation (id int, level text, turn int, at timestamptz DEFAULT clock_timestamp());
	CREATE SEQUENCE rotated;
	CREATE SEQUENCE ended;
	CREATE SEQUENCE checked;
	INSERT INTO pair (id, selector, old) SELECT i, split_part(split_part(t ->> 'secret', '.v2_', 2), '_', 1), t ->> 'secret'
	FROM generate_series(1, $tokens) AS i, LATERAL unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'token ' || i)) AS t;
	UPDATE pair SET new = old});

# One step of a token's life: what is refused now is refused.  Which secret will be the old one of the next rotation is told by the row.
$primary->safe_psql('postgres', q{
	CREATE FUNCTION turn(which int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		mine pair;
		is_used boolean;
		answer jsonb;
	BEGIN
		SELECT * INTO mine FROM pair WHERE id = which FOR UPDATE SKIP LOCKED;
		IF NOT FOUND THEN RETURN; END IF;
		PERFORM FROM unleash_tokens.api_token WHERE selector = mine.selector FOR UPDATE;
		SELECT old_until IS NOT NULL INTO is_used FROM unleash_tokens.api_token WHERE selector = mine.selector AND next_verifier IS NOT NULL;
		IF is_used AND random() < 0.6 THEN
			PERFORM unleash_tokens.finish_rotation(mine.selector), nextval('ended');
			UPDATE pair SET old = new, turn = turn + 1 WHERE id = which;
		ELSIF is_used IS FALSE AND random() < 0.1 THEN
			PERFORM unleash_tokens.cancel_rotation(mine.selector), nextval('ended');
			UPDATE pair SET new = old, turn = turn + 1 WHERE id = which;
		ELSE
			-- refused during a grace; after it, the new secret is the old one
			answer := unleash_tokens.rotate_api_token(mine.selector, (ARRAY['0', '20 ms', '1 day'])[1 + floor(random() * 3)::int]::interval,
				(ARRAY['100 ms', '1 day', '1 day'])[1 + floor(random() * 3)::int]::interval);
			UPDATE pair SET old = CASE WHEN is_used THEN new ELSE old END, new = answer ->> 'secret', turn = turn + 1 WHERE id = which;
			PERFORM nextval('rotated');
		END IF;
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END $$});

# A client that finds both refused looks whether they are a pair still, in another transaction: then it is a violation.
my %levels = (
	'READ COMMITTED' => 3, 'REPEATABLE READ' => 2, 'SERIALIZABLE' => 2, 'REPEATABLE READ READ ONLY' => 1, 'SERIALIZABLE READ ONLY' => 1);

sub write_file
{
	my ($name, $text) = @_;
	my $path = $primary->basedir . "/$name.sql";
	open(my $file, '>', $path) or die "could not write $path: $!";
	print $file $text;
	close $file;
	return $path;
}

# Together in one call, or one after the other.  On a standby nothing can be written: there the look goes wrong on purpose, by a division by zero.
sub client_script
{
	my ($level, $together, $is_standby) = @_;
	my $look = $is_standby ? 'SELECT 1 / (turn <> :turn)::int AS late FROM pair WHERE id = :id' :
	  "INSERT INTO violation (id, level, turn) SELECT id, '$level', turn FROM pair WHERE id = :id AND turn = :turn";
	my $use = $together ? "SELECT count(*) AS valid FROM unleash_tokens.validate_api_tokens(ARRAY[:old, :new]) \\gset\n" :
	  "SELECT (unleash_tokens.validate_api_token(:old) IS NOT NULL)::int AS first \\gset\nSELECT (unleash_tokens.validate_api_token(:new) IS NOT NULL)::int AS second \\gset\n\\set valid :first + :second\n";
	my $name = lc "$level-$together-" . ($is_standby ? 'standby' : 'primary');
	$name =~ tr/ /-/;
	return write_file($name, "\\set id random(1, $tokens)\nBEGIN ISOLATION LEVEL $level;\n"
		  . "SELECT quote_literal(old) AS old, quote_literal(new) AS new, turn FROM pair WHERE id = :id \\gset\n${use}COMMIT;\n"
		  . "\\if :valid = 0\n$look;\n\\endif\n");
}

sub start_clients
{
	my ($node, $count, $seconds, $is_standby) = @_;
	my %run = (out => '');
	my @files = map { my $level = $_; map { ('-f', client_script($level, $_, $is_standby) . "\@$levels{$level}") } 0, 1 }
	  grep { !$is_standby || $_ !~ /^SERIALIZABLE/ } sort keys %levels;
	local $ENV{PGOPTIONS} = '-c log_statement=none';
	$run{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $count, '-j', '2', '-T', $seconds, '-h', $node->host, '-p', $node->port, @files, 'postgres' ],
		'>', \$run{out}, '2>', \$run{out});
	return \%run;
}

# What rotates, three at a time.
sub start_rotation
{
	my ($seconds) = @_;
	my %run = (out => '');
	my $file = write_file('rotate', "\\set id random(1, $tokens)\nSELECT turn(:id);\n");
	$run{run} = IPC::Run::start([ 'pgbench', '-n', '-c', '3', '-T', $seconds, '-h', $primary->host, '-p', $primary->port, '-f', $file, 'postgres' ],
		'>', \$run{out}, '2>', \$run{out});
	return \%run;
}

sub transactions { return $_[0]->{out} =~ /number of transactions actually processed: (\d+)/ ? $1 : 0; }

sub counted { return $primary->safe_psql('postgres', "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM $_[0]"); }

sub activated { return $primary->safe_psql('postgres', q{SELECT count(*) FROM unleash_tokens.api_token_event WHERE type = 'api-token-rotation-activated'}); }

# Rotate until so many more were made; what happens meanwhile is the caller's.
sub rotate_under_load
{
	my ($what, $share, $node, $meanwhile) = @_;
	my $is_standby = $node != $primary;
	my $until = counted('rotated') + $rotations * $share;
	my $before = counted('rotated');
	my $begun = [Time::HiRes::gettimeofday];
	my $transactions = 0;

	while (counted('rotated') < $until && Time::HiRes::tv_interval($begun) < 1200)
	{
		my $rotating = start_rotation(4);
		my $using = start_clients($node, $clients, 4, $is_standby);
		$meanwhile->() if $meanwhile;
		eval { $using->{run}->finish };
		eval { $rotating->{run}->finish };
		$transactions += transactions($using);
		like($using->{out}, qr/^(?!.*division by zero)/s, "$what: no look came to a pair whose secrets were both refused") if $is_standby;
		note($using->{out}) if transactions($using) == 0 && !$meanwhile;
	}
	note(sprintf 'figure: %s: %d rotations under %d transactions of %d clients in %.0f s', $what, counted('rotated') - $before, $transactions,
		$clients, Time::HiRes::tv_interval($begun));
	cmp_ok(counted('rotated'), '>=', $until, "$what: as many rotations");
	is($primary->safe_psql('postgres', 'SELECT count(*) FROM violation'), 0, "$what: at no moment were both secrets refused")
	  or diag($primary->safe_psql('postgres', 'SELECT * FROM violation LIMIT 5'));
	return $transactions;
}

cmp_ok(rotate_under_load('on a primary', 0.4, $primary), '>', 0, 'clients were at work');
cmp_ok(activated(), '>', 0, 'new secrets came into use');

rotate_under_load('worker and launcher killed', 0.2, $primary, sub {
	foreach (1 .. 6)
	{
		$primary->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ '^unleash_tokens'});
		Time::HiRes::usleep(300_000);
	}
});

rotate_under_load('server crashed', 0.2, $primary, sub {
	$primary->poll_query_until('postgres', q{SELECT count(*) > 3 FROM pg_stat_activity WHERE query ~ 'validate_api_token' AND pid <> pg_backend_pid()});
	Time::HiRes::usleep(700_000);
	$primary->stop('immediate');
	$primary->start;
});

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = '" . $primary->connstr . "'\n");
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $by_then = activated();
cmp_ok(rotate_under_load('on a standby', 0.2, $standby), '>', 0, 'clients were at work');
cmp_ok(activated(), '>', $by_then, 'what is used on the standby alone comes into use');

# In the end one secret of each counts.
is($primary->safe_psql('postgres', q{SELECT count(*) FROM pair WHERE NOT EXISTS (SELECT FROM unleash_tokens.validate_api_tokens(ARRAY[old, new]))}), 0,
	'each token has a secret that is valid');
note('figure: ' . counted('rotated') . ' rotations, ' . activated() . ' came into use, ' . counted('ended') . ' were finished or cancelled');

$standby->stop;
$primary->stop;
done_testing();
