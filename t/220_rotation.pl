
# Copyright (c) 2026, unleash_tokens contributors

# A token gets a new secret, and whatever happens to servers, workers, lines and files between that and its first use,
# nobody is locked out: the old one stays until the new one was used, and what was used stays.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use UsageTest;

my $primary = new_server('rotation', 'max_wal_senders = 5', 'wal_level = replica');
my (%old, %new);

sub sql { return $primary->safe_psql('postgres', $_[0]); }

sub make
{
	my ($name, $more) = @_;
	$more //= '{}';
	$old{$name} = sql(qq{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "$name"}' || '$more'::jsonb) ->> 'secret'});
	return;
}

sub rotate
{
	my ($name, $arguments) = @_;
	$arguments = defined $arguments ? ", $arguments" : '';
	$new{$name} = sql("SELECT unleash_tokens.rotate_api_token('$old{$name}'$arguments) ->> 'secret'");
	return;
}

# Which of the two secrets are valid: "old", "new", both or none.  It uses what it asks for.
sub valid
{
	my ($name, $node, $database, $begin) = @_;
	$begin //= 'BEGIN';
	my @valid = grep {
		my $secret = $_ eq 'old' ? $old{$name} : $new{$name};
		($node // $primary)->safe_psql($database // 'postgres',
			"$begin; SELECT unleash_tokens.validate_api_token('$secret') ->> 'tokenName'; COMMIT") eq $name;
	} qw(old new);
	return "@valid";
}

sub use_new
{
	my ($name, $node, $begin) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$begin //= 'BEGIN';
	return is(($node // $primary)->safe_psql('postgres', "$begin; SELECT unleash_tokens.validate_api_token('$new{$name}') ->> 'tokenName'; COMMIT"),
		$name, "$name: the new secret is used");
}

sub state_of { return $primary->safe_psql('postgres', "SELECT coalesce(rotation, 'none') FROM unleash_tokens.api_tokens WHERE token_name = '$_[0]'"); }

sub comes_to
{
	my ($name, $state, $test, $node) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(($node // $primary)->poll_query_until('postgres', "SELECT coalesce(rotation, 'none') = '$state' FROM unleash_tokens.api_tokens WHERE token_name = '$name'"), "$name: $test");
}

# Keep workers, and nobody else, from writing tokens, until release_workers().
sub hold
{
	hold_workers($primary);
	sql(q{CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE EXISTS (SELECT FROM public.holding) AND EXISTS (SELECT FROM pg_stat_activity
				WHERE pid = pg_backend_pid() AND backend_type = 'unleash_tokens flush worker')
			LOOP
				PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
			END LOOP;
			RETURN NULL;
		END $$});
	return;
}

# What failed while they were held is tried again at once.
sub release
{
	release_workers($primary);
	$primary->reload;
	return;
}

sub finish { return sql("SELECT unleash_tokens.finish_rotation('$new{$_[0]}') ->> 'tokenName'"); }

# ---- At once, though notes are written once an hour ----

my $begun = [Time::HiRes::gettimeofday];
foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE', 'REPEATABLE READ READ ONLY', 'SERIALIZABLE READ ONLY DEFERRABLE')
{
	my $name = lc $level;
	make($name);
	rotate($name);
	is(valid($name, undef, undef, "BEGIN ISOLATION LEVEL $level"), 'old new', "$name: both are valid");
	comes_to($name, 'grace', 'its first use is written');
}
cmp_ok(Time::HiRes::tv_interval($begun), '<', 300, 'long before the interval has passed');

# ---- An answer that nobody got ----

make('lost');
my $session = new_session($primary, 'postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe("BEGIN; CREATE TEMP TABLE answer ON COMMIT DROP AS SELECT unleash_tokens.rotate_api_token('$old{lost}'); COMMIT");
sql("SELECT pg_terminate_backend($pid)");
eval { $session->quit };
is(state_of('lost'), 'pending', 'committed, and the connection was cut before the answer was read');
is(sql("SELECT unleash_tokens.validate_api_token('$old{lost}') ->> 'tokenName'"), 'lost', 'the old secret is as good as before');
rotate('lost');
is(valid('lost'), 'old new', 'and the token rotates anew');
comes_to('lost', 'grace', 'which ends as any other');

# ---- The first use is noted, and is not written ----

make('stopped');
rotate('stopped');
hold();
use_new('stopped');
ok(worker_pid($primary), 'a worker is at it, and held up');
is(valid('stopped'), 'old new', 'both are valid');
$primary->stop('fast');
ok(-s noted_file($primary), 'a clean stop writes the note to its file');
$primary->start;
is(state_of('stopped'), 'pending', 'it is not written by then');
release();
comes_to('stopped', 'grace', 'after the start it is, without another use');

make('crashed');
rotate('crashed', "'1 day', '1 hour'");
hold();
use_new('crashed');
ok(worker_pid($primary), 'a worker is at it, and held up');
# stopped immediately, PostgreSQL 18 ends as if it had been stopped cleanly, and leaves a file
$primary->kill9;
start_again($primary);
release();
is(state_of('crashed'), 'pending', 'a crash forgets the note');
is(valid('crashed'), 'old new', 'both are valid still');
comes_to('crashed', 'grace', 'and the next use is as good as the first');

make('killed');
rotate('killed');
hold();
use_new('killed');
foreach (1 .. 3)
{
	my $worker = worker_pid($primary);
	my $launcher = launcher_pid($primary);
	sql("SELECT pg_terminate_backend($worker), pg_terminate_backend($launcher)");
	ok(launcher_pid($primary, $launcher), 'another launcher');
	is(valid('killed'), 'old new', 'worker and launcher are killed: both are valid');
}
flush_every($primary, 1);
release();
comes_to('killed', 'grace', 'the ones after them write it');
flush_every($primary, 3600);

# Until it is written, the time to use it in may have passed.
make('late');
rotate('late', "'1 day', '3 s'");
hold();
use_new('late');
ok($primary->poll_query_until('postgres', q{SELECT activate_by < clock_timestamp() FROM unleash_tokens.api_tokens WHERE token_name = 'late'}), 'late: activate_by passes');
is(valid('late'), 'old new', 'a new secret that was used in time is not dropped by a late write');
release();
flush_every($primary, 1);
comes_to('late', 'grace', 'which is done later');
flush_every($primary, 3600);

# ---- A note of another rotation ----

make('other');
rotate('other');
hold();
use_new('other');
my $first = $new{other};
# below our functions, which refuse it: as a late message of a standby would find it
sql(q{UPDATE unleash_tokens.api_token SET next_verifier = NULL, activate_by = NULL, grace = NULL WHERE token_name = 'other'});
rotate('other');
release();
flush_every($primary, 1);
wait_until_written($primary, 'the note of a rotation that was cancelled is written');
is(state_of('other'), 'pending', 'and starts no later one');
is(sql("SELECT unleash_tokens.validate_api_token('$first')"), '', 'its secret is refused');
flush_every($primary, 3600);

# ---- On a standby ----

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = '" . $primary->connstr . "'\nunleash_tokens.flush_interval = 3600\n");
$standby->start;

sub catch_up { return $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert')); }

make('standby');
rotate('standby');
catch_up();
is(valid('standby', $standby), 'old new', 'both are valid on the standby');
comes_to('standby', 'grace', 'the standby tells of the first use at once, and the primary writes it');
catch_up();
is(valid('standby', $standby), 'old new', 'both are valid there still');
is(finish('standby'), 'standby', 'finished');
catch_up();
is(valid('standby', $standby), 'new', 'the old one is refused as soon as that is replayed');
is(valid('standby'), 'new', 'and on the primary');

make('cut off');
rotate('cut off', "'1 day', '5 s'");
catch_up();
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = 'host=/nonexistent'\n");
$standby->reload;
use_new('cut off', $standby);
ok($primary->poll_query_until('postgres', q{SELECT activate_by < clock_timestamp() FROM unleash_tokens.api_tokens WHERE token_name = 'cut off'}), 'activate_by passes');
is(valid('cut off', $standby), 'old new', 'what was used on a standby that reaches no primary stays valid there');
is(valid('cut off'), 'old', 'the primary knows nothing of it, and keeps the old one');
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = '" . $primary->connstr . "'\nunleash_tokens.flush_interval = 1\n");
$standby->reload;
comes_to('cut off', 'grace', 'it hears of it later');
is(valid('cut off'), 'old new', 'and takes it');

make('failover');
rotate('failover');
catch_up();
hold();
catch_up();
use_new('failover', $standby);
ok($standby->poll_query_until('postgres', 'SELECT notes_held = 0 FROM unleash_tokens.stat'), 'the standby has sent the use');
$primary->stop('immediate');
$standby->promote;
$standby->safe_psql('postgres', 'DROP TRIGGER hold ON unleash_tokens.api_token');
comes_to('failover', 'grace', 'the primary ends before it writes it: the standby, promoted, does', $standby);
is(valid('failover', $standby), 'old new', 'both are valid');
$standby->stop;
$primary->start;
sql('DROP TRIGGER hold ON unleash_tokens.api_token');

# ---- Dump and restore ----

foreach my $name (qw(pending grace finished cancelled over lapsed imported))
{
	make($name);
	if ($name eq 'imported')
	{
		$old{$name} = 'default:development.' . '0123456789abcdef' x 4;
		sql(qq{SELECT unleash_tokens.import_api_tokens('[{"tokenName": "$name", "type": "client", "environment": "development", "projects": ["*"], "secret": "$old{$name}"}]')});
		sql(qq{DELETE FROM unleash_tokens.api_token WHERE token_name = '$name' AND NOT by_verifier});
	}
	rotate($name);
	next if $name eq 'pending';
	if ($name =~ /grace|finished|over|imported/)
	{
		use_new($name);
		comes_to($name, 'grace', 'its first use is written');
	}
	finish($name) if $name eq 'finished';
	sql("SELECT unleash_tokens.cancel_rotation('$old{$name}')") if $name eq 'cancelled';
	sql("UPDATE unleash_tokens.api_token SET old_until = clock_timestamp() WHERE token_name = '$name'") if $name eq 'over';
	sql("UPDATE unleash_tokens.api_token SET activate_by = clock_timestamp() WHERE token_name = '$name'") if $name eq 'lapsed';
}
my %expected = (pending => 'old', grace => 'old new', finished => 'new', cancelled => 'old', over => 'new', lapsed => 'old', imported => 'old new');
my $dump = $primary->basedir . '/dump';
$primary->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $primary->connstr('postgres') ], 'dumped');
$primary->safe_psql('postgres', 'CREATE DATABASE restored');
$primary->command_ok([ 'pg_restore', '--exit-on-error', '-d', $primary->connstr('restored'), $dump ], 'restored');
my $rows = 'SELECT string_agg(t::text, chr(10) ORDER BY selector) FROM unleash_tokens.api_token AS t';
is($primary->safe_psql('restored', $rows), sql($rows), 'the same rows');
foreach my $name (sort keys %expected)
{
	# that of the pending one is asked for last, since it is a use
	my $expected = $name eq 'pending' ? 'old new' : $expected{$name};
	is(valid($name, $primary, 'restored'), $expected, "$name: restored, these are valid: $expected");
}
ok($primary->poll_query_until('restored', q{SELECT rotation = 'grace' FROM unleash_tokens.api_tokens WHERE token_name = 'pending'}), 'a first use after the restore is one');

# ---- What is refused takes the same time, whatever it is the secret of ----

make('plain');
my %refused = (
	'a wrong key'           => wrong($old{plain}),
	'a wrong key, pending'  => wrong($old{pending}),
	'a cancelled secret'    => $new{cancelled},
	'a secret not used in time' => $new{lapsed},
	'an old one whose time is over' => $old{over},
	'an old one, finished'  => $old{finished});

# The text of a key that was not made with this selector; what is refused by its text alone is no question of time.
sub wrong
{
	my ($secret) = @_;
	my $other = $secret;
	$other = sql("SELECT unleash_tokens.rotate_api_token('$secret') ->> 'secret'");
	sql("SELECT unleash_tokens.cancel_rotation('$secret')");
	return $other;
}
my $measure = sub {
	my ($secret) = @_;
	return $primary->safe_psql('postgres', qq{
		CREATE TEMP TABLE took (us float8);
		DO \$\$
		DECLARE begun timestamptz;
		BEGIN
			FOR i IN 1..40 LOOP
				begun := clock_timestamp();
				PERFORM unleash_tokens.validate_api_token('$secret') FROM generate_series(1, 100);
				INSERT INTO took VALUES (extract(epoch FROM clock_timestamp() - begun) * 10000);
			END LOOP;
		END \$\$;
		SELECT min(us) FROM took});
};
# The least of many: more rounds on a machine that is busy bring them nearer to each other, unless they differ.
my %least;
sub ratio { return $least{$_[0]} / $least{'a wrong key'}; }
foreach my $round (1 .. 40)
{
	foreach my $what (keys %refused)
	{
		my $took = $measure->($refused{$what});
		$least{$what} = $took if !defined $least{$what} || $took < $least{$what};
	}
	last if $round >= 5 && !grep { abs(ratio($_) - 1) >= 0.1 } keys %refused;
}
foreach my $what (sort keys %refused)
{
	is(sql("SELECT unleash_tokens.validate_api_token('$refused{$what}') IS NULL"), 't', "$what is refused");
	my $ratio = ratio($what);
	note(sprintf 'figure: %s is refused in %.2f us, %.3f x of a wrong key', $what, $least{$what}, $ratio);
	cmp_ok(abs($ratio - 1), '<', 0.2, "$what: in the time of a wrong key");
}

$primary->stop;
done_testing();
