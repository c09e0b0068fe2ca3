
# Copyright (c) 2026, unleash_tokens contributors

# The extension goes through its life: from every released version to every
# later one, dropped and made again under a session that knows it, and copied to
# another server by logical replication.  What was there before stays there.

use strict;
use warnings;

use File::Find;
use FindBin;
use lib $FindBin::RealBin;

use FaultsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('life');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'",
  'unleash_tokens.flush_interval = 1', 'autovacuum = off';
$node->start;

# ---- Versions ------------------------------------------------------------------

# Whatever scripts are installed; a later version is tested without a change here.
my @versions = split /\n/, $node->safe_psql('postgres',
	q{SELECT version FROM pg_available_extension_versions WHERE name = 'unleash_tokens' ORDER BY string_to_array(version, '.')::int[]});
my $newest = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'unleash_tokens'});
my @paths = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres',
	q{SELECT source, target FROM pg_extension_update_paths('unleash_tokens') WHERE path IS NOT NULL ORDER BY source, target});
is($versions[0], '1.0', 'the first version is there');
is($versions[-1], $newest, 'the last one is the one that is made');
is(scalar(grep { $_->[1] eq $newest } @paths), @versions - 1, 'every other version leads to it');

# All that belongs to the extension, with what can be told of it.
my $catalog = q{
	SELECT i.type, i.identity, obj_description(d.objid, catalog_of.name), CASE catalog_of.name
		WHEN 'pg_proc' THEN (SELECT pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '-') FROM pg_proc AS p WHERE p.oid = d.objid)
		WHEN 'pg_class' THEN (SELECT concat_ws(' ', c.relkind, c.reloptions, c.relacl, CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
			(SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attacl, a.attidentity,
				col_description(a.attrelid, a.attnum), pg_get_expr(f.adbin, f.adrelid)), E'\n' ORDER BY a.attnum)
				FROM pg_attribute AS a LEFT JOIN pg_attrdef AS f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
			(SELECT string_agg(pg_get_constraintdef(k.oid), E'\n' ORDER BY k.conname) FROM pg_constraint AS k WHERE k.conrelid = c.oid),
			(SELECT string_agg(pg_get_indexdef(x.indexrelid), E'\n' ORDER BY x.indexrelid::regclass::text) FROM pg_index AS x WHERE x.indrelid = c.oid),
			(SELECT string_agg(pg_get_triggerdef(g.oid), E'\n' ORDER BY g.tgname) FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal))
			FROM pg_class AS c WHERE c.oid = d.objid)
		END
	FROM pg_depend AS d JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e',
		LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS i,
		LATERAL (SELECT relname AS name FROM pg_class WHERE oid = d.classid) AS catalog_of
	WHERE e.extname = 'unleash_tokens'
	UNION ALL
	SELECT 'extension', extversion, array_to_string(ARRAY(SELECT r::regclass::text FROM unnest(extconfig) AS r), ' '), array_to_string(extcondition, '; ')
	FROM pg_extension WHERE extname = 'unleash_tokens'
	ORDER BY 1, 2};

# Every row: a later version may give it more columns.
my $rows = q{
	SELECT 'project' AS kind, to_jsonb(p) AS data FROM unleash_tokens.project AS p
	UNION ALL SELECT 'environment', to_jsonb(e) FROM unleash_tokens.environment AS e
	UNION ALL SELECT 'token', to_jsonb(t) FROM unleash_tokens.api_token AS t
	UNION ALL SELECT 'scope', to_jsonb(s) FROM unleash_tokens.api_token_project AS s
	UNION ALL SELECT 'event', to_jsonb(v) FROM unleash_tokens.api_token_event AS v};

# Something of everything; the secrets are in the table "secret", of which these many are good.
my $good = 7;
my $furnish = q{
	INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('gone');
	UPDATE unleash_tokens.project SET id = 'c' WHERE id = 'b';
	INSERT INTO unleash_tokens.environment (name, type, enabled) VALUES ('e', 'test', false);
	CREATE TABLE secret AS SELECT body ->> 'tokenName' AS name, unleash_tokens.create_api_token(body) ->> 'secret' AS secret FROM unnest(ARRAY[
		'{"type": "admin", "tokenName": "admin"}', '{"type": "client", "tokenName": "all", "environment": "e"}',
		'{"type": "backend", "tokenName": "two", "projects": ["c", "a"]}',
		'{"type": "frontend", "tokenName": "one", "project": "default", "environment": "production", "expiresAt": "2090-01-01T00:00:00Z"}',
		'{"type": "client", "tokenName": "expired", "expiresAt": "2001-01-01T00:00:00Z"}',
		'{"type": "client", "tokenName": "changed"}', '{"type": "client", "tokenName": "deleted"}',
		'{"type": "client", "tokenName": "scopeless", "project": "gone"}']::jsonb[]) AS body;
	SELECT unleash_tokens.update_api_token(secret, '{"expiresAt": "2091-01-01T00:00:00Z"}') FROM secret WHERE name = 'changed';
	SELECT unleash_tokens.delete_api_token(secret) FROM secret WHERE name = 'deleted';
	DELETE FROM unleash_tokens.project WHERE id = 'gone';
	INSERT INTO secret VALUES ('old', '*:*.4e1c1d9c0f3b5a77'), ('older', 'default:development.v2_AbCdEfGhIjKlMnOpQrStUv_AbCdEfGhIjKlMnOpQrStUvAbCdEfGhIjKlMnOpQrStU');
	SELECT unleash_tokens.import_api_tokens(jsonb_build_array(
		jsonb_build_object('secret', (SELECT secret FROM secret WHERE name = 'old'), 'type', 'admin', 'tokenName', 'old', 'environment', '*', 'projects', '["*"]'::jsonb),
		jsonb_build_object('secret', (SELECT secret FROM secret WHERE name = 'older'), 'type', 'client', 'tokenName', 'older', 'environment', 'development', 'projects', '["default"]'::jsonb)))};
my $count_good = 'SELECT count(*) FROM unleash_tokens.validate_api_tokens(ARRAY(SELECT secret FROM secret))';
my $answers = q{SELECT name, unleash_tokens.validate_api_token(secret) FROM secret ORDER BY name};

sub database_with
{
	my ($name, $version) = @_;

	$node->safe_psql('postgres', qq{CREATE DATABASE "$name"});
	$node->safe_psql($name, "CREATE EXTENSION pgcrypto; CREATE EXTENSION unleash_tokens VERSION '$version'");
	return;
}

my %fresh;
foreach my $version (@versions)
{
	database_with("fresh $version", $version);
	$fresh{$version} = $node->safe_psql("fresh $version", $catalog);
	like($fresh{$version}, qr/^extension\|\Q$version\E\|.*create_api_token.*api_tokens/ms, "version $version: the catalog tells of it");
}

foreach my $path (@paths)
{
	my ($from, $to) = @$path;
	my $name = "$from to $to";

	database_with($name, $from);
	$node->safe_psql($name, $furnish);
	is($node->safe_psql($name, $count_good), $good, "$name: tokens are validated before");
	$node->poll_query_until($name, 'SELECT count(*) > 0 FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL') or die 'nothing is written';
	my $session = $node->background_psql($name, on_error_stop => 1);
	$session->set_query_timer_restart;
	my $said = $session->query_safe($answers);
	$node->safe_psql($name, "CREATE TABLE before AS $rows");
	$node->safe_psql($name, "ALTER EXTENSION unleash_tokens UPDATE TO '$to'");
	is($node->safe_psql($name, "SELECT kind, data - 'seen_at' FROM before AS b WHERE NOT EXISTS (
			SELECT FROM ($rows) AS r WHERE r.kind = b.kind AND r.data - 'seen_at' @> (b.data - 'seen_at'))"), '', "$name: every row is kept");
	is($node->safe_psql($name, "SELECT count(*) - (SELECT count(*) FROM before) FROM ($rows) AS r"), '0', "$name: and there are no others");
	is($node->safe_psql($name, "SELECT count(*) FROM before AS b JOIN unleash_tokens.api_token AS t ON b.data ->> 'selector' = t.selector
			WHERE b.kind = 'token' AND NOT coalesce(t.seen_at >= (b.data ->> 'seen_at')::timestamptz, b.data ->> 'seen_at' IS NULL)"), '0', "$name: no time of use is lost");
	is($node->safe_psql($name, $catalog), $fresh{$to}, "$name: the catalog is that of a fresh install");
	is($session->query_safe($answers), $said, "$name: a session of before gets the same answers");
	is($node->safe_psql($name, $answers), $said, "$name: so does a new one");
	is($node->safe_psql($name, $count_good), $good, "$name: the secrets validate");
	like($session->query_safe(q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "new", "projects": ["a", "c"]}') ->> 'secret'}),
		qr/^\[\]:development\.v2_utok\w{18}_\w{43}$/, "$name: that session makes a token");
	is($node->safe_psql($name, q{SELECT unleash_tokens.delete_api_token(secret) FROM secret WHERE name = 'all'}), 't', "$name: one is deleted");
	is($session->query_safe($count_good), $good - 1, "$name: and refused by that session");
	$session->quit;
}

# ---- DROP and CREATE under a session that knows it -----------------------------

foreach my $version (@versions)
{
	my $name = "again $version";

	database_with($name, $version);
	my $session = $node->background_psql($name, on_error_stop => 0);
	$session->set_query_timer_restart;
	$session->query_safe("\\set VERBOSITY verbose\nSET client_min_messages = warning");
	$session->query_safe($furnish);
	$session->query_safe('PREPARE is_valid AS SELECT unleash_tokens.validate_api_token($1) IS NOT NULL');
	$session->query_safe('PREPARE everything AS ' . $count_good);
	my $secret = $session->query_safe(q{SELECT secret FROM secret WHERE name = 'all'});
	is($session->query_safe("EXECUTE is_valid('$secret')") . $session->query_safe('EXECUTE everything'), "t$good", "$name: a session uses it");

	$session->query_safe('BEGIN; DROP EXTENSION unleash_tokens; ROLLBACK');
	is($session->query_safe("EXECUTE is_valid('$secret')") . $session->query_safe('EXECUTE everything'), "t$good", "$name: dropped, and not: it goes on");

	$session->query_safe('DROP EXTENSION unleash_tokens');
	$session->query("EXECUTE is_valid('$secret')");
	like($session->{stderr}, qr/ERROR:  (42883|3F000): /, "$name: dropped: there is no such function");
	$session->{stderr} = '';
	foreach my $made (@versions)
	{
		$session->query_safe("CREATE EXTENSION unleash_tokens VERSION '$made'");
		is($session->query_safe("EXECUTE is_valid('$secret')") . $session->query_safe('EXECUTE everything'), 'f0', "$name: made again as $made: the old secrets are refused");
		$session->query_safe('DROP TABLE secret');
		$session->query_safe($furnish);
		is($session->query_safe('EXECUTE everything'), $good, "$name: made again as $made: new ones are valid");
		is($session->query_safe(q{SELECT jsonb_array_length(unleash_tokens.get_all_api_tokens() -> 'tokens'),
				(SELECT count(*) FROM unleash_tokens.api_token_event WHERE type = 'api-token-deleted')}), '8|2', "$name: made again as $made: list and events");
		$session->query_safe('ALTER EXTENSION unleash_tokens UPDATE');
		is($session->query_safe('EXECUTE everything'), $good, "$name: made again as $made: updated too");
		$session->query_safe('DROP EXTENSION unleash_tokens');
	}
	$session->quit;
}

# ---- Logical replication ---------------------------------------------------------

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'",
  'unleash_tokens.flush_interval = 1', 'max_sync_workers_per_subscription = 4', 'wal_retrieve_retry_interval = 100ms';
$subscriber->start;

# Both have the extension; that of the subscriber is emptied of what an install holds.
database_with('source', $newest);
$node->safe_psql('source', $furnish);
my ($publication) = slurp_file("$FindBin::RealBin/../README.md") =~ /^ +(CREATE PUBLICATION tokens .*?;)/ms or die 'README has no publication';
$node->safe_psql('source', $publication);
is($node->safe_psql('source', q{SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'unleash_tokens.api_token'::regclass AND attnum > 0
	AND NOT attisdropped AND attname <> ALL ((SELECT attnames FROM pg_publication_tables WHERE pubname = 'tokens' AND tablename = 'api_token')::text[])}),
	'seen_at', 'logical replication: README publishes every column but seen_at');
$subscriber->safe_psql('postgres', q{
	CREATE EXTENSION unleash_tokens;
	DELETE FROM unleash_tokens.project; DELETE FROM unleash_tokens.environment});
my $to_source = $node->connstr('source') =~ s/'/''/gr;
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION tokens CONNECTION '$to_source' PUBLICATION tokens");
$subscriber->wait_for_subscription_sync($node, 'tokens', 'postgres');

my $rows_in_order = "SELECT kind, data - 'seen_at' FROM ($rows) AS r ORDER BY kind, data - 'seen_at'";
sub is_copied
{
	my ($what) = @_;
	$node->wait_for_catchup('tokens');
	is($subscriber->safe_psql('postgres', $rows_in_order), $node->safe_psql('source', $rows_in_order), "logical replication: $what: the same rows");
	my @secrets = map { s/.*\|//r } split /\n/, $node->safe_psql('source', 'SELECT name, secret FROM secret');
	is(valid($subscriber, \@secrets), valid($node, \@secrets, 'source'), "logical replication: $what: the same tokens are valid");
	is(answers_from($subscriber, 'postgres', \@secrets), answers_from($node, 'source', \@secrets), "logical replication: $what: the same answers");
	return;
}

sub answers_from
{
	my ($server, $database, $secrets) = @_;
	my $list = join ',', map { "\"$_\"" } @$secrets;
	return $server->safe_psql($database, "SELECT * FROM unleash_tokens.validate_api_tokens('{$list}') ORDER BY ordinal");
}

is_copied('initial copy');
$node->safe_psql('source', q{INSERT INTO secret SELECT 'late ' || i, unleash_tokens.create_api_token('{"type": "client", "tokenName": "late", "projects": ["a", "default"]}') ->> 'secret'
	FROM generate_series(1, 20) AS i});
is_copied('tokens are made');
$node->safe_psql('source', q{SELECT unleash_tokens.delete_api_token(secret) FROM secret WHERE name IN ('late 1', 'late 2');
	SELECT unleash_tokens.update_api_token(secret, '{"expiresAt": "2002-01-01T00:00:00Z"}') FROM secret WHERE name = 'late 3'});
is_copied('deleted, changed and expired');
$node->safe_psql('source', q{INSERT INTO unleash_tokens.project (id) VALUES ('brief');
	INSERT INTO secret SELECT 'brief', unleash_tokens.create_api_token('{"type": "client", "tokenName": "brief", "project": "brief"}') ->> 'secret';
	UPDATE unleash_tokens.project SET id = 'd' WHERE id = 'a'; UPDATE unleash_tokens.environment SET name = 'live' WHERE name = 'production'});
is_copied('a project and an environment are renamed');
$node->safe_psql('source', q{DELETE FROM unleash_tokens.project WHERE id IN ('brief', 'd')});
is_copied('projects are removed');
my $used = $node->safe_psql('source', q{SELECT secret FROM secret WHERE name = 'older'});
is(valid($subscriber, [$used]), 1, 'logical replication: a token is used on the subscriber');
ok($subscriber->poll_query_until('postgres', q{SELECT seen_at > now() - interval '1 hour' FROM unleash_tokens.api_token WHERE token_name = 'older'}),
	'logical replication: which writes that down by itself');
$node->safe_psql('source', q{UPDATE unleash_tokens.api_token SET seen_at = '2001-01-01' WHERE token_name = 'older'});
is_copied('used on the publisher too');
is($subscriber->safe_psql('postgres', q{SELECT seen_at > now() - interval '1 hour' FROM unleash_tokens.api_token WHERE token_name = 'older'}), 't',
	'logical replication: an older use on the publisher does not take the newer one away');
$node->safe_psql('source', 'TRUNCATE unleash_tokens.api_token CASCADE');
is_copied('truncated');
$node->safe_psql('source', q{INSERT INTO secret SELECT 'last', unleash_tokens.create_api_token('{"type": "client", "tokenName": "last", "projects": ["c"]}') ->> 'secret'});
is_copied('and going on');

# With a column list a server for reports has all but the verifiers.
$node->safe_psql('source', q{CREATE PUBLICATION report FOR TABLE
	unleash_tokens.api_token (selector, token_name, type, environment, all_projects, created_at, expires_at, seen_at)});
$subscriber->safe_psql('postgres', 'CREATE DATABASE report');
$subscriber->safe_psql('report', q{CREATE SCHEMA unleash_tokens; CREATE TABLE unleash_tokens.api_token (selector text PRIMARY KEY, token_name text, type text,
	environment text, all_projects boolean, created_at timestamptz, expires_at timestamptz, seen_at timestamptz)});
$subscriber->safe_psql('report', "CREATE SUBSCRIPTION report CONNECTION '$to_source' PUBLICATION report");
$subscriber->wait_for_subscription_sync($node, 'report', 'report');
$node->safe_psql('source', q{INSERT INTO secret SELECT 'reported', unleash_tokens.create_api_token('{"type": "client", "tokenName": "reported"}') ->> 'secret'});
$node->wait_for_catchup('report');
my $listed = q{SELECT selector, token_name, type, environment, created_at, expires_at FROM unleash_tokens.api_token ORDER BY selector};
is($subscriber->safe_psql('report', $listed), $node->safe_psql('source', $listed), 'column list: the report has the tokens');
is($node->safe_psql('source', q{SELECT attnames FROM pg_publication_tables WHERE pubname = 'report'}) =~ /verifier/ ? 1 : 0, 0, 'column list: but no verifier');
$subscriber->safe_psql('report', 'DROP SUBSCRIPTION report');
$subscriber->safe_psql('postgres', 'DROP DATABASE report');

# The subscriber becomes a server of its own.
is_copied('in the end');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION tokens');
my $make = q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "own"}') ->> 'secret'};
my ($status, undef, $stderr) = $subscriber->psql('postgres', $make);
ok($status != 0 && $stderr =~ /duplicate key value violates unique constraint "api_token_event_pkey"/,
	'on its own: the numbers of events do not go on by themselves, and no token is made without its event');
is($subscriber->safe_psql('postgres', q{SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = 'own'}), 0, 'on its own: none was');
$subscriber->safe_psql('postgres', q{SELECT setval(pg_get_serial_sequence('unleash_tokens.api_token_event', 'id'), max(id)) FROM unleash_tokens.api_token_event});
my $own = $subscriber->safe_psql('postgres', $make);
is(valid($subscriber, [$own]), 1, 'on its own: told the last number, it makes tokens');
is(valid($node, [$own], 'source'), 0, 'on its own: which the other one does not know');
is(valid($subscriber, [ $node->safe_psql('source', q{SELECT secret FROM secret WHERE name = 'last'}) ]), 1, 'on its own: those of before go on');

# Nothing that was replicated has a secret in it.
my @keys = map { /_(\w{43})$/ ? $1 : () } split /\n/, $node->safe_psql('source', 'SELECT secret FROM secret');
$subscriber->stop;
my ($files, @found) = (0);
find(sub {
	return unless -f $_;
	my $bytes = slurp_file($_);
	$files++;
	push @found, $File::Find::name if grep { index($bytes, $_) >= 0 } @keys;
}, map { $subscriber->data_dir . "/$_" } 'base', 'pg_wal');
cmp_ok($files, '>', 500, 'the files of the subscriber were searched');
is("@found", '', 'none holds a key of ' . @keys);

$node->stop;
done_testing();
