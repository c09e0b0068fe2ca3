
# Copyright (c) 2026, unleash_tokens contributors

# An installation that was upgraded is the same as a fresh one: columns, constraints, indexes, functions, views, triggers,
# privileges, comments, what a dump takes along, and the rows of the install.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# What the catalogs say of the extension, a line each.  Columns come in the order of their names: an upgrade adds at the end.
my $catalogs = q{
	SET search_path = pg_catalog;
	WITH member AS (
		SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'unleash_tokens'),
	relation AS (SELECT c.* FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid),
	described AS (
		SELECT 'member' AS kind, pg_describe_object(classid, objid, 0) AS what, '' AS how FROM member
		UNION ALL
		SELECT 'relation', oid::regclass::text, concat_ws(' ', relkind, relpersistence, reloptions, relrowsecurity, relforcerowsecurity, relreplident, relacl) FROM relation
		UNION ALL
		SELECT 'column', format('%s.%I', r.oid::regclass, a.attname), concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
			a.attcollation::regcollation, a.attacl, a.attstorage, pg_get_expr(d.adbin, d.adrelid))
		FROM relation AS r JOIN pg_attribute AS a ON a.attrelid = r.oid LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
		WHERE a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT 'constraint', format('%s %I', k.conrelid::regclass, k.conname), concat_ws(' ', k.contype, k.convalidated, pg_get_constraintdef(k.oid))
		FROM pg_constraint AS k JOIN relation AS r ON r.oid = k.conrelid WHERE k.contype <> 'n'
		UNION ALL
		SELECT 'index', i.indexrelid::regclass::text, concat_ws(' ', i.indisvalid, pg_get_indexdef(i.indexrelid)) FROM pg_index AS i JOIN relation AS r ON r.oid = i.indrelid
		UNION ALL
		SELECT 'trigger', format('%s %I', t.tgrelid::regclass, t.tgname), concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
		FROM pg_trigger AS t JOIN relation AS r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
		UNION ALL
		SELECT 'view', r.oid::regclass::text, pg_get_viewdef(r.oid) FROM relation AS r WHERE r.relkind = 'v'
		UNION ALL
		SELECT 'function', p.oid::regprocedure::text, concat_ws(' ', pg_get_functiondef(p.oid), p.proacl)
		FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
		UNION ALL
		SELECT 'type', t.oid::regtype::text, concat_ws(' ', t.typtype, t.typbasetype::regtype, t.typacl)
		FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
		UNION ALL
		SELECT 'schema', nspname, nspacl::text FROM pg_namespace WHERE nspname = 'unleash_tokens'
		UNION ALL
		SELECT 'comment', pg_describe_object(c.classoid, c.objoid, c.objsubid), c.description
		FROM pg_description AS c JOIN member AS m ON m.classid = c.classoid AND m.objid = c.objoid
		UNION ALL
		SELECT 'comment', pg_describe_object(c.classoid, c.objoid, 0), c.description
		FROM pg_description AS c WHERE c.classoid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger AS t JOIN relation AS r ON r.oid = t.tgrelid WHERE t.oid = c.objoid)
		UNION ALL
		SELECT 'comment', pg_describe_object(c.classoid, c.objoid, 0), c.description
		FROM pg_description AS c WHERE c.classoid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_index AS i JOIN relation AS r ON r.oid = i.indrelid WHERE i.indexrelid = c.objoid)
		UNION ALL
		SELECT 'dump', t.oid::regclass::text, t.condition
		FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS t (oid, condition) WHERE e.extname = 'unleash_tokens'
		UNION ALL
		SELECT 'extension', extname, concat_ws(' ', extversion, extrelocatable, extnamespace::regnamespace,
			(SELECT array_agg(x.extname::text ORDER BY 1) FROM pg_depend AS d JOIN pg_extension AS x ON x.oid = d.refobjid
			 WHERE d.classid = 'pg_extension'::regclass AND d.objid = e.oid AND d.refclassid = 'pg_extension'::regclass))
		FROM pg_extension AS e WHERE extname = 'unleash_tokens'
		UNION ALL
		SELECT 'row', id, origin FROM unleash_tokens.project
		UNION ALL
		SELECT 'row', name, concat_ws(' ', type, enabled, origin) FROM unleash_tokens.environment)
	SELECT concat_ws(' | ', kind, what, replace(how, E'\n', ' ')) FROM described ORDER BY 1;
};

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('postgres', 'CREATE DATABASE upgraded');
$node->safe_psql('fresh', 'CREATE EXTENSION unleash_tokens');
$node->safe_psql('upgraded', q{CREATE EXTENSION pgcrypto; CREATE EXTENSION unleash_tokens VERSION '1.0'; ALTER EXTENSION unleash_tokens UPDATE});

my @fresh = split /\n/, $node->safe_psql('fresh', $catalogs);
my @upgraded = split /\n/, $node->safe_psql('upgraded', $catalogs);
my %in_fresh = map { $_ => 1 } @fresh;
my %in_upgraded = map { $_ => 1 } @upgraded;

cmp_ok(scalar(@fresh), '>', 250, 'the catalogs say much of a fresh installation');
is(join("\n", grep { !$in_upgraded{$_} } @fresh), '', 'an upgraded one has all of it');
is(join("\n", grep { !$in_fresh{$_} } @upgraded), '', '... and nothing else');

done_testing();
