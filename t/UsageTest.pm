# What the tests of last-use times share: a server with tokens, and the means to
# let the notes be written or to hold them back.
package UsageTest;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Time::HiRes 'usleep';

our @EXPORT = qw(new_server new_session make_tokens validate validate_one held stat_of
  flush_every wait_until_written wait_until_written_in wait_for_error shown stored noted_file hold_workers
  release_workers start_load stop_load launcher_pid worker_pid start_again);

# A running server with the library preloaded.  Nothing is written before an
# hour has passed or the memory is half full, and no worker looks for tokens
# that expire soon.
sub new_server
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "$_\n") foreach
	  "shared_preload_libraries = 'unleash_tokens'",
	  'unleash_tokens.flush_interval = 3600', q{unleash_tokens.expiry_notice = ''}, 'autovacuum = off', @settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens');
	return $node;
}

# A session in the background.  The time it has is for each query.
sub new_session
{
	my ($node, $database) = @_;
	my $session = $node->background_psql($database);

	$session->set_query_timer_restart;
	return $session;
}

# Tokens 1 to count, their secrets in the table "secret".
sub make_tokens
{
	my ($node, $count, $database) = @_;

	$node->safe_psql($database // 'postgres', qq{
		CREATE TABLE IF NOT EXISTS secret (id int, secret text, selector text);
		TRUNCATE secret;
		INSERT INTO secret SELECT i, t ->> 'secret', split_part(split_part(t ->> 'secret', '.v2_', 2), '_', 1)
		FROM generate_series(1, $count) AS i,
			LATERAL unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'token ' || i)) AS t});
	return;
}

# Validate the tokens of these numbers, in their order; returns how many are valid.
sub validate
{
	my ($node, $from, $to, $database) = @_;

	return $node->safe_psql($database // 'postgres', qq{
		SELECT count(*) FROM unleash_tokens.validate_api_tokens(ARRAY(
			SELECT secret FROM secret WHERE id BETWEEN $from AND $to ORDER BY id))});
}

# Validate one token the other way.
sub validate_one
{
	my ($node, $id, $database) = @_;

	return $node->safe_psql($database // 'postgres',
		"SELECT unleash_tokens.validate_api_token(secret) IS NOT NULL FROM secret WHERE id = $id");
}

# A column of the view stat.
sub stat_of
{
	my ($node, $column) = @_;

	return $node->safe_psql('postgres', "SELECT $column FROM unleash_tokens.stat");
}

sub held { return stat_of($_[0], 'notes_held'); }

# From now on; the launcher hears of it by SIGHUP.
sub flush_every
{
	my ($node, $seconds) = @_;

	$node->append_conf('postgresql.conf', "unleash_tokens.flush_interval = $seconds\n");
	$node->reload;
	return;
}

sub wait_until_written
{
	my ($node, $test) = @_;

	ok($node->poll_query_until('postgres', 'SELECT notes_held = 0 FROM unleash_tokens.stat'), $test);
	return;
}

# The notes of one database, whatever there is of others.
sub wait_until_written_in
{
	my ($node, $database, $test) = @_;

	ok($node->poll_query_until($database, q{
			SELECT NOT EXISTS (SELECT FROM unleash_tokens.api_tokens AS v JOIN unleash_tokens.api_token AS t USING (selector)
				WHERE v.seen_at IS DISTINCT FROM t.seen_at)}), $test);
	return;
}

sub wait_for_error
{
	my ($node, $pattern, $test) = @_;

	ok($node->poll_query_until('postgres',
			"SELECT coalesce(last_error, '') ~ '$pattern' AND last_error_at IS NOT NULL FROM unleash_tokens.stat"),
		$test) or diag('last_error: ' . stat_of($node, 'last_error'));
	return;
}

# When a token was used, as the view tells and as the table has it; microseconds since 1970.
sub shown
{
	my ($node, $id, $database) = @_;

	return $node->safe_psql($database // 'postgres', qq{
		SELECT (extract(epoch FROM t.seen_at) * 1000000)::bigint
		FROM secret AS s JOIN unleash_tokens.api_tokens AS t USING (selector) WHERE s.id = $id});
}

sub stored
{
	my ($node, $id, $database) = @_;

	return $node->safe_psql($database // 'postgres', qq{
		SELECT (extract(epoch FROM t.seen_at) * 1000000)::bigint
		FROM secret AS s JOIN unleash_tokens.api_token AS t USING (selector) WHERE s.id = $id});
}

# Where a clean stop leaves the notes.
sub noted_file { return $_[0]->data_dir . '/pg_stat/unleash_tokens.notes'; }

# Keep every worker of a database in its first UPDATE, and let them go again;
# this outlasts a crash.
sub hold_workers
{
	my ($node, $database) = @_;

	$node->safe_psql($database // 'postgres', q{
		CREATE TABLE IF NOT EXISTS holding ();
		INSERT INTO holding DEFAULT VALUES;
		CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE EXISTS (SELECT FROM public.holding) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN NULL;
		END $$;
		CREATE OR REPLACE TRIGGER hold BEFORE UPDATE ON unleash_tokens.api_token EXECUTE FUNCTION hold()});
	# one that has begun before sees no row in holding, and may get to its notes later
	my $now = $node->safe_psql($database // 'postgres', 'SELECT clock_timestamp()');
	$node->poll_query_until($database // 'postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker' AND xact_start < '$now'")
	  or die 'a worker of before does not end';
	return;
}

sub release_workers
{
	my ($node, $database) = @_;

	$node->safe_psql($database // 'postgres', 'DELETE FROM holding');
	return;
}

my $loads = 0;

# Validations by two sessions at random until stop_load(); $failed is what
# pgbench says of the first error.
sub start_load
{
	my ($node, $database, $query) = @_;
	my $script = $node->basedir . '/load-' . ++$loads . '.sql';
	my %load = (out => '');

	# a line for each would fill the log
	local $ENV{PGOPTIONS} = '-c log_statement=none';

	$query //= 'SELECT unleash_tokens.validate_api_token(secret) FROM secret WHERE id = :id';
	open(my $file, '>', $script) or die "could not write $script: $!";
	print $file "\\set id random(1, 200)\n$query;\n";
	close $file;
	$load{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-c', '2', '-T', '3600', '-h', $node->host, '-p', $node->port, '-f', $script, $database // 'postgres' ],
		'>', \$load{out}, '2>', \$load{out});
	return \%load;
}

# Returns what it said; nothing when it was at work all the time.
sub stop_load
{
	my ($load) = @_;

	$load->{run}->pump_nb;
	my $said = $load->{run}->pumpable ? '' : 'it has ended: ';
	$load->{run}->kill_kill;
	$load->{out} =~ s/^pgbench \(.*\n//;
	return $said . $load->{out};
}

# As poll_query_until, also while the server starts anew: a psql that is refused before it has read the query breaks the pipe.
sub poll_through_restart
{
	my ($node, $query) = @_;
	my $is_so;

	foreach (1 .. 100)
	{
		return $is_so if eval { $is_so = $node->poll_query_until('postgres', $query); 1 };
		die $@ unless $@ =~ /Broken pipe/;
	}
	return;
}

# Process id of the launcher, or of the worker of a database once there is one.
sub launcher_pid
{
	my ($node, $other_than) = @_;
	$other_than //= 0;
	my $query = "FROM pg_stat_activity WHERE backend_type = 'unleash_tokens launcher' AND pid <> $other_than";

	poll_through_restart($node, "SELECT count(*) = 1 $query") or return '';
	return $node->safe_psql('postgres', "SELECT pid $query");
}

sub worker_pid
{
	my ($node, $database, $other_than) = @_;
	$database //= 'postgres';
	$other_than //= 0;
	my $query = "FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker' AND datname = '$database' AND pid <> $other_than";

	poll_through_restart($node, "SELECT count(*) > 0 $query") or return '';
	return $node->safe_psql('postgres', "SELECT max(pid) $query");
}

# After kill -9 of the postmaster its children take a while to go.
sub start_again
{
	my ($server) = @_;

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $server->start(fail_ok => 1);
		usleep(100_000);
		$server->stop('fast', fail_ok => 1);
	}
	die 'the server does not start';
}

1;
