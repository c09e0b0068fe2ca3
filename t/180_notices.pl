# Copyright (c) 2026, unleash_tokens contributors

# Who is told that a token is about to expire: once for each number of days, in events and by NOTIFY, whatever happens to workers,
# server and databases, and whichever server takes over.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

my $node = new_server('notices', 'restart_after_crash = on');

# Tokens in one row each: name and life from now on.
sub make
{
	my ($server, $database, %lives) = @_;

	$server->safe_psql($database, join ";\n", map { qq{
		INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
		SELECT left(translate(encode(sha256(n::bytea), 'base64'), '+/', '-_'), 22), sha256(n::bytea), n, 'client', 'development', true, now(), clock_timestamp() + $lives{$_}
		FROM (SELECT '$_' AS n) AS v} } sort keys %lives);
	return;
}

# The notices of a database: name and days.
sub told
{
	my ($server, $database) = @_;

	return $server->safe_psql($database, q{SELECT coalesce(string_agg(token_name || ' ' || (data ->> 'days'), ', ' ORDER BY token_name, (data ->> 'days')::int), '')
		FROM unleash_tokens.api_token_events WHERE type = 'api-token-expiring'});
}

# Let time pass: tokens and what was told of lie so much earlier.
sub let_pass
{
	my ($server, $database, $interval) = @_;

	$server->safe_psql($database, qq{BEGIN;
		UPDATE unleash_tokens.api_token SET created_at = created_at - interval '$interval', expires_at = expires_at - interval '$interval';
		UPDATE unleash_tokens.expiry_notice SET up_to = up_to - interval '$interval'; COMMIT});
	return;
}

# Have the databases looked at, and wait until all numbers of days are done with.
sub look
{
	my ($server, @databases) = @_;

	$server->reload;
	foreach my $database (@databases)
	{
		$server->poll_query_until($database, q{SELECT count(*) = cardinality(unleash_tokens.get_notice_days())
			AND bool_and(selector = '' AND up_to > clock_timestamp() + make_interval(hours => 24 * days) - interval '29 min')
			FROM unleash_tokens.expiry_notice WHERE days = ANY (unleash_tokens.get_notice_days())})
		  or die "database $database was not looked at";
	}
	return;
}

sub set_days
{
	my ($server, $days) = @_;

	$server->safe_psql('postgres', "ALTER SYSTEM SET unleash_tokens.expiry_notice = '$days'");
	return;
}

my %lives = (hours => "interval '12 hours'", day => "interval '23 hours 59 min'", days => "interval '3 days'", weeks => "interval '20 days'",
	months => "interval '40 days'", expired => "interval '-1 minute'", never => 'NULL');

# ---- A first look ----

$node->safe_psql('postgres', "CREATE DATABASE $_") foreach 'two', 'bare', 'old';
$node->safe_psql('two', 'CREATE EXTENSION unleash_tokens');
$node->safe_psql('old', 'CREATE EXTENSION pgcrypto; CREATE EXTENSION unleash_tokens VERSION \'1.0\'');
make($node, 'postgres', %lives);
make($node, 'two', hours => "interval '5 days'");

my $listener = new_session($node, 'postgres');
$listener->query_safe('LISTEN unleash_tokens');

# What the listener has heard since.
sub heard
{
	my @messages;

	for (1 .. 50)
	{
		my $said = $listener->query_safe('SELECT pg_sleep(0.02)');

		push @messages, $said =~ /Asynchronous notification "unleash_tokens" with payload "(.*)" received/g;
	}
	return @messages;
}
is_deeply([ heard() ], [], 'no days, no notice');
is(told($node, 'postgres'), '', 'no event either');
is($node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.expiry_notice'), 0, 'nobody has looked');

set_days($node, '1,7,30');
look($node, 'postgres', 'two');
is(told($node, 'postgres'), 'day 1, days 7, hours 1, weeks 30', 'one notice each, for the fewest days that apply; none for who never expires, or has');
is(told($node, 'two'), 'hours 7', 'in another database too, where no token was ever used');
my @messages = heard();
is(scalar(@messages), 4, 'a listener hears each');
is($node->safe_psql('postgres', sprintf q{SELECT count(*) FROM (VALUES %s) AS m (j), LATERAL (SELECT j::jsonb AS m) AS p
	JOIN unleash_tokens.api_token AS t ON t.selector = p.m ->> 'selector' AND t.token_name = p.m ->> 'tokenName'
		AND date_trunc('milliseconds', t.expires_at) = (p.m ->> 'expiresAt')::timestamptz
	JOIN unleash_tokens.api_token_event AS e ON e.selector = t.selector AND e.data = jsonb_build_object('days', p.m -> 'days', 'expiresAt', p.m -> 'expiresAt')
	WHERE p.m ->> 'type' = 'api-token-expiring' AND p.m - '{type,days,selector,tokenName,expiresAt}'::text[] = '{}'}, join(', ', map { "('$_')" } @messages)),
	4, '... of which token, when it expires and in how many days; the event says the same');
is($node->safe_psql('postgres', q{SELECT DISTINCT concat_ws('|', actor, actor_selector, pre_data) FROM unleash_tokens.api_token_events WHERE type = 'api-token-expiring'}),
	'unleash_tokens worker', 'whom the events name');
is(stat_of($node, 'last_error'), '', 'databases without the extension, or with the tables of 1.0, are no fault');

# ---- Once ----

$node->reload foreach 1 .. 3;
$node->restart;
let_pass($node, 'postgres', '1 hour');
look($node, 'postgres', 'two');
is(told($node, 'postgres'), 'day 1, days 7, hours 1, weeks 30', 'neither a reload nor a restart repeats one');
$listener = new_session($node, 'postgres');
$listener->query_safe('LISTEN unleash_tokens');
make($node, 'postgres', late => "interval '5 days'");
let_pass($node, 'postgres', '1 hour');
look($node, 'postgres');
unlike(told($node, 'postgres'), qr/late/, 'a token that is made with less time than that has no notice for it');
let_pass($node, 'postgres', '4 days 10 hours');
look($node, 'postgres');
is(told($node, 'postgres'), 'day 1, days 7, hours 1, late 1, weeks 30', '... and one for fewer days');
let_pass($node, 'postgres', '9 days');
look($node, 'postgres');
is(told($node, 'postgres'), 'day 1, days 7, hours 1, late 1, months 30, weeks 7, weeks 30', 'later ones come when it is time');
$node->safe_psql('postgres', q{UPDATE unleash_tokens.api_token SET expires_at = expires_at + interval '90 days' WHERE token_name = 'weeks'});
let_pass($node, 'postgres', '70 days');
look($node, 'postgres');
is(told($node, 'postgres'), 'day 1, days 7, hours 1, late 1, months 30, weeks 7, weeks 30, weeks 30', 'a token that got more time has them anew; who expired while nobody looked has none');
is(scalar(heard()), 4, 'a listener has heard these');

# ---- Messages ----

$node->safe_psql('postgres', 'DELETE FROM unleash_tokens.api_token; DELETE FROM unleash_tokens.api_token_event');
$node->safe_psql('postgres', qq{INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
	SELECT 'long' || repeat('0', 18), sha256('long'), repeat(U&'\\0001"\\\\', 10) || repeat('x', 400) || repeat(U&'\\0001', 500) || repeat('é', 4000), 'client', 'development', true, now(), now() + interval '26 hours'});
let_pass($node, 'postgres', '3 hours');
look($node, 'postgres');
@messages = heard();
is(scalar(@messages), 1, 'a name that is longer than a message may be');
is($node->safe_psql('postgres', qq{SELECT starts_with(token_name, m ->> 'tokenName') AND octet_length(m ->> 'tokenName') BETWEEN 998 AND 1000
	FROM unleash_tokens.api_token, (SELECT \$m\$$messages[0]\$m\$::jsonb AS m) AS m}), 't', '... is cut, between characters');
$node->safe_psql('postgres', q{INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
	SELECT 'many' || lpad(i::text, 18, '0'), sha256(i::text::bytea), 'many', 'client', 'development', true, now(), now() + interval '8 days' FROM generate_series(1, 1250) AS i});
let_pass($node, 'postgres', '30 hours');
look($node, 'postgres');
@messages = heard();
is(join(', ', map { /"days":(\d+),"count":(\d+),"firstEvent":\d+,"lastEvent":\d+\}$/ ? "$1 $2" : $_ } @messages), '7 500, 7 500, 7 250', 'of many there is one message for each batch');
is($node->safe_psql('postgres', sprintf q{SELECT string_agg((SELECT count(*) FROM unleash_tokens.api_token_events AS e WHERE e.type = 'api-token-expiring'
		AND e.id BETWEEN (m ->> 'firstEvent')::bigint AND (m ->> 'lastEvent')::bigint)::text, ' ') FROM (VALUES %s) AS v (t), LATERAL (SELECT t::jsonb) AS j (m)},
	join(', ', map { "('$_')" } @messages)), '500 500 250', '... that names their events');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT selector) FROM unleash_tokens.api_token_events WHERE token_name = 'many'}), '1250|1250', 'each token has its own');

# ---- Who keeps an event from being written ----

$node->safe_psql('postgres', q{DELETE FROM unleash_tokens.api_token; DELETE FROM unleash_tokens.api_token_event;
	CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
	CREATE TRIGGER swallow BEFORE INSERT ON unleash_tokens.api_token_event FOR EACH ROW WHEN (NEW.token_name = 'weeks') EXECUTE FUNCTION swallow()});
make($node, 'postgres', weeks => "interval '31 days'", month => "interval '30 days 12 hours'");
let_pass($node, 'postgres', '1 day 1 hour');
$node->reload;
wait_for_error($node, 'a row of unleash_tokens was not written', 'a row that a trigger swallows is an error');
is(told($node, 'postgres'), '', 'nothing is taken for told');
is(scalar(heard()), 0, 'and nobody hears of it');
$node->safe_psql('postgres', 'DROP FUNCTION swallow CASCADE; SELECT unleash_tokens.stat_reset()');
look($node, 'postgres');
is(told($node, 'postgres'), 'month 30, weeks 30', 'mended, all are told');
is(scalar(heard()), 2, '... the listener too');

# ---- Kills, crashes, DROP DATABASE ----

my $seven = 12000;
$node->safe_psql('postgres', qq{DELETE FROM unleash_tokens.api_token; DELETE FROM unleash_tokens.api_token_event;
	INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
	SELECT 'same' || lpad(i::text, 18, '0'), sha256(i::text::bytea), 'same', 'client', 'development', true, now(), date_trunc('day', now()) + interval '8 days' FROM generate_series(1, $seven) AS i});
let_pass($node, 'postgres', '1 day 12 hours');
$node->reload;
my ($begun, $stops) = (0, 0);
foreach my $stop (qw(TERM KILL TERM KILL immediate launcher TERM))
{
	$node->poll_query_until('postgres', "SELECT count(*) > $begun FROM unleash_tokens.api_token_event") or last;
	$begun = $node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token_event');
	last if $begun == $seven;
	if ($stop eq 'immediate') { $node->stop('immediate'); $node->start; $stops++; }
	elsif ($stop eq 'launcher') { kill 'TERM', launcher_pid($node); $stops++; }
	else
	{
		my $worker = $node->safe_psql('postgres', q{SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker' AND datname = 'postgres'});

		next if $worker == 0;
		my $end = -s $node->logfile;
		kill $stop, $worker;
		$stops++;
		next if $stop ne 'KILL';
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $end);
		UsageTest::poll_through_restart($node, 'SELECT true');
	}
}
cmp_ok($stops, '>=', 3, "workers, launcher and server are stopped in the midst of it");
ok($node->poll_query_until('postgres', "SELECT count(*) = $seven FROM unleash_tokens.api_token_event"), 'all of many that expire at the same moment are told');
look($node, 'postgres');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT selector), min(data ->> 'days'), max(data ->> 'days') FROM unleash_tokens.api_token_event}),
	"$seven|$seven|7|7", '... each once');

$node->safe_psql('two', q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
	CREATE TRIGGER slow BEFORE INSERT ON unleash_tokens.api_token_event EXECUTE FUNCTION slow()});
make($node, 'two', slow => "interval '31 days'");
let_pass($node, 'two', '2 days');
$node->reload;
isnt(worker_pid($node, 'two'), '', 'a worker hangs while it tells');
is($node->psql('postgres', 'DROP DATABASE two'), 0, 'its database is dropped, without FORCE');
$node->stop;

# ---- More databases than worker slots ----

# places for the launchers, this one and that of logical replication, and one worker
$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->start;
my $offset = -s $node->logfile;
foreach my $database (map { "many_$_" } 1 .. 6)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION unleash_tokens');
	make($node, $database, days => "interval '3 days'");
}
look($node, map { "many_$_" } 1 .. 6);
is(told($node, "many_$_"), 'days 7', "one worker slot, many databases: number $_ is looked at") foreach 1 .. 6;

# ---- Dumps ----

make($node, 'many_1', weeks => "interval '31 days'");
$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = $node->basedir . '/notices.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('many_1') ], 'a dump');
let_pass($node, 'many_1', '2 days');
look($node, 'many_1');
is(told($node, 'many_1'), 'days 1, days 7, weeks 30', 'notices after it');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], '... comes back');
look($node, 'restored');
is(told($node, 'restored'), 'days 7', 'what was told before the dump is not told again');
let_pass($node, 'restored', '2 days');
look($node, 'restored');
is(told($node, 'restored'), 'days 1, days 7, weeks 30', 'the rest is');

# into a database that a worker has seen already
$node->safe_psql('postgres', 'CREATE DATABASE seen');
$node->safe_psql('seen', 'CREATE EXTENSION unleash_tokens');
look($node, 'seen');
my ($from, $to) = map { $node->connstr($_) } 'many_1', 'seen';
$node->command_ok([ 'sh', '-c', "pg_dump --data-only '$from' | psql -X -q -v ON_ERROR_STOP=1 '$to'" ], 'a dump into a database where a worker was');
is($node->safe_psql('seen', 'TABLE unleash_tokens.expiry_notice ORDER BY days'), $node->safe_psql('many_1', 'TABLE unleash_tokens.expiry_notice ORDER BY days'), '... has the marks of the dump');

unlike(substr(slurp_file($node->logfile), $offset), qr/(ERROR|FATAL|PANIC):/, 'no worker has failed');
$node->stop;

# ---- Standbys ----

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'", 'autovacuum = off', q{unleash_tokens.expiry_notice = '1,7,30'};
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
make($primary, 'postgres', %lives);
look($primary, 'postgres');
my $first = told($primary, 'postgres');
is($first, 'day 1, days 7, hours 1, weeks 30', 'a primary tells');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->reload;
is(told($standby, 'postgres'), $first, 'its standby has the events');
$primary->stop('immediate');
$standby->promote;
look($standby, 'postgres');
$standby->reload;
is(told($standby, 'postgres'), $first, 'promoted, it repeats none');
let_pass($standby, 'postgres', '14 days');
look($standby, 'postgres');
is(told($standby, 'postgres'), 'day 1, days 7, hours 1, months 30, weeks 7, weeks 30', '... and tells what is due');

# ---- A subscriber of logical replication ----

my ($publication) = slurp_file("$FindBin::RealBin/../README.md") =~ /^ +(CREATE PUBLICATION tokens .*?;)/ms or die 'README has no publication';
$standby->safe_psql('postgres', $publication);
my $subscriber = new_server('subscriber');
$subscriber->safe_psql('postgres', 'DELETE FROM unleash_tokens.project; DELETE FROM unleash_tokens.environment');
$subscriber->safe_psql('postgres', sprintf q{CREATE SUBSCRIPTION tokens CONNECTION 'host=%s port=%s dbname=postgres' PUBLICATION tokens}, $standby->host, $standby->port);
$subscriber->wait_for_subscription_sync($standby, 'tokens', 'postgres');
set_days($subscriber, '1,7,30');
$subscriber->safe_psql('postgres', q{ALTER SYSTEM SET unleash_tokens.flush_interval = 1});
my $sent = told($standby, 'postgres');
$subscriber->reload;
# a database of its own is looked at after that one
$subscriber->safe_psql('postgres', 'CREATE DATABASE own');
$subscriber->safe_psql('own', 'CREATE EXTENSION unleash_tokens');
look($subscriber, 'own');
let_pass($standby, 'postgres', '3 days');
make($standby, 'postgres', more => "interval '31 days'");
let_pass($standby, 'postgres', '2 days');
look($standby, 'postgres');
$standby->wait_for_catchup('tokens');
is(told($subscriber, 'postgres'), told($standby, 'postgres'), 'a subscriber has the events of its publisher, and writes none of its own');
isnt(told($standby, 'postgres'), $sent, '... which go on');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION tokens; ' . q{SELECT setval(pg_get_serial_sequence('unleash_tokens.api_token_event', 'id'), max(id)) FROM unleash_tokens.api_token_event});
look($subscriber, 'postgres');
is(told($subscriber, 'postgres'), told($standby, 'postgres'), 'a server of its own, it repeats none');
let_pass($subscriber, 'postgres', '26 days');
look($subscriber, 'postgres');
like(told($subscriber, 'postgres'), qr/more 7, more 30/, '... and tells what is due');

$_->stop foreach $subscriber, $standby;
done_testing();
