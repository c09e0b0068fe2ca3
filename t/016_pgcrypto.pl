
# Copyright (c) 2026, unleash_tokens contributors

# The tokens do not hang on pgcrypto: it may lie in public, elsewhere or nowhere, and go with CASCADE; an upgrade unties
# the tables of 1.0, which required it.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

my $keep = q{CREATE SCHEMA kept; CREATE TABLE kept.secret AS SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}') ->> 'secret' AS secret};
my $valid = q{SELECT unleash_tokens.validate_api_token(secret) ->> 'tokenName' FROM kept.secret};
my $doctor = q{SELECT status, detail FROM unleash_tokens.doctor() WHERE check_name = 'pgcrypto'};
# version 1.0 came with a control file that required pgcrypto
my $tie = q{INSERT INTO pg_depend SELECT 'pg_extension'::regclass, u.oid, 0, 'pg_extension'::regclass, p.oid, 0, 'n'
	FROM pg_extension AS u, pg_extension AS p WHERE u.extname = 'unleash_tokens' AND p.extname = 'pgcrypto'};

my %ways = (
	'in public' => [ 'CREATE EXTENSION pgcrypto', qr/^ok\|Version \S+ in the schema public\.$/ ],
	'elsewhere' => [ 'CREATE SCHEMA "Crypto schema"; CREATE EXTENSION pgcrypto SCHEMA "Crypto schema"', qr/^ok\|Version \S+ in the schema "Crypto schema"\.$/ ],
	'absent' => [ '', qr/^ok\|It is not installed; tokens do not need it\.$/ ],
	'removed' => [ 'CREATE EXTENSION pgcrypto; DROP EXTENSION pgcrypto', qr/^ok\|It is not installed/ ]);
my $number = 0;
foreach my $way (sort keys %ways)
{
	foreach my $version ('2.0', '1.0')
	{
		my ($sql, $said) = @{ $ways{$way} };
		my $database = 'd' . ++$number;
		next if $version eq '1.0' && $way !~ /public|elsewhere/;
		$node->safe_psql('postgres', "CREATE DATABASE $database");
		$node->safe_psql($database, "$sql; CREATE EXTENSION unleash_tokens VERSION '$version'");
		$node->safe_psql($database, "$tie; ALTER EXTENSION unleash_tokens UPDATE") if $version ne '2.0';
		$node->safe_psql($database, $keep);
		is($node->safe_psql($database, $valid), 'n', "$version, pgcrypto $way: a token is made and valid");
		like($node->safe_psql($database, $doctor), $said, '... doctor() says where pgcrypto is');
		$node->safe_psql($database, 'DROP SCHEMA IF EXISTS public, "Crypto schema" CASCADE');
		is($node->safe_psql($database, $valid), 'n', '... it is valid after the schemas public and that of pgcrypto were dropped with CASCADE');
		is($node->safe_psql($database, q{SELECT count(*) FROM pg_extension WHERE extname = 'pgcrypto'}), 0, '... and pgcrypto is gone');
		$node->safe_psql($database, q{SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "later"}')});
		is($node->safe_psql($database, 'SELECT count(*) FROM unleash_tokens.api_token'), 2, '... and tokens are made');
	}
}

$node->stop;
done_testing();
