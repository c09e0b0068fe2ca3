# Last-use times when something is in the way: processes that are killed, locks,
# no worker to be had, objects that go.  Validation is never disturbed, and what
# was noted is written in the end.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

my $kills = 20;

my $node = new_server('faults', 'unleash_tokens.flush_interval = 1', 'restart_after_crash = on', 'max_connections = 20');
make_tokens($node, 200);

# Tokens whose stored time is not what is shown.
sub unwritten
{
	my ($database) = @_;
	return $node->safe_psql($database // 'postgres', q{
		SELECT count(*) FROM unleash_tokens.api_tokens AS v JOIN unleash_tokens.api_token AS t USING (selector)
		WHERE v.seen_at IS DISTINCT FROM t.seen_at});
}

sub is_validated_on
{
	my ($test) = @_;
	my $before = stat_of($node, 'validations');

	ok($node->poll_query_until('postgres', "SELECT validations > $before FROM unleash_tokens.stat"), $test);
	return;
}

# ---- Killed by SIGTERM -------------------------------------------------------

hold_workers($node);
my $load = start_load($node);
my ($launcher, $worker) = (launcher_pid($node), 0);
my ($launchers, $workers) = (0, 0);
foreach my $round (1 .. $kills)
{
	$worker = worker_pid($node, 'postgres', $worker);
	last if $worker eq '';
	$workers += kill 'TERM', $worker;
	$launchers += kill 'TERM', $launcher;
	$launcher = launcher_pid($node, $launcher);
	last if $launcher eq '';
}
is($workers, $kills, "SIGTERM: $kills workers were killed, and there was always another one");
is($launchers, $kills, "SIGTERM: so were $kills launchers");
is_validated_on('SIGTERM: tokens are still validated');
is(stop_load($load), '', 'SIGTERM: no validation failed');
cmp_ok(held($node), '>', 0, 'SIGTERM: no note was written');
release_workers($node);
wait_until_written($node, 'SIGTERM: now all are');
is(unwritten(), 0, 'SIGTERM: rightly');
is(stat_of($node, 'notes_dropped'), 0, 'SIGTERM: and none was lost');

# ---- Killed by SIGKILL: the server starts all its processes anew ---------------

hold_workers($node);
my $killed = 0;
foreach my $round (1 .. $kills)
{
	$load = start_load($node);
	$launcher = launcher_pid($node);
	my $pid = $round % 2 ? $launcher : worker_pid($node);
	last if $pid eq '';
	$killed += kill 'KILL', $pid;
	last if launcher_pid($node, $launcher) eq '';
	stop_load($load);
}
is($killed, $kills, "SIGKILL: $kills launchers and workers were killed, and the server came back each time");
is($node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token'), 200, 'SIGKILL: no token is lost');
is(validate($node, 1, 200), 200, 'SIGKILL: all are valid');
release_workers($node);
wait_until_written($node, 'SIGKILL: notes are written again');
is(unwritten(), 0, 'SIGKILL: all of them');
is($node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at IS NULL'), 0, 'SIGKILL: every token has a time');

# a backend that dies while it validates
my $clients = q{FROM pg_stat_activity WHERE query LIKE '%validate_api_token(secret)%' AND pid <> pg_backend_pid()};
$load = start_load($node);
$launcher = launcher_pid($node);
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 $clients"), 'two sessions validate');
kill 'KILL', $node->safe_psql('postgres', "SELECT min(pid) $clients");
isnt(launcher_pid($node, $launcher), '', 'one is killed: the server comes back');
stop_load($load);
is(validate($node, 1, 200), 200, 'and validates');
wait_until_written($node, 'and writes');
$node->safe_psql('postgres', 'DROP FUNCTION hold CASCADE; DROP TABLE holding');

# ---- Locks -------------------------------------------------------------------

my $locker = new_session($node, 'postgres');
my $row = '(SELECT selector FROM secret WHERE id = 1)';
foreach my $lock ("SELECT FROM unleash_tokens.api_token WHERE selector = $row FOR UPDATE",
	"SELECT FROM unleash_tokens.api_token WHERE selector = $row FOR SHARE",
	"SELECT unleash_tokens.update_api_token(selector, '{\"expiresAt\": null}') FROM secret WHERE id = 1")
{
	my $before = stored($node, 1);
	my $name = $lock =~ /(FOR \w+|update_api_token)/ ? $1 : $lock;

	$locker->query_safe("BEGIN; $lock");
	is(validate($node, 1, 50), 50, "$name: a token that is locked is validated");
	ok($node->poll_query_until('postgres', 'SELECT notes_held = 1 FROM unleash_tokens.stat'), "$name: its note stays");
	is(stored($node, 1), $before, "$name: it was not written");
	cmp_ok(shown($node, 1), '>', $before, "$name: but is shown");
	is(unwritten(), 1, "$name: the other 49 were");
	$locker->query_safe('COMMIT');
	wait_until_written($node, "$name: after the lock its note is written");
	cmp_ok(stored($node, 1), '>', $before, "$name: rightly");
}
is(stat_of($node, 'last_error'), '', 'a locked row is no error');

# a token whose deletion is not committed yet
$locker->query_safe('BEGIN; SELECT unleash_tokens.delete_api_token(secret) FROM secret WHERE id = 200');
is(validate($node, 199, 200), 2, 'a token that is being deleted is valid');
ok($node->poll_query_until('postgres', 'SELECT notes_held = 1 FROM unleash_tokens.stat'), 'its note stays');
$locker->query_safe('COMMIT');
wait_until_written($node, 'and goes with the token');

my $before = shown($node, 1);
is(validate($node, 1, 50), 50, 'noted');
wait_until_written($node, 'and written');
$locker->query_safe('BEGIN; LOCK TABLE unleash_tokens.api_token IN SHARE MODE');
is(validate($node, 1, 50), 50, 'SHARE MODE: tokens are validated');
wait_for_error($node, 'lock timeout', 'SHARE MODE: the worker gives up and says so');
is(held($node), 50, 'SHARE MODE: the notes stay');
$locker->query_safe('COMMIT');
wait_until_written($node, 'SHARE MODE: later they are written');
is(unwritten(), 0, 'SHARE MODE: all of them');
is($node->safe_psql('postgres', q{SELECT last_error ~ 'lock timeout' FROM unleash_tokens.stat}), 't', 'the last error is still told');
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
is(stat_of($node, 'last_error IS NULL AND last_error_at IS NULL AND last_flush IS NULL'), 't', 'until stat_reset()');

# the table cannot even be read: the notes come from elsewhere
$locker->query_safe('BEGIN; LOCK TABLE unleash_tokens.api_token IN ACCESS EXCLUSIVE MODE');
is($node->safe_psql('postgres', 'SELECT unleash_tokens.note_usage(array_agg(selector), array_agg(now())) FROM secret WHERE id <= 50'), 50,
	'ACCESS EXCLUSIVE: noted');
wait_for_error($node, 'lock timeout', 'ACCESS EXCLUSIVE: the worker gives up and says so');
is(held($node), 50, 'ACCESS EXCLUSIVE: the notes stay');
$locker->query_safe('COMMIT');
wait_until_written($node, 'ACCESS EXCLUSIVE: later they are written');
is(unwritten(), 0, 'ACCESS EXCLUSIVE: all of them');
$locker->quit;

# ---- The write fails -----------------------------------------------------------

$node->safe_psql('postgres', q{
	SELECT unleash_tokens.stat_reset();
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full USING MESSAGE = 'no space left'; END $$;
	CREATE TRIGGER fail BEFORE UPDATE ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION fail()});
$load = start_load($node);
wait_for_error($node, 'no space left', 'a write that fails is told');
is_validated_on('tokens are validated');
is(stop_load($load), '', 'without an error');
is(stat_of($node, 'flushes, notes_held > 0'), '0|t', 'the notes stay');
$node->safe_psql('postgres', 'DROP FUNCTION fail CASCADE');
wait_until_written($node, 'when it works again they are written');
is(unwritten(), 0, 'all of them');

# ---- Several databases -------------------------------------------------------

my @databases = ('one', 'two', 'with "quotes" and blanks');
foreach my $database (@databases)
{
	(my $quoted = $database) =~ s/"/""/g;
	$node->safe_psql('postgres', qq{CREATE DATABASE "$quoted"});
	$node->safe_psql($database, 'CREATE EXTENSION unleash_tokens');
	make_tokens($node, 100, $database);
}
is(validate($node, 1, 50, $_), 50, "database $_: validated") foreach @databases;
is(validate($node, 51, 60), 10, 'and in the first one');
wait_until_written($node, 'each database gets its notes');
foreach my $database (@databases)
{
	is(unwritten($database), 0, "database $database: all");
	is($node->safe_psql($database, 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL'), 50, "database $database: and no others");
}
# a token that is in two databases, as after CREATE DATABASE ... TEMPLATE
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE one');
$before = shown($node, 1, 'one');
is(validate($node, 1, 1, 'copy'), 1, 'used in a copy of a database');
is(shown($node, 1, 'one'), $before, 'is not used in the other');
wait_until_written($node, 'and written');
is(stored($node, 1, 'one'), $before, 'to the copy');
cmp_ok(stored($node, 1, 'copy'), '>', $before, 'alone');

# ---- No worker to be had -----------------------------------------------------

# Places for the launchers, this one and that of logical replication, and one worker.
$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->restart;
hold_workers($node, 'one');
is(validate($node, 1, 1, 'one'), 1, 'the only worker');
isnt(worker_pid($node, 'one'), '', 'is busy');
is(validate($node, 1, 50), 50, 'in another database tokens are validated');
wait_for_error($node, 'no background worker slot', 'that there is no worker for it is told');
# a batch that hangs is cancelled after two seconds
wait_until_written_in($node, 'postgres', 'it has its turn when the other one has had its own');
is(stored($node, 1, 'one'), $before, 'where the worker hangs nothing is written');
cmp_ok(shown($node, 1, 'one'), '>', $before, 'and the note stays');
release_workers($node, 'one');
wait_until_written($node, 'when it hangs no more it is written');
is(unwritten('one'), 0, 'and those of the other database');
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;

# ---- DROP EXTENSION ------------------------------------------------------------

my $session = new_session($node, 'two');
$session->query_safe('SELECT unleash_tokens.validate_api_token(secret) FROM secret WHERE id = 1');
wait_until_written($node, 'nothing is left to be written');
flush_every($node, 3600);
$node->restart;
$session->quit;
$session = new_session($node, 'two');
$session->query_safe(q{
	CREATE FUNCTION try(s text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		RETURN unleash_tokens.validate_api_token(s) IS NOT NULL;
	EXCEPTION WHEN OTHERS THEN
		RETURN false;
	END $$});
is($session->query_safe('SELECT count(*) FROM secret WHERE try(secret)'), 100, 'notes of an extension');
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
$node->safe_psql('two', 'DROP EXTENSION unleash_tokens');
is(held($node), 100, 'that is dropped');
flush_every($node, 1);
wait_until_written($node, 'go');
is(stat_of($node, 'notes_dropped, last_error IS NULL'), '100|t', 'and are counted as dropped');

$node->safe_psql('two', 'CREATE EXTENSION unleash_tokens');
make_tokens($node, 100, 'two');
is($session->query_safe('SELECT count(*) FROM secret WHERE try(secret)'), 100, 'a session that knew the old one validates with a new one');
$session->quit;
wait_until_written($node, 'its notes are written');
is($node->safe_psql('two', 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL'), 100, 'all of them');

# PostgreSQL locks what it drops one after the other: a reader may win a
# deadlock, and then there is nothing to do but to ask again.
sub drop_extension
{
	my ($database) = @_;
	my ($status, $stderr);

	for my $try (1 .. 20)
	{
		($status, undef, $stderr) = $node->psql($database, 'DROP EXTENSION unleash_tokens');
		return if $status == 0;
		last unless $stderr =~ /deadlock detected/;
	}
	die "could not drop the extension: $stderr";
}

$load = start_load($node, 'two', 'SELECT try(secret) FROM secret WHERE id = :id');
foreach my $round (1 .. 5)
{
	is_validated_on("round $round: under load");
	drop_extension('two');
	$node->safe_psql('two', 'CREATE EXTENSION unleash_tokens');
	make_tokens($node, 100, 'two');
}
is_validated_on('after it');
is(stop_load($load), '', 'DROP and CREATE EXTENSION under load');
wait_until_written($node, 'the last notes are written');
is(unwritten('two'), 0, 'rightly');

# ---- DROP DATABASE -------------------------------------------------------------

# a worker that is at work does not hinder it for long
make_tokens($node, 30000, 'copy');
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
$load = start_load($node);
is(validate($node, 1, 30000, 'copy'), 30000, 'many notes of a database');
isnt(worker_pid($node, 'copy'), '', 'that are being written');
is($node->psql('postgres', 'DROP DATABASE copy'), 0, 'it is dropped, without FORCE');
is_validated_on('another database validates');
is(stop_load($load), '', 'without an error');
wait_until_written($node, 'no note is left');

# while nothing is written
flush_every($node, 3600);
$node->restart;
is(validate($node, 1, 100, 'one'), 100, 'notes of a database');
is($node->psql('postgres', 'DROP DATABASE one'), 0, 'that is dropped');
is(held($node), 100, 'are still there');
flush_every($node, 1);
wait_until_written($node, 'and go');
is(stat_of($node, 'notes_dropped, last_error IS NULL'), '100|t', 'counted');

# ---- ALTER EXTENSION UPDATE ----------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql('old', q{
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION unleash_tokens VERSION '1.0';
	INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b')});
make_tokens($node, 50, 'old');
$node->safe_psql('old', q{
	SELECT unleash_tokens.create_api_token('{"type": "frontend", "tokenName": "scoped", "projects": ["a", "b"], "expiresAt": "2090-01-01T00:00:00Z"}')});
is(validate($node, 1, 20, 'old'), 20, 'version 1.0: tokens are validated');
wait_until_written($node, 'version 1.0: and the uses written');
my $rows = q{SELECT md5(string_agg(ROW(selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at, expires_at, seen_at, alias, created_by)::text, ',' ORDER BY selector))
	FROM unleash_tokens.api_token};
my $old_rows = $node->safe_psql('old', $rows);
is($node->safe_psql('old', 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL'), 20, 'version 1.0: all of them');
$session = new_session($node, 'old');
$session->query_safe('SELECT unleash_tokens.validate_api_token(secret) FROM secret WHERE id = 1');
wait_until_written($node, 'version 1.0: another use');
$old_rows = $node->safe_psql('old', $rows);
$node->safe_psql('old', 'ALTER EXTENSION unleash_tokens UPDATE');
is($node->safe_psql('old', $rows), $old_rows, 'ALTER EXTENSION UPDATE keeps every row');
is($session->query_safe('SELECT unleash_tokens.validate_api_token(secret) IS NOT NULL FROM secret WHERE id = 21'), 't', 'a session of before goes on');
$session->quit;
isnt(shown($node, 21, 'old'), '', 'the view shows the use');
wait_until_written($node, 'which is written');

$node->stop;
done_testing();
