# A streaming standby validates with the same answers; what is used there is
# told to the primary, which is the only one that writes; nothing that happens
# to the primary, to the line or to the replay stops a validation.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Select;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $roles = abs_path(dirname(__FILE__) . '/../http/roles.sql');
my $long = 3600;    # seconds: as good as never
my $strange = q{a b='c"};    # a database whose name a connection string would trip over

# ---- What the tests are written in ----

# Both servers speak of a token by its selector; the secret is kept here.
my %secret;

sub selector
{
	my ($name) = @_;
	return $1 if $secret{$name} =~ /\.v2_([0-9A-Za-z]{22})_/;
	die "no selector in the secret of $name";
}

sub create
{
	my ($node, $name, $more, $database) = @_;
	$more //= '';
	$secret{$name} = $node->safe_psql($database // 'postgres',
		qq{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "$name"$more}') ->> 'secret'});
	return;
}

sub validate
{
	my ($node, $name, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SELECT unleash_tokens.validate_api_token('$secret{$name}')");
}

sub validates
{
	my ($node, $name, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(validate($node, $name), qr/"tokenName": "$name"/, $what);
}

# When a token was used, to the microsecond: as the view shows it, which knows the notes, and as the table has it.
sub shown
{
	my ($node, $name, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SET TimeZone = 'UTC'; SELECT seen_at FROM unleash_tokens.api_tokens WHERE selector = '" . selector($name) . q{'});
}

sub stored
{
	my ($node, $name, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SET TimeZone = 'UTC'; SELECT seen_at FROM unleash_tokens.api_token WHERE selector = '" . selector($name) . q{'});
}

sub comes_to
{
	my ($node, $query, $expected, $what, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($database // 'postgres', $query, $expected), $what);
}

sub comes_to_show
{
	my ($node, $name, $at, $what, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return comes_to($node,
		"SELECT seen_at = '$at+00' FROM unleash_tokens.api_tokens WHERE selector = '" . selector($name) . q{'},
		't', $what, $database);
}

sub comes_to_store
{
	my ($node, $name, $at, $what, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return comes_to($node,
		"SELECT seen_at = '$at+00' FROM unleash_tokens.api_token WHERE selector = '" . selector($name) . q{'},
		't', $what, $database);
}

# The time is shown without its zone, which is put back above.
sub use_on
{
	my ($node, $name, $database) = @_;
	validate($node, $name, $database);
	my $at = shown($node, $name, $database);
	$at =~ s/\+00$// or die "$name was used and is shown as \"$at\"";
	return $at;
}

sub stat_of
{
	my ($node, $column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM unleash_tokens.stat");
}

# By SIGHUP; a later setting in the same file counts.
sub set
{
	my ($node, $name, $value) = @_;
	$value =~ s/'/''/g;
	$node->append_conf('postgresql.conf', "$name = '$value'");
	$node->reload;
	return;
}

# Nothing happens: there is no event to wait for, only so much time of the server's.
sub let_pass
{
	my ($node, $seconds) = @_;
	my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + '$seconds s'");
	$node->poll_query_until('postgres', "SELECT clock_timestamp() > '$until'");
	return;
}

# One that has gone wrong is told in the view and in the log; validation goes on, and the note is kept.
sub fails_and_keeps
{
	my ($node, $name, $error, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $offset = -s $node->logfile;
	$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
	my $at = use_on($node, $name);
	comes_to($node, "SELECT last_error ~ '$error' FROM unleash_tokens.stat", 't', "$what: the view says so");
	ok(eval { $node->wait_for_log(qr/LOG: .*could not send notes of use to the primary: .*$error/, $offset) }, "$what: the log says so");
	validates($node, $name, "$what: validation goes on");
	is(stat_of($node, 'notes_held > 0 AND flushes = 0 AND last_error_at <= clock_timestamp()'), 't', "$what: the note is kept");
	return shown($node, $name) =~ s/\+00$//r;
}

# ---- A primary and its standby ----

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'unleash_tokens'
unleash_tokens.flush_interval = $long
autovacuum = off
END
$primary->start;
foreach my $database ('postgres', $strange)
{
	my $quoted = $database =~ s/"/""/gr;
	$primary->safe_psql('postgres', qq{CREATE DATABASE "$quoted"}) if $database ne 'postgres';
	$primary->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION unleash_tokens');
	$primary->safe_psql($database, slurp_file($roles));
}
$primary->safe_psql('postgres', q{INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b')});

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', <<'END');
unleash_tokens.flush_interval = 1
wal_retrieve_retry_interval = 100ms
END
$standby->start;

my $to_primary = sprintf "host=%s port=%d user=unleash_tokens_standby", $primary->host, $primary->port;

# ---- The same answers ----

create($primary, 'projects', ', "projects": ["b", "a"], "environment": "production"');
create($primary, 'expires', ', "expiresAt": "2999-12-31T23:59:59Z"');
create($primary, 'expired', ', "expiresAt": "2001-01-01T00:00:00Z"');
create($primary, 'scopeless', ', "projects": ["a"]');
create($primary, 'deleted');
$secret{backend} = $primary->safe_psql('postgres',
	q{SELECT unleash_tokens.create_api_token('{"type": "backend", "tokenName": "backend"}') ->> 'secret'});
$secret{admin} = $primary->safe_psql('postgres',
	q{SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "admin"}') ->> 'secret'});
# by hand, past the trigger that would delete it
$primary->safe_psql('postgres', 'SET session_replication_role = replica; DELETE FROM unleash_tokens.api_token_project WHERE selector = '
	  . "'" . selector('scopeless') . "'");
validate($primary, 'deleted');
$primary->safe_psql('postgres', "SELECT unleash_tokens.delete_api_token('$secret{deleted}')");
$secret{'mistyped'} = $secret{projects} =~ s/(.)$/$1 eq 'x' ? 'y' : 'x'/er;
$secret{'another key'} = '*:development.' . ('0' x 56);
$secret{'empty'} = '';
$primary->wait_for_catchup($standby, 'replay');

my %answer = map { my $name = $_; ($name, validate($primary, $name)) } keys %secret;
is(join(' ', sort grep { $answer{$_} ne '' } keys %answer), 'admin backend expires projects',
	'the primary finds these valid');
is(validate($standby, $_), $answer{$_}, "the same answer on both: $_") foreach sort keys %secret;

my $all = 'SELECT * FROM unleash_tokens.validate_api_tokens(ARRAY['
  . join(', ', map { "'$secret{$_}'" } sort keys %secret) . '])';
my $expected = $primary->safe_psql('postgres', $all);
is(scalar(my @rows = split /\n/, $expected), 4, 'the primary finds four valid at once');
is($standby->safe_psql('postgres', $all), $expected, 'the same answers on both: all at once');
is($standby->safe_psql('postgres', 'SELECT validations, refused_malformed, refused_unknown, refused_expired, refused_scopeless FROM unleash_tokens.stat'),
	$primary->safe_psql('postgres', 'SELECT validations, refused_malformed, refused_unknown, refused_expired, refused_scopeless FROM unleash_tokens.stat')
	  =~ s/^(\d+)/$1 - 1/er, 'the standby counts as the primary does, which validated one more before');
is($standby->safe_psql('postgres', "BEGIN ISOLATION LEVEL REPEATABLE READ; $all; COMMIT"), $expected,
	'the same answers on both: in REPEATABLE READ');
like($standby->safe_psql('postgres', "SELECT backend_type FROM pg_stat_activity WHERE backend_type ~ 'unleash_tokens'"),
	qr/unleash_tokens launcher/, 'the launcher runs on the standby');

my ($code, $out, $err) = $standby->psql('postgres', q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "t"}')});
ok($code != 0 && $err =~ /read-only transaction|during recovery/, 'the standby makes no token');

# ---- Not told where the primary is ----

create($primary, $_) foreach qw(first second third fourth fifth sixth seventh eighth ninth tenth lagging last);
create($primary, 'other', '', $strange);
$primary->wait_for_catchup($standby, 'replay');

my $at = use_on($standby, 'first');
let_pass($standby, 2.5);
is(shown($standby, 'first'), "$at+00", 'not told where the primary is: shown on the standby');
is(shown($primary, 'first'), '', 'not told where the primary is: not shown on the primary');
is(stat_of($standby, 'notes_held > 0 AND flushes = 0 AND last_error IS NULL'), 't', 'not told where the primary is: held, without an error');

$standby->restart;
is(shown($standby, 'first'), "$at+00", 'a restart of the standby loses no note');

# ---- Told ----

set($standby, 'unleash_tokens.primary_conninfo', $to_primary);
comes_to_show($primary, 'first', $at, 'told by SIGHUP: the primary shows the use to the microsecond');
is(stored($primary, 'first'), '', 'the primary has not written it yet');
comes_to($standby, 'SELECT notes_held = 0 AND flushes > 0 AND last_flush IS NOT NULL AND last_error IS NULL FROM unleash_tokens.stat', 't',
	'the standby is done with its notes');
is(shown($standby, 'first'), "$at+00", 'the standby goes on to show what it has sent');

set($primary, 'unleash_tokens.flush_interval', 1);
comes_to_store($primary, 'first', $at, 'the primary writes it');
comes_to_store($standby, 'first', $at, 'the table of the standby gets it');
is(shown($standby, 'first'), "$at+00", '... and its view shows the same');

my $here = use_on($standby, 'second');
my $there = use_on($primary, 'second');
ok($here lt $there, 'used on both, on the primary last');
comes_to($standby, 'SELECT notes_held = 0 FROM unleash_tokens.stat', 't', 'the standby has sent its note');
comes_to_store($primary, 'second', $there, 'the newer use counts');
$here = use_on($standby, 'second');
ok($there lt $here, 'used on the standby after that');
comes_to_store($primary, 'second', $here, 'now that one counts');

$at = use_on($standby, 'other', $strange);
comes_to_store($primary, 'other', $at, 'a use in another database goes to the database of the same name', $strange);

# ---- What the standby may do on the primary ----

is($primary->safe_psql('postgres', q{
	SELECT string_agg(p.oid::regprocedure::text, ' ') FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
	WHERE n.nspname = 'unleash_tokens' AND has_function_privilege('unleash_tokens_standby', p.oid, 'EXECUTE')
		AND NOT has_function_privilege('public', p.oid, 'EXECUTE')}),
	'unleash_tokens.note_usage(text[],timestamp with time zone[],bytea[])', 'its role may execute one function, beside those for everybody');
is($primary->safe_psql('postgres', q{
	SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE n.nspname = 'unleash_tokens' AND CASE c.relkind
		WHEN 'S' THEN has_sequence_privilege('unleash_tokens_standby', c.oid, 'USAGE, SELECT, UPDATE')
		WHEN 'i' THEN false
		ELSE has_any_column_privilege('unleash_tokens_standby', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
			OR has_table_privilege('unleash_tokens_standby', c.oid, 'DELETE, TRUNCATE, TRIGGER') END}),
	0, 'and nothing with tables, views and sequences');
is($primary->safe_psql('postgres', q{
	SELECT rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls,
		EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid)
	FROM pg_roles AS r WHERE rolname = 'unleash_tokens_standby'}), 't|f|f', 'its role may log in, and is nothing and no member of anything');

sub as_standby
{
	my ($query) = @_;
	return $primary->psql('postgres', $query, connstr => $primary->connstr('postgres') . ' user=unleash_tokens_standby');
}
foreach my $query ("SELECT unleash_tokens.validate_api_token('$secret{admin}')", 'SELECT unleash_tokens.get_all_api_tokens()',
	'SELECT unleash_tokens.rest_api()', 'SELECT unleash_tokens.stat_reset()', 'SELECT * FROM unleash_tokens.stat',
	'TABLE unleash_tokens.api_tokens', 'TABLE unleash_tokens.api_token', 'TABLE unleash_tokens.api_token_event',
	'DELETE FROM unleash_tokens.api_token', 'CREATE TABLE unleash_tokens.mine ()', 'SET ROLE unleash_tokens_admin')
{
	($code, $out, $err) = as_standby($query);
	ok($code != 0 && $err =~ /permission denied/ && $out eq '', 'its role is refused: ' . $query =~ s/\('.*'\)/(...)/r);
}

# ---- Times that cannot be ----

set($primary, 'unleash_tokens.flush_interval', $long);
sub note_use
{
	my ($name, $time) = @_;
	($code, $out, $err) = as_standby("SELECT unleash_tokens.note_usage(ARRAY['" . selector($name) . "'], ARRAY[$time]::timestamptz[])");
	return "$code $out";
}
foreach my $time (q{now() + interval '1 day'}, q{'200000-01-01'})
{
	my $name = $time =~ /now/ ? 'third' : 'fourth';
	my $before = $primary->safe_psql('postgres', "SET TimeZone = 'UTC'; SELECT clock_timestamp()");
	is(note_use($name, $time), '0 1', "a use at $time is taken");
	is($primary->safe_psql('postgres', "SELECT seen_at BETWEEN '$before' AND clock_timestamp() FROM unleash_tokens.api_tokens WHERE selector = '"
		  . selector($name) . q{'}), 't', '... for one of now');
}
$at = shown($primary, 'third');
is(note_use('third', q{'2001-01-01'}), '0 1', 'an older use is taken');
is(shown($primary, 'third'), $at, '... and changes nothing');
is(note_use('fifth', $_), '0 0', "a use at $_ is not taken") foreach 'NULL', q{'infinity'}, q{'-infinity'}, q{'4000-01-01 BC'};
is(shown($primary, 'fifth'), '', '... and not shown');
($code, $out, $err) = as_standby(q{SELECT unleash_tokens.note_usage(ARRAY[NULL, '', 'short', repeat('.', 22), repeat('x', 23)], array_fill(now(), ARRAY[5]))});
is("$code $out", '0 0', 'what is no selector is not taken');
($code, $out, $err) = as_standby(q{SELECT unleash_tokens.note_usage(ARRAY['a', 'b'], ARRAY[now()])});
ok($code != 0 && $err =~ /must be of the same length/, 'arrays of different lengths are an error');
is(as_standby(q{SELECT unleash_tokens.note_usage('{}', '{}')}), 0, 'no notes at all are none');

# that a strange note is not in the way of the others
$at = use_on($primary, 'tenth');
$primary->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
set($primary, 'unleash_tokens.flush_interval', 1);
comes_to_store($primary, 'tenth', $at, 'after all that, the primary writes');
comes_to($primary, 'SELECT notes_held = 0 AND last_error IS NULL FROM unleash_tokens.stat', 't', '... everything, without an error');

# ---- A wrong address, a wrong role, and one who never answers ----

set($standby, 'unleash_tokens.primary_conninfo', "$to_primary port=1");
$at = fails_and_keeps($standby, 'sixth', 'connection to server .* failed', 'a wrong address');
set($standby, 'unleash_tokens.primary_conninfo', 'somewhere');
$at = fails_and_keeps($standby, 'sixth', 'is not a connection string', 'no address at all');
set($standby, 'unleash_tokens.primary_conninfo', "$to_primary user=unleash_tokens_authenticator");
$at = fails_and_keeps($standby, 'sixth', 'permission denied', 'a wrong role');
is(shown($primary, 'sixth'), '', 'nothing has arrived');
set($standby, 'unleash_tokens.primary_conninfo', $to_primary);
comes_to_store($primary, 'sixth', $at, 'put right, it arrives');

# It takes the connection and says nothing.
my $silent_dir = PostgreSQL::Test::Utils::tempdir_short();
my $silent = IO::Socket::UNIX->new(Local => "$silent_dir/.s.PGSQL.5432", Listen => 10) or die "cannot listen: $!";
my $offset = -s $standby->logfile;
my $worker = q{FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker'};
set($standby, 'unleash_tokens.primary_conninfo', "$to_primary host=$silent_dir port=5432");
$at = use_on($standby, 'seventh');
comes_to($standby, "SELECT count(*) $worker AND wait_event_type = 'Extension'", 1, 'who never answers: the worker waits');
is($standby->safe_psql('postgres', "SELECT backend_xmin IS NULL $worker"), 't',
	'... without a snapshot, so that the replay need not wait for it');
validates($standby, 'seventh', '... validation goes on');
my $pid = $standby->safe_psql('postgres', "SELECT pid $worker");
$standby->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 5000)");
comes_to($standby, "SELECT count(*) = 0 $worker AND pid = $pid", 't', '... told to stop, the worker stops');
comes_to($standby, q{SELECT last_error ~ 'did not answer in time' FROM unleash_tokens.stat}, 't', '... and gives up after a while by itself');
ok(eval { $standby->wait_for_log(qr/did not answer in time/, $offset) }, '... the log says so');
$at = shown($standby, 'seventh') =~ s/\+00$//r;
set($standby, 'unleash_tokens.primary_conninfo', $to_primary);
comes_to_store($primary, 'seventh', $at, '... put right, it arrives');

# The first of several says nothing: the next is asked, as libpq does it with connect_timeout for who waits in PQconnectdb().
my ($primary_host, $primary_port) = ($primary->host, $primary->port);
set($standby, 'unleash_tokens.primary_conninfo',
	"$to_primary host=$silent_dir,$silent_dir,$primary_host port=5432,5432,$primary_port target_session_attrs=read-write");
$at = use_on($standby, 'seventh');
comes_to_store($primary, 'seventh', $at, 'the first of several hosts never answers: it arrives all the same');
set($standby, 'unleash_tokens.primary_conninfo', "$to_primary host=$silent_dir,$primary_host port=1,2,3");
$at = fails_and_keeps($standby, 'seventh', 'could not match 3 port numbers to 2 hosts', 'hosts and ports that do not fit: libpq says so');
set($standby, 'unleash_tokens.primary_conninfo', $to_primary);
comes_to_store($primary, 'seventh', $at, '... put right, it arrives');
close $silent;

# It hangs up on everybody.  Six batches wait; tried are as many as have had the time.
my $rude = IO::Socket::UNIX->new(Local => "$silent_dir/.s.PGSQL.5433", Listen => 100) or die "cannot listen: $!";
set($standby, 'unleash_tokens.primary_conninfo', "$to_primary host=$silent_dir port=5433");
is($standby->safe_psql('postgres', q{
	SELECT unleash_tokens.note_usage(array_agg(lpad(i::text, 22, 'x')), array_agg(clock_timestamp())) FROM generate_series(1, 3000) AS i}), 3000,
	'who hangs up: many notes');
my ($attempts, $end) = (0, time + 8);
while (time < $end)
{
	next unless IO::Select->new($rude)->can_read(0.1);
	$rude->accept->close;
	$attempts++;
}
cmp_ok($attempts, '>=', 2, "... is tried again ($attempts times)");
cmp_ok($attempts, '<=', 5, '... after one second, then two, then four');
close $rude;
$offset = -s $primary->logfile;
set($primary, 'log_connections', 'on');
set($standby, 'unleash_tokens.primary_conninfo', $to_primary);
comes_to($standby, 'SELECT notes_held = 0 FROM unleash_tokens.stat', 't', '... put right, all arrive');
my $connections = () = substr(slurp_file($primary->logfile), $offset) =~ /connection authorized: user=unleash_tokens_standby/g;
cmp_ok($connections, '>=', 1, '... by a connection');
cmp_ok($connections, '<=', 3, "... of a worker, not of a batch ($connections for six batches)");
set($primary, 'log_connections', 'off');

# ---- The replay lags ----

set($primary, 'unleash_tokens.flush_interval', 1);
create($primary, 'doomed');
$primary->wait_for_catchup($standby, 'replay');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
comes_to($standby, 'SELECT pg_get_wal_replay_pause_state()', 'paused', 'the replay is paused');
$primary->safe_psql('postgres', "SELECT unleash_tokens.delete_api_token('$secret{doomed}')");
create($primary, 'born late');
validates($standby, 'doomed', 'lagging: what is deleted on the primary is valid here');
is(validate($primary, 'doomed'), '', '... and not there');
is(validate($standby, 'born late'), '', '... what was made there is not known here');
$at = use_on($standby, 'lagging');
comes_to_store($primary, 'lagging', $at, '... uses arrive all the same, and are written');
is(stored($standby, 'lagging'), '', '... the standby does not have that yet');
is(shown($standby, 'lagging'), "$at+00", '... and shows it');
comes_to($primary, 'SELECT notes_held = 0 FROM unleash_tokens.stat', 't', '... the use of what is deleted leaves nothing behind on the primary');
is($primary->safe_psql('postgres', "SELECT count(*) FROM unleash_tokens.api_token WHERE selector = '" . selector('doomed') . q{'}), 0, '... and does not bring it back');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$primary->wait_for_catchup($standby, 'replay');
is(validate($standby, 'doomed'), '', 'replayed: what is deleted is refused');
validates($standby, 'born late', '... what was made is valid');
comes_to_store($standby, 'lagging', $at, '... and the use comes to the table');

# ---- The primary waits until the standby has replayed ----

set($primary, 'synchronous_standby_names', $standby->name);
comes_to($primary, q{SELECT sync_state FROM pg_stat_replication}, 'sync', 'the standby is a synchronous one');
set($primary, 'synchronous_commit', 'remote_apply');
comes_to($primary, 'SHOW synchronous_commit', 'remote_apply', 'remote_apply');
my $wrong = 0;
foreach (1 .. 30)
{
	create($primary, 'brief');
	$wrong++ if validate($standby, 'brief') eq '';
	$primary->safe_psql('postgres', "SELECT unleash_tokens.delete_api_token('$secret{brief}')");
	$wrong++ if validate($standby, 'brief') ne '';
}
is($wrong, 0, 'remote_apply: a token made and deleted counts on the standby when the primary has answered, 30 times');

create($primary, 'doomed');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
comes_to($standby, 'SELECT pg_get_wal_replay_pause_state()', 'paused', 'remote_apply: the replay is paused');
my $session = $primary->background_psql('postgres', on_error_stop => 1);
$session->query_until(qr/deleting/, "\\echo deleting\nSELECT unleash_tokens.delete_api_token('$secret{doomed}');\n");
comes_to($primary, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query ~ 'delete_api_token'}, 1,
	'... the deletion waits');
validates($standby, 'doomed', '... the token is valid here meanwhile');
$at = use_on($standby, 'eighth');
comes_to_store($primary, 'eighth', $at, '... the primary writes uses without waiting');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is($session->query('SELECT 1'), "t\n1", '... replayed, the deletion is answered');
is(validate($standby, 'doomed'), '', '... and the token refused here at once');
$session->quit;
set($primary, 'synchronous_standby_names', '');
comes_to($primary, q{SELECT sync_state FROM pg_stat_replication}, 'async', 'no synchronous standby any more');

# ---- The primary stops, and comes back ----

$primary->wait_for_catchup($standby, 'replay');
$primary->stop;
$at = fails_and_keeps($standby, 'ninth', 'connection to server .* failed', 'the primary is stopped');
is(validate($standby, 'doomed'), '', '... refusals go on too');
$primary->start;
comes_to_store($primary, 'ninth', $at, 'the primary is back: it arrives');
comes_to($standby, 'SELECT notes_held = 0 AND flushes > 0 AND last_flush > last_error_at FROM unleash_tokens.stat', 't',
	'... and the view of the standby says when it last went well');

# ---- Promotion ----

$primary->wait_for_catchup($standby, 'replay');
set($primary, 'unleash_tokens.flush_interval', $long);
set($standby, 'unleash_tokens.flush_interval', $long);
comes_to($standby, 'SHOW unleash_tokens.flush_interval', '1h', 'no rounds any more');
$at = use_on($standby, 'last');
$primary->stop('immediate');
is(stored($standby, 'last'), '', 'a use that was not sent');
$standby->promote;
is(shown($standby, 'last'), "$at+00", 'promoted: shown as before');
set($standby, 'unleash_tokens.flush_interval', 1);
comes_to_store($standby, 'last', $at, 'promoted: the server writes by itself, though it was told of a primary');
create($standby, 'new');
$at = use_on($standby, 'new');
comes_to_store($standby, 'new', $at, 'promoted: a new token, used and written');
$standby->safe_psql('postgres', "SELECT unleash_tokens.delete_api_token('$secret{new}')");
is(validate($standby, 'new'), '', 'promoted: deleted and refused');

$standby->stop;
done_testing();
