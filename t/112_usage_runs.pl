# Workers that fail, hang or cannot be started, databases that come and go, and
# more of them than worker slots: nothing is tried in a loop, none is left out,
# and nobody waits for a worker of ours.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

# Places for the launchers, this one and that of logical replication, and one worker.
my $node = new_server('runs', 'unleash_tokens.flush_interval = 1', 'unleash_tokens.usage_slots = 64',
	'max_worker_processes = 3', 'max_connections = 20');

sub new_database
{
	my ($database, $tokens) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION unleash_tokens CASCADE');
	make_tokens($node, $tokens, $database);
	return;
}

# So much time of the server's, whatever happens in it.
sub let_pass
{
	my ($seconds) = @_;
	my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + '$seconds s'");

	$node->poll_query_until('postgres', "SELECT clock_timestamp() > '$until'");
	return;
}

sub count_log
{
	my ($pattern, $offset) = @_;
	return scalar(() = substr(slurp_file($node->logfile), $offset) =~ /$pattern/g);
}

# ---- A write that fails -----------------------------------------------------------

make_tokens($node, 60);
$node->safe_psql('postgres', q{
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full USING MESSAGE = 'no space left'; END $$;
	CREATE TRIGGER fail BEFORE UPDATE ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION fail()});
my $offset = -s $node->logfile;
validate($node, 1, 60);
wait_for_error($node, 'no space left', 'more than half full, and a trigger that raises');
let_pass(6);
my $failures = count_log(qr/ERROR:  no space left/, $offset);
cmp_ok($failures, '>=', 2, 'it is tried again');
cmp_ok($failures, '<=', 4, 'after one second, then two, then four');
cmp_ok(held($node), '>', 32, 'the notes stay');
$offset = -s $node->logfile;
$node->reload;
ok(eval { $node->wait_for_log(qr/ERROR:  no space left/, $offset) }, 'a reload has it tried at once');
$node->safe_psql('postgres', 'DROP FUNCTION fail CASCADE');
$node->reload;
wait_until_written($node, 'mended, all is written');

# one row of many
$node->append_conf('postgresql.conf', "unleash_tokens.usage_slots = 65536\n");
$node->restart;
make_tokens($node, 3000);
$node->safe_psql('postgres', q{
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
	CREATE TRIGGER fail BEFORE UPDATE ON unleash_tokens.api_token FOR EACH ROW
		WHEN (old.token_name = 'token 1500') EXECUTE FUNCTION fail()});
validate($node, 1, 3000);
ok( $node->poll_query_until('postgres', 'SELECT count(*) >= 2500 FROM secret JOIN unleash_tokens.api_token USING (selector) WHERE seen_at IS NOT NULL'),
	'a row that raises keeps those of its own batch from being written, and no others');
is(stored($node, 1500), '', 'that one is not written');
wait_for_error($node, 'not this one', 'and this is told');
$node->safe_psql('postgres', 'DROP FUNCTION fail CASCADE');
$node->reload;
wait_until_written($node, 'mended, all are written');

# ---- A worker that hangs ------------------------------------------------------------

new_database('one', 100);
hold_workers($node, 'one');
is(validate($node, 1, 100, 'one'), 100, 'notes of a database');
isnt(worker_pid($node, 'one'), '', 'whose worker hangs in a trigger');
is($node->psql('postgres', 'CREATE DATABASE copy TEMPLATE one'), 0, 'another one is made of it');
is($node->psql('postgres', 'DROP DATABASE one'), 0, 'it is dropped, without FORCE');
wait_until_written($node, 'its notes go');
is($node->safe_psql('copy', 'SELECT count(*) FROM unleash_tokens.api_tokens WHERE seen_at IS NOT NULL'), 0, 'the other one has none of its notes');
release_workers($node, 'copy');
is(validate($node, 1, 10, 'copy'), 10, 'and has its own');
wait_until_written($node, 'which are written');
is($node->safe_psql('copy', 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL'), 10, 'all of them');
$node->safe_psql('copy', 'DROP FUNCTION hold CASCADE');

# each batch takes so long that the pause after it would outlast the worker, and so short that a busy machine ends it in time
$node->safe_psql('copy', q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END $$;
	CREATE TRIGGER slow BEFORE UPDATE ON unleash_tokens.api_token EXECUTE FUNCTION slow()});
make_tokens($node, 5000, 'copy');
is(validate($node, 1, 5000, 'copy'), 5000, 'many notes');
my $slow = worker_pid($node, 'copy');
isnt($slow, '', 'of a database whose worker is slow');
# gone, or at rest for a second
my $ended = q{SELECT count(*) FILTER (WHERE state IS DISTINCT FROM 'idle' OR state_change > clock_timestamp() - interval '1 s') = 0
	FROM pg_stat_activity WHERE pid = } . $slow;
ok($node->poll_query_until('postgres', $ended), 'its batch ends');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $slow"), 0, 'it leaves rather than to rest for long');
isnt(worker_pid($node, 'copy'), '', 'another one goes on');
is($node->psql('postgres', 'DROP DATABASE copy'), 0, 'it is dropped, without FORCE');
wait_until_written($node, 'its notes go');

# ---- A worker that waits for a lock ---------------------------------------------------

new_database('one', 100);
my $locker = new_session($node, 'one');
my $waiting = q{SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
	WHERE NOT l.granted AND a.backend_type = 'unleash_tokens flush worker'};
$locker->query_safe('BEGIN; LOCK TABLE unleash_tokens.api_token IN SHARE MODE');
is(validate($node, 1, 100, 'one'), 100, 'notes of a database');
ok($node->poll_query_until('postgres', $waiting), 'whose worker waits for the table');
$locker->quit;
is($node->psql('postgres', 'DROP DATABASE one'), 0, 'it is dropped, without FORCE');
wait_until_written($node, 'its notes go');

# it waits before it is anybody: for the database itself
new_database('one', 100);
my $one = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'one'});
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
$node->safe_psql('postgres', 'ALTER SYSTEM SET unleash_tokens.flush_interval = 3600');
$node->reload;
is(validate($node, 1, 100, 'one'), 100, 'notes of a database');
$locker = new_session($node, 'postgres');
$locker->query_safe('BEGIN; ALTER DATABASE one RENAME TO two');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET unleash_tokens.flush_interval');
$node->reload;
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND classid = 'pg_database'::regclass AND objid = $one"),
	'the worker waits for the database');
is(validate($node, 1, 100), 100, 'notes of another one');
wait_until_written_in($node, 'postgres', 'are written meanwhile');
$locker->query_safe('COMMIT');
is($node->psql('postgres', 'DROP DATABASE two'), 0, 'it can be dropped when the lock is gone');
$locker->quit;
wait_until_written($node, 'its notes go');

# ---- A database that is invalid, and one that allows no connections -----------------------

new_database('broken', 50);
new_database('closed', 50);
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset(); ALTER SYSTEM SET unleash_tokens.flush_interval = 3600');
$node->reload;
is(validate($node, 1, 50, $_), 50, "notes of database $_") foreach 'broken', 'closed';
$node->safe_psql('postgres', q{
	UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken';
	ALTER DATABASE closed ALLOW_CONNECTIONS false;
	ALTER SYSTEM RESET unleash_tokens.flush_interval});
$offset = -s $node->logfile;
$node->reload;
wait_until_written($node, 'a DROP DATABASE that was cut off, and a database that allows no connections');
is(stat_of($node, 'notes_dropped'), 50, 'the notes of the first one are dropped and counted');
wait_for_error($node, 'database "broken" is invalid', 'and this is told');
is(count_log(qr/FATAL/, $offset), 0, 'no worker has tried to connect to it');
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
is($node->safe_psql('closed', 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL'), 50, 'those of the other one are written');
is($node->psql('postgres', "DROP DATABASE $_"), 0, "database $_ is dropped") foreach 'broken', 'closed';

# ---- A worker that never started -----------------------------------------------------

SKIP:
{
	my $postmaster = $node->{_pid};

	skip 'no prlimit, or no right to use it', 6
	  if system("prlimit --pid $postmaster --nproc >/dev/null 2>&1") != 0;
	my $session = new_session($node, 'postgres');
	my $hard = `prlimit --pid $postmaster --nproc --output HARD --noheadings --raw`;
	my $soft = `prlimit --pid $postmaster --nproc --output SOFT --noheadings --raw`;
	chomp($hard, $soft);
	$session->query_safe('SELECT unleash_tokens.stat_reset()');
	$offset = -s $node->logfile;
	system_or_bail('prlimit', '--pid', $postmaster, "--nproc=1:$hard");
	is( $session->query_safe('SELECT count(*) FROM unleash_tokens.validate_api_tokens(ARRAY(SELECT secret FROM secret WHERE id <= 100))'),
		100, 'the server can start no process: tokens are validated');
	my $told = '';
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$told = $session->query_safe(q{SELECT coalesce(last_error, '') FROM unleash_tokens.stat, pg_sleep(0.1)});
		last if $told ne '';
	}
	like($told, qr/worker of database "postgres" could not be started/, 'that there is no worker is told');
	$session->query_safe('SELECT pg_sleep(5)');
	my $tried = count_log(qr/could not fork/, $offset);
	cmp_ok($tried, '<=', 4, 'it is not tried in a loop');
	is($session->query_safe('SELECT notes_held FROM unleash_tokens.stat'), 100, 'the notes stay');
	system_or_bail('prlimit', '--pid', $postmaster, "--nproc=$soft:$hard");
	$session->quit;
	wait_until_written($node, 'when it can again they are written');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM secret JOIN unleash_tokens.api_token USING (selector) WHERE id <= 100 AND seen_at IS NULL'), 0, 'all of them');
}

# ---- The launcher is killed while the only slot is taken -----------------------------------

$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->restart;
new_database('one', 10);
hold_workers($node, 'one');
my $launcher = launcher_pid($node);
is(validate($node, 1, 10, 'one'), 10, 'notes of a database');
isnt(worker_pid($node, 'one'), '', 'whose worker has the only slot, and hangs');
is(kill('TERM', $launcher), 1, 'the launcher is killed');
isnt(launcher_pid($node, $launcher), '', 'there is another one');
is(validate($node, 1, 100), 100, 'notes of another database');
wait_until_written_in($node, 'postgres', 'are written');
release_workers($node, 'one');
$node->safe_psql('one', 'DROP FUNCTION hold CASCADE');
wait_until_written($node, 'and those of the first one, when its worker hangs no more');

# ---- More databases than slots, all in use -----------------------------------------------

my @databases = ('postgres', 'one', 'two', 'three');
new_database($_, 200) foreach 'two', 'three';
make_tokens($node, 200, $_) foreach 'postgres', 'one';
my @loads = map { start_load($node, $_) } @databases;
my $since = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
foreach my $database (@databases, @databases)
{
	ok( $node->poll_query_until($database, "SELECT max(seen_at) > '$since' FROM unleash_tokens.api_token"),
		"one worker slot, four databases in use: $database has its turn");
	$since = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
}
my $slots = q{SELECT status || ' ' || (detail ~ 'have waited') FROM unleash_tokens.doctor() WHERE check_name = 'worker_slots'};
ok($node->poll_query_until('postgres', $slots, 'warning true'), 'doctor() sees that databases have waited for three intervals');
is(stop_load($_), '', 'without an error') foreach @loads;
wait_until_written($node, 'all is written in the end');
ok($node->poll_query_until('postgres', $slots, 'ok false'), 'and that none waits any more');

$node->stop;
done_testing();
