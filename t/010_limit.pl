
# Copyright (c) 2026, unleash_tokens contributors

# Eight sessions make tokens at once against unleash_tokens.max_tokens = 100:
# at every isolation level there are exactly 100 in the end, and each session
# was either given a token or told that there are enough.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"unleash_tokens.max_tokens = 100\nlog_min_messages = fatal");
$node->start;

# attempt() writes down what came of it; a serialization failure goes through,
# and pgbench does the whole transaction again.
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION unleash_tokens;
	INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
	CREATE TABLE outcome (made boolean, secret text);
	CREATE FUNCTION attempt() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		secret text;
	BEGIN
		secret := unleash_tokens.create_api_token(
			'{"type": "client", "tokenName": "n", "projects": ["a", "b"]}') ->> 'secret';
		INSERT INTO outcome VALUES (true, secret);
	EXCEPTION WHEN raise_exception THEN
		INSERT INTO outcome VALUES (false);
	END
	$$;
});

my $script = $node->basedir . '/attempt.sql';
append_to_file($script, "SELECT attempt();\n");

foreach my $level ('read committed', 'repeatable read', 'serializable')
{
	$node->safe_psql('postgres',
		'TRUNCATE outcome; DELETE FROM unleash_tokens.api_token;');

	{
		local $ENV{PGOPTIONS} =
		  '-c default_transaction_isolation=' . ($level =~ s/ /\\ /r);
		$node->command_ok(
			[
				'pgbench', '--no-vacuum', '--client=8', '--jobs=2',
				'--transactions=25', '--max-tries=1000',
				"--file=$script", 'postgres'
			],
			"$level: 8 sessions of 25 attempts");
	}

	is( $node->safe_psql(
			'postgres', q{
			SELECT count(*) FILTER (WHERE made), count(*) FILTER (WHERE NOT made) FROM outcome}
		),
		'100|100',
		"$level: 100 were given a token, 100 were refused");
	is( $node->safe_psql(
			'postgres', q{
			SELECT count(*), count(DISTINCT selector) FROM unleash_tokens.api_token}
		),
		'100|100',
		"$level: exactly 100 rows");
	is( $node->safe_psql(
			'postgres', q{
			SELECT count(unleash_tokens.validate_api_token(secret)), count(DISTINCT secret) FROM outcome}
		),
		'100|100',
		"$level: all of them validate");
}

# Without the library preloaded a session does not know the setting before it has loaded the library.
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
my ($status, undef, $said) = $plain->psql('postgres', 'ALTER SYSTEM SET unleash_tokens.max_tokens = 7');
# 17 and later take any name that a superuser sets
like($said, $plain->pg_version < 17 ? qr/unrecognized configuration parameter/ : qr/^$/, 'ALTER SYSTEM in a session without the library: refused by a server before 17');
$plain->safe_psql('postgres', "LOAD 'unleash_tokens'; ALTER SYSTEM SET unleash_tokens.max_tokens = 7");
$plain->reload;
ok($plain->poll_query_until('postgres', q{SELECT current_setting('unleash_tokens.max_tokens', true)}, '7'), '... after LOAD it counts');
$plain->stop;

$node->stop;
done_testing();
