
# Copyright (c) 2026, unleash_tokens contributors

# 100,000 secrets: all have the form of Unleash's own, none repeats, all
# validate.  100,000 mistyped ones: none validates, and no table was looked at.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# statistics of the tables are to hold what the tests did, and nothing else
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION unleash_tokens;
	CREATE EXTENSION pgcrypto;
	INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b:c.v2_d'), ('é😀');
	CREATE TABLE kept AS
		SELECT i, unleash_tokens.create_api_token(jsonb_build_object('tokenName', 'n' || i) || body) ->> 'secret' AS secret
		FROM generate_series(1, 100000) AS i, LATERAL (SELECT (ARRAY[
			'{"type": "client"}', '{"type": "backend", "project": "a", "environment": "production"}',
			'{"type": "frontend", "project": "b:c.v2_d"}', '{"type": "client", "projects": ["a", "é😀"]}',
			'{"type": "client", "project": "é😀"}', '{"type": "admin"}']::jsonb[])[i % 6 + 1]) AS v (body);
});

is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FILTER (WHERE secret ~ '\.v2_([A-Za-z0-9_-]{22})_([A-Za-z0-9_-]{43})$'),
			count(*) FILTER (WHERE secret ~ '^(\*:development|a:production|b:c\.v2_d:development|\[\]:development|é😀:development|\*:\*)\.v2_utok[0-9A-Za-z]{18}_[0-9A-Za-z]{43}$')
		FROM kept}
	),
	'100000|100000',
	'100,000 secrets are of the form that Unleash looks for, and of ours');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(DISTINCT secret), count(DISTINCT substring(secret FROM '_(.{22})_')), count(DISTINCT right(secret, 43)),
			count(DISTINCT right(left(secret, -6), 37))
		FROM kept}
	),
	'100000|100000|100000|100000',
	'none repeats, nor does a selector or a key');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM kept WHERE unleash_tokens.validate_api_token(secret) ->> 'tokenName' = 'n' || i}
	),
	'100000',
	'all validate as what they were made');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM kept JOIN unleash_tokens.api_token AS t ON t.token_name = 'n' || i
		WHERE t.verifier = digest(convert_to(secret, 'UTF8'), 'sha256') AND secret LIKE '%.v2\_' || t.selector || '\_%'}
	),
	'100000',
	'the digests are those of pgcrypto');

# Every character is drawn evenly: of 3.7 million draws, a share that is off by
# 4 % of itself is off by ten standard deviations.
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*), bool_and(abs(n / (37 * 100000 / 62.0) - 1) < 0.04)
		FROM (SELECT count(*) AS n FROM kept, regexp_split_to_table(right(left(secret, -6), 37), '') AS c GROUP BY c) AS v}
	),
	'62|t',
	'the 62 characters of keys are equally frequent');

# One changed character in each, outside of the marker and of what separates
# the parts.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE mistyped AS
		SELECT overlay(secret PLACING c FROM at) AS secret
		FROM kept, LATERAL (SELECT length(secret) AS len) AS l,
			LATERAL (SELECT (ARRAY[len - 42 + i % 43, len - 61 + i % 18, 1 + i % (len - 70)])[1 + i % 3]) AS a (at),
			LATERAL (SELECT substr('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', 1 + i % 62, 1)) AS b (first),
			LATERAL (SELECT CASE WHEN substr(secret, at, 1) = first THEN CASE first WHEN '0' THEN '1' ELSE '0' END ELSE first END) AS d (c);
	SELECT pg_stat_force_next_flush();
});

my $counters = q{
	SELECT relname, seq_scan, seq_tup_read, idx_scan, idx_tup_fetch, n_tup_ins, n_tup_upd, n_tup_del
	FROM pg_stat_user_tables WHERE schemaname = 'unleash_tokens' ORDER BY relname};

# A session that ends hands its counters over before it is gone; a new one sees
# them.  safe_psql waits for that end.
my $before = $node->safe_psql('postgres', $counters);
is( $node->safe_psql(
		'postgres',
		'SELECT count(*), count(unleash_tokens.validate_api_token(secret)) FROM mistyped; SELECT pg_stat_force_next_flush()'
	),
	"100000|0\n",
	'100,000 mistyped secrets are refused');
is($node->safe_psql('postgres', $counters),
	$before, 'and no table was looked at for that');
$node->safe_psql('postgres',
	'SELECT unleash_tokens.validate_api_token(secret) FROM kept LIMIT 1; SELECT pg_stat_force_next_flush()'
);
isnt($node->safe_psql('postgres', $counters),
	$before, 'which would have been seen');

$node->stop;
done_testing();
