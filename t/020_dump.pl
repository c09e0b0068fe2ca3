
# Copyright (c) 2026, unleash_tokens contributors

# A database with the extension goes through pg_dump and comes back the same:
# registries that were changed, added to and removed from, tokens, scopes and
# events.  Afterwards the secrets are good, new tokens can be made, and events
# go on counting.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE regress_unleash_guarded; CREATE ROLE "role of \\ é"');

# All that must be the same on both sides.
my $contents = q{
	SELECT 'project', p::text FROM unleash_tokens.project AS p
	UNION ALL SELECT 'environment', e::text FROM unleash_tokens.environment AS e
	UNION ALL SELECT 'token', t::text FROM unleash_tokens.api_token AS t
	UNION ALL SELECT 'scope', s::text FROM unleash_tokens.api_token_project AS s
	UNION ALL SELECT 'event', v::text FROM unleash_tokens.api_token_event AS v
	UNION ALL SELECT 'role of tokens', g::text FROM unleash_tokens.guard_role AS g
	ORDER BY 1, 2};

# Each way of changing the registries, as SQL that leaves secrets in the table
# kept: name => [what to do, how many of the secrets are good].
my $keep = q{INSERT INTO public.kept SELECT unleash_tokens.create_api_token(body) ->> 'secret'
	FROM unnest(ARRAY[%s]::jsonb[]) AS body;};
my %sources = (
	fresh => [ '', 0 ],
	used  => [
		sprintf($keep,
			q{'{"type": "client", "tokenName": "all"}', '{"type": "admin", "tokenName": "admin"}',
			'{"type": "frontend", "tokenName": "one", "project": "default", "environment": "production"}',
			'{"type": "client", "tokenName": "expired", "expiresAt": "2001-01-01T00:00:00Z"}'}
		),
		3
	],
	changed => [
		q{INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('blank and \\ and é'), ('gone');
		INSERT INTO unleash_tokens.environment (name, type, enabled) VALUES ('e', 'test', false);
		UPDATE unleash_tokens.environment SET enabled = false, type = 'test' WHERE name = 'development';
		UPDATE unleash_tokens.environment SET name = 'live' WHERE name = 'production';
		UPDATE unleash_tokens.project SET id = 'renamed' WHERE id = 'default';}
		  . sprintf($keep,
			q{'{"type": "client", "tokenName": "all", "environment": "e"}', '{"type": "admin", "tokenName": "admin \u00e9\ud83d\ude00"}',
			'{"type": "frontend", "tokenName": "two", "projects": ["renamed", "a"], "environment": "live"}',
			'{"type": "admin", "tokenName": "team", "projects": ["renamed", "a"], "allowedIps": ["10.0.0.0/8"]}',
			'{"type": "client", "tokenName": "goes with its project", "project": "gone"}'}
		  )
		  . q{SELECT unleash_tokens.set_guard_role('*', 'regress_unleash_guarded'), unleash_tokens.set_guard_role('client', 'regress_unleash_guarded', 'e'),
			unleash_tokens.set_guard_role('frontend', 'role of \\ é', 'live', 'a'), unleash_tokens.set_guard_role(NULL, 'regress_unleash_guarded', project => 'gone');
		UPDATE unleash_tokens.guard_role SET role = 'one that is not there' WHERE type = 'client';
		DELETE FROM unleash_tokens.project WHERE id = 'gone';},
		3	# from no address, so that of the team is refused
	],
	removed => [
		q{INSERT INTO unleash_tokens.project (id) VALUES ('a');
		DELETE FROM unleash_tokens.project WHERE id = 'default';
		DELETE FROM unleash_tokens.environment WHERE name = 'production';}
		  . sprintf($keep,
			q{'{"type": "client", "tokenName": "all"}', '{"type": "client", "tokenName": "one", "project": "a"}'}
		  ),
		2
	],
	upgraded => [
		q{DROP EXTENSION unleash_tokens; CREATE EXTENSION pgcrypto; CREATE EXTENSION unleash_tokens VERSION '1.0';
		INSERT INTO unleash_tokens.project (id) VALUES ('a');}
		  . sprintf($keep, q{'{"type": "client", "tokenName": "one", "project": "a"}', '{"type": "admin", "tokenName": "admin"}'})
		  . q{ALTER EXTENSION unleash_tokens UPDATE;
		SELECT unleash_tokens.set_guard_role('client', 'regress_unleash_guarded', project => 'a'), unleash_tokens.set_guard_role('admin', 'role of \\ é');},
		2
	],
	emptied => [
		q{DELETE FROM unleash_tokens.project; DELETE FROM unleash_tokens.environment;}
		  . sprintf($keep, q{'{"type": "admin", "tokenName": "admin"}'}),
		1
	],
	replaced => [
		q{DELETE FROM unleash_tokens.project; INSERT INTO unleash_tokens.project (id) VALUES ('default');
		DELETE FROM unleash_tokens.environment;
		INSERT INTO unleash_tokens.environment (name, type) VALUES ('development', 'other');}
		  . sprintf($keep, q{'{"type": "client", "tokenName": "one", "project": "default"}'}),
		1
	]);
# Each way to carry it over: what to dump, and into what.
my %ways = (
	plain => sub {
		my ($from, $to, $file) = @_;
		run_log([ 'pg_dump', '--dbname=' . $node->connstr($from), "--file=$file" ])
		  && restore_plain($to, $file);
	},
	inserts => sub {
		my ($from, $to, $file) = @_;
		run_log(
			[
				'pg_dump', '--inserts', '--dbname=' . $node->connstr($from),
				"--file=$file"
			]) && restore_plain($to, $file);
	},
	parallel => sub {
		my ($from, $to, $file) = @_;
		run_log(
			[
				'pg_dump', '--format=directory', '--jobs=4',
				'--dbname=' . $node->connstr($from), "--file=$file"
			])
		  && run_log(
			[
				'pg_restore', '--exit-on-error', '--jobs=4',
				'--dbname=' . $node->connstr($to), $file
			]);
	},
	'data only' => sub {
		my ($from, $to, $file) = @_;
		$node->safe_psql($to,
			'CREATE EXTENSION unleash_tokens; CREATE TABLE public.kept (secret text);'
		);
		run_log(
			[
				'pg_dump', '--data-only', '--dbname=' . $node->connstr($from),
				"--file=$file"
			]) && restore_plain($to, $file);
	},
	'data only, as inserts' => sub {
		my ($from, $to, $file) = @_;
		$node->safe_psql($to,
			'CREATE EXTENSION unleash_tokens; CREATE TABLE public.kept (secret text);'
		);
		run_log(
			[
				'pg_dump', '--data-only', '--column-inserts',
				'--dbname=' . $node->connstr($from), "--file=$file"
			]) && restore_plain($to, $file);
	});

sub restore_plain
{
	my ($to, $file) = @_;
	return run_log(
		[
			'psql', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1',
			'--dbname=' . $node->connstr($to), "--file=$file"
		]);
}

my $number = 0;
foreach my $source (sort keys %sources)
{
	my ($changes, $good) = @{ $sources{$source} };
	my $from = 'from_' . ++$number;
	$node->safe_psql('postgres', "CREATE DATABASE $from");
	$node->safe_psql(
		$from, qq{
		CREATE EXTENSION unleash_tokens;
		CREATE TABLE public.kept (secret text);
		$changes});
	my $before = $node->safe_psql($from, $contents);

	foreach my $way (sort keys %ways)
	{
		my $name = "$source, $way";
		my $to = 'to_' . ++$number;
		$node->safe_psql('postgres', "CREATE DATABASE $to TEMPLATE template0");
		ok($ways{$way}->($from, $to, $node->basedir . "/dump_$number"),
			"$name: dumped and restored without an error")
		  or next;
		is($node->safe_psql($to, $contents), $before, "$name: nothing is different");
		is( $node->safe_psql(
				$to, 'SELECT count(unleash_tokens.validate_api_token(secret)) FROM public.kept'
			),
			$good,
			"$name: the secrets validate");

		# whoever had a role has it there too
		if ($before =~ /^role of tokens/m)
		{
			my $guarded = q{SELECT (unleash_tokens.guard(secret) IS NOT NULL), current_user FROM public.kept ORDER BY secret LIMIT 1};
			is($node->safe_psql($to, "BEGIN; $guarded; ROLLBACK"), $node->safe_psql($from, "BEGIN; $guarded; ROLLBACK"), "$name: a token runs as the same role");
		}

		# an admin token can be made whatever the registries hold
		is( $node->safe_psql(
				$to, q{
				SELECT coalesce(max(id), 0) AS last FROM unleash_tokens.api_token_event \gset
				SELECT unleash_tokens.validate_api_token(unleash_tokens.create_api_token(
					'{"type": "admin", "tokenName": "afterwards"}') ->> 'secret') ->> 'tokenName';
				SELECT count(*), bool_and(id > :last) FROM unleash_tokens.api_token_event
				WHERE token_name = 'afterwards'}
			),
			"afterwards\n1|t",
			"$name: a new token is made, and its event has the next number");
		$node->safe_psql('postgres', "DROP DATABASE $to");
	}
}

# Comments and rights of the schema come along.
my $file = $node->basedir . '/dump_again';
$node->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE template0');
$node->safe_psql('from_1', q{
	CREATE ROLE regress_unleash_dumped;
	GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_dumped;
	GRANT EXECUTE ON FUNCTION unleash_tokens.validate_api_token(text) TO regress_unleash_dumped;});
ok($ways{plain}->('from_1', 'again', $file), 'dumped and restored with rights');
is( $node->safe_psql(
		'again', q{
		SELECT has_function_privilege('regress_unleash_dumped', 'unleash_tokens.validate_api_token(text)', 'EXECUTE'),
			has_schema_privilege('regress_unleash_dumped', 'unleash_tokens', 'USAGE'),
			has_function_privilege('regress_unleash_dumped', 'unleash_tokens.create_api_token(jsonb)', 'EXECUTE'),
			obj_description('unleash_tokens'::regnamespace, 'pg_namespace') <> ''}
	),
	't|t|f|t',
	'rights and the comment of the schema are the same');

$node->stop;
done_testing();
