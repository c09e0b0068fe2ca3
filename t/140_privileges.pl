
# Copyright (c) 2026, unleash_tokens contributors

# Least privilege: every role of http/roles.sql, those a server has anyway, and
# a stranger, against every object of the extension and every privilege there
# is.  What they have is printed and must be what t/privileges.expected says;
# then each of them tries, and gets no further than that.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $here = abs_path(dirname(__FILE__));

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'unleash_tokens'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE dba; CREATE DATABASE app OWNER dba');
$node->safe_psql('app', 'CREATE EXTENSION unleash_tokens');
$node->safe_psql('app', slurp_file("$here/../http/roles.sql"));

# A caller that was given one function; one that may make roles; the server's own.
$node->safe_psql('app', q{
	CREATE ROLE stranger LOGIN;
	CREATE ROLE caller LOGIN;
	GRANT USAGE ON SCHEMA unleash_tokens TO caller;
	GRANT EXECUTE ON FUNCTION unleash_tokens.validate_api_token(text) TO caller;
	CREATE ROLE creator CREATEROLE CREATEDB});
my @roles = qw(unleash_tokens_authenticator unleash_tokens_rest unleash_tokens_admin unleash_tokens_standby unleash_tokens_auth stranger caller dba creator
  unleash_tokens_monitor unleash_tokens_validate
  pg_monitor pg_read_all_data pg_write_all_data pg_read_all_settings pg_signal_backend pg_checkpoint);
my $roles = join ', ', map { "('$_')" } 'public', @roles;

# ---- The matrix ----

# Every privilege on every object, by has_*_privilege; with * for the right to grant it on.
my $maintain = $node->safe_psql('app', q{SELECT CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ', (''MAINTAIN'', ''m'')' ELSE '' END});
$node->safe_psql('app', qq{
	CREATE VIEW public.object AS
		SELECT 'schema' AS kind, oid, nspname::text AS name, NULL::smallint AS attnum FROM pg_namespace WHERE nspname = 'unleash_tokens'
		UNION ALL
		SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'relation of kind ' || relkind::text END, oid, relname, NULL
		FROM pg_class WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind NOT IN ('i', 'I', 't')
		UNION ALL
		SELECT 'column', c.oid, c.relname || '.' || a.attname, a.attnum
		FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind NOT IN ('i', 'I', 't', 'S')
		UNION ALL
		SELECT CASE prorettype WHEN 'trigger'::regtype THEN 'trigger function' ELSE 'function' END, oid,
			regexp_replace(oid::regprocedure::text, '^unleash_tokens\\.', ''), NULL
		FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace
		UNION ALL
		SELECT CASE typtype WHEN 'c' THEN 'type of rows' ELSE 'type' END, oid, typname, NULL FROM pg_type
		WHERE typnamespace = 'unleash_tokens'::regnamespace AND typelem = 0;
	CREATE VIEW public.privilege (kind, name, letter) AS
		SELECT k, p.* FROM unnest(ARRAY['table', 'view']) AS k, (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd'),
			('TRUNCATE', 'D'), ('REFERENCES', 'x'), ('TRIGGER', 't')$maintain) AS p
		UNION ALL SELECT 'column', * FROM (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('REFERENCES', 'x')) AS p
		UNION ALL SELECT 'sequence', * FROM (VALUES ('SELECT', 'r'), ('UPDATE', 'w'), ('USAGE', 'U')) AS p
		UNION ALL SELECT 'schema', * FROM (VALUES ('USAGE', 'U'), ('CREATE', 'C')) AS p
		UNION ALL SELECT k, 'EXECUTE', 'X' FROM unnest(ARRAY['function', 'trigger function']) AS k
		UNION ALL SELECT k, 'USAGE', 'U' FROM unnest(ARRAY['type', 'type of rows']) AS k;
	CREATE FUNCTION public.has(role text, kind text, object oid, attnum smallint, privilege text) RETURNS boolean LANGUAGE sql AS \$\$
		SELECT CASE
			WHEN kind IN ('table', 'view') THEN has_table_privilege(role, object, privilege)
			WHEN kind = 'column' THEN has_column_privilege(role, object, attnum, privilege)
			WHEN kind = 'sequence' THEN has_sequence_privilege(role, object, privilege)
			WHEN kind = 'schema' THEN has_schema_privilege(role, object, privilege)
			WHEN kind ~ 'function' THEN has_function_privilege(role, object, privilege)
			ELSE has_type_privilege(role, object, privilege) END\$\$;
	CREATE TABLE public.cell AS
		SELECT o.kind, o.name AS object, r.role, p.name AS privilege, p.letter, public.has(r.role, o.kind, o.oid, o.attnum, p.name) AS held,
			public.has(r.role, o.kind, o.oid, o.attnum, p.name || ' WITH GRANT OPTION') AS grantable
		FROM public.object AS o JOIN public.privilege AS p USING (kind), (VALUES $roles) AS r (role)});

# One line for each object: who has what; for a role, beyond PUBLIC; for a column, beyond the whole table, and
# no line when that is nothing.
my $matrix = $node->safe_psql('app', q{
	SELECT format('%s %s: %s', kind, object, coalesce(string_agg(role || '=' || letters, ' ' ORDER BY role COLLATE "C") FILTER (WHERE letters <> ''), '-'))
	FROM (
		SELECT kind, object, role, coalesce(string_agg(letter || CASE WHEN grantable THEN '*' ELSE '' END, '' ORDER BY letter COLLATE "C") FILTER (
			WHERE held AND NOT EXISTS (SELECT FROM public.cell AS p WHERE c.role <> 'public' AND p.role = 'public' AND p.held
					AND (p.kind, p.object, p.privilege) = (c.kind, c.object, c.privilege))
				AND NOT EXISTS (SELECT FROM public.cell AS t WHERE c.kind = 'column' AND t.kind IN ('table', 'view') AND t.held
					AND (t.object, t.role, t.privilege) = (split_part(c.object, '.', 1), c.role, c.privilege))), '') AS letters
		FROM public.cell AS c GROUP BY kind, object, role) AS line
	GROUP BY kind, object
	HAVING kind <> 'column' OR bool_or(letters <> '')
	ORDER BY kind, object COLLATE "C"});
$matrix .= "\n" . $node->safe_psql('app', sprintf q{
	SELECT format('membership %%s: %%s', m.member::regrole, string_agg(m.roleid::regrole::text, ' ' ORDER BY m.roleid::regrole::text))
	FROM (SELECT DISTINCT member, roleid FROM pg_auth_members) AS m WHERE m.member::regrole::text IN ('%s')
	GROUP BY m.member ORDER BY m.member::regrole::text}, join q{', '}, grep { !/^pg_/ } @roles);

my $expected = slurp_file("$here/privileges.expected");
$expected =~ s/^#.*\n//mg;
is("$matrix\n", $expected, 'the matrix is that of t/privileges.expected');
note($matrix);
my ($cells, $objects) = split /\|/, $node->safe_psql('app', 'SELECT count(*), count(DISTINCT (kind, object)) FROM cell');
diag(sprintf 'figure: %d roles and PUBLIC, %d objects, %d cells', scalar(@roles), $objects, $cells);
cmp_ok($cells, '>', 1000, 'many cells');
is($node->safe_psql('app', 'SELECT count(*) FROM cell WHERE grantable'), 0, 'nobody may grant anything on');

# ---- They try ----

# As each role: every function and table, each attempt undone.  PUBLIC is what "stranger" has.
$node->safe_psql('app', q{
	CREATE TABLE public.attempt AS
		SELECT kind, name AS object, 'EXECUTE' AS privilege, format('SELECT unleash_tokens.%I(%s)', p.proname, (
			SELECT string_agg(CASE t WHEN 'interval'::regtype THEN '''1 day''::' WHEN 'timestamptz'::regtype THEN '''2026-01-01''::' WHEN 'boolean'::regtype THEN '''true''::' WHEN 'integer'::regtype THEN '''1''::' WHEN 'regclass'::regtype THEN '''pg_class''::' ELSE '''{}''::' END
				|| format_type(t, NULL), ', ') FROM unnest(p.proargtypes) AS t)) AS statement
		FROM public.object JOIN pg_proc AS p USING (oid) WHERE kind = 'function'
		UNION ALL
		SELECT o.kind, o.name, s.privilege, format(s.statement, o.oid::regclass, quote_ident((
			SELECT attname FROM pg_attribute WHERE attrelid = o.oid AND NOT attisdropped ORDER BY attnum DESC LIMIT 1)))
		FROM public.object AS o JOIN (VALUES ('SELECT', 'SELECT count(*) FROM %s'), ('INSERT', 'INSERT INTO %s DEFAULT VALUES'), ('DELETE', 'DELETE FROM %s'),
			('UPDATE', 'UPDATE %s SET %s = NULL'), ('TRUNCATE', 'TRUNCATE %s CASCADE')) AS s (privilege, statement) ON o.kind IN ('table', 'view')
		WHERE o.kind = 'table' OR s.privilege = 'SELECT'
			OR s.privilege <> 'TRUNCATE' AND pg_relation_is_updatable(o.oid, false) <> 0
		UNION ALL
		SELECT kind, name, s.privilege, format(s.statement, oid::regclass)
		FROM public.object JOIN (VALUES ('SELECT', 'SELECT last_value FROM %s'), ('UPDATE', 'SELECT nextval(%L)'), ('UPDATE', 'SELECT setval(%L, 1)')) AS s (privilege, statement)
			ON kind = 'sequence'
		UNION ALL
		SELECT kind, name, 'CREATE', format('CREATE TABLE %I.squatter ()', name) FROM public.object WHERE kind = 'schema';
	GRANT SELECT ON public.attempt TO PUBLIC;
	CREATE FUNCTION public.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE statement;
		RAISE EXCEPTION SQLSTATE 'UT000';
	EXCEPTION WHEN OTHERS THEN
		RETURN SQLSTATE;
	END
	$$;
	CREATE TABLE public.tried (role text, kind text, object text, privilege text, outcome text);
	GRANT INSERT ON public.tried TO PUBLIC;
	-- those that may do nothing else must be able to write that down
	GRANT USAGE ON SCHEMA public TO PUBLIC});
foreach my $role (@roles)
{
	$node->safe_psql('app', "SET ROLE $role; INSERT INTO public.tried SELECT '$role', kind, object, privilege, public.outcome(statement) FROM public.attempt");
}

# The schema must be entered first, and three views call functions as whoever reads them.
my $wrong = $node->safe_psql('app', q{
	SELECT t.role, t.privilege, t.kind, t.object, t.outcome, c.held
	FROM public.tried AS t JOIN public.cell AS c USING (role, kind, object, privilege)
		JOIN public.cell AS u ON u.role = t.role AND u.kind = 'schema' AND u.privilege = 'USAGE'
	WHERE (t.outcome <> '42501') <> (c.held AND (u.held OR t.kind = 'schema') AND CASE
		WHEN t.object = 'api_tokens_expiring' AND t.privilege <> 'INSERT' THEN has_function_privilege(t.role, 'unleash_tokens.get_notice_days()', 'EXECUTE')
		WHEN t.privilege <> 'SELECT' THEN true
		WHEN t.object = 'api_tokens' THEN has_function_privilege(t.role, 'unleash_tokens.get_seen_at(text,timestamptz)', 'EXECUTE')
		WHEN t.object = 'stat' THEN has_function_privilege(t.role, 'unleash_tokens.get_stat()', 'EXECUTE') ELSE true END)
	ORDER BY 1, 2, 3, 4});
is($wrong, '', 'each role can do what the matrix says, and nothing else');
my ($tried, $refused) = split /\|/, $node->safe_psql('app', q{SELECT count(*), count(*) FILTER (WHERE outcome = '42501') FROM public.tried});
diag("figure: $tried attempts, $refused refused");
cmp_ok($tried, '>', 800, 'many attempts');
is($node->safe_psql('app', q{SELECT count(*) FROM tried WHERE role IN ('unleash_tokens_authenticator', 'stranger', 'dba', 'creator') AND outcome <> '42501'}), 0,
	'those that were given nothing get nothing');

# ---- Around the matrix ----

# the views are no way past it
is($node->safe_psql('app', q{SELECT string_agg(relname || ' ' || array_to_string(reloptions, ','), E'\n' ORDER BY relname) FROM pg_class
	WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind = 'v' AND reloptions IS NOT NULL}),
	"api_token_events security_barrier=true\napi_tokens security_barrier=true\napi_tokens_expiring security_barrier=true", 'the views are security barriers');
my ($code, $out, $err) = $node->psql('app', q{
	SET ROLE unleash_tokens_admin;
	CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END$$;
	SELECT verifier FROM unleash_tokens.api_tokens WHERE pg_temp.leak(selector)});
ok($code != 0 && $err =~ /column "verifier" does not exist/, 'the view api_tokens has no verifier');

# defaults of the administrator do not reach what the next version makes
$node->safe_psql('postgres', 'CREATE DATABASE updated');
$node->safe_psql('updated', q{
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION unleash_tokens VERSION '1.0';
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC;
	ALTER EXTENSION unleash_tokens UPDATE});
is($node->safe_psql('updated', q{SELECT status FROM unleash_tokens.doctor() WHERE check_name = 'public_privileges'}), 'ok', 'PUBLIC has nothing after an update under generous defaults');

# A role that was made for something else is left as it is, whatever its name; PostgREST's tutorial makes one "authenticator".
my $neighbour = q{SELECT concat_ws(' ', rolcanlogin, rolinherit, rolconfig, ARRAY(SELECT roleid::regrole FROM pg_auth_members AS m WHERE m.member = r.oid))
	FROM pg_roles AS r WHERE rolname = 'authenticator'};
$node->safe_psql('app', q{CREATE ROLE authenticator LOGIN INHERIT; ALTER ROLE authenticator SET statement_timeout = '1h'});
my $neighbour_before = $node->safe_psql('app', $neighbour);
$node->safe_psql('app', slurp_file("$here/../http/roles.sql"));
is($node->safe_psql('app', $neighbour), $neighbour_before, 'roles.sql changes no role but those with names of ours');

# What the login may become it does not have before, whoever granted it and how.
my ($inherit, $other) = $node->safe_psql('app', 'SHOW server_version_num') >= 160000 ? ('WITH INHERIT TRUE', 'WITH ADMIN TRUE, INHERIT TRUE') : ('', 'WITH ADMIN OPTION');
$node->safe_psql('app', qq{
	ALTER ROLE unleash_tokens_authenticator INHERIT;
	GRANT unleash_tokens_rest, unleash_tokens_admin TO unleash_tokens_authenticator $inherit;
	CREATE ROLE granter;
	GRANT unleash_tokens_admin TO granter WITH ADMIN OPTION;
	SET ROLE granter;
	GRANT unleash_tokens_admin TO unleash_tokens_authenticator $other});
my $has = q{SELECT pg_has_role('unleash_tokens_authenticator', 'unleash_tokens_admin', 'USAGE'), pg_has_role('unleash_tokens_authenticator', 'unleash_tokens_rest', 'USAGE'),
	pg_has_role('unleash_tokens_authenticator', 'unleash_tokens_admin', 'MEMBER WITH ADMIN OPTION'), pg_has_role('unleash_tokens_authenticator', 'unleash_tokens_admin', 'MEMBER')};
is($node->safe_psql('app', $has), 't|t|t|t', 'memberships given by hand');
$node->safe_psql('app', slurp_file("$here/../http/roles.sql"));
is($node->safe_psql('app', $has), 'f|f|f|t', '... are those of roles.sql after it has run again');
$node->safe_psql('app', 'DROP ROLE granter; DROP ROLE authenticator');

# roles.sql takes back what was granted by hand
$node->safe_psql('app', q{
	GRANT ALL ON SCHEMA unleash_tokens TO unleash_tokens_rest;
	GRANT ALL ON ALL TABLES IN SCHEMA unleash_tokens TO unleash_tokens_rest, unleash_tokens_standby;
	GRANT ALL ON ALL FUNCTIONS IN SCHEMA unleash_tokens TO unleash_tokens_rest, unleash_tokens_admin;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA unleash_tokens TO unleash_tokens_admin;
	ALTER ROLE unleash_tokens_rest LOGIN BYPASSRLS;
	ALTER ROLE unleash_tokens_authenticator RESET ALL});
is($node->safe_psql('app', q{SELECT string_agg(check_name, ' ') FROM unleash_tokens.doctor() WHERE check_name ~ 'roles|grants|timeouts|parameter' AND status <> 'ok'}),
	'roles grants timeouts parameter_logging', 'granted and set by hand');
$node->safe_psql('app', slurp_file("$here/../http/roles.sql"));
is($node->safe_psql('app', q{SELECT count(*) FROM public.cell AS c JOIN public.object AS o ON (o.kind, o.name) = (c.kind, c.object)
	WHERE c.held <> public.has(c.role, o.kind, o.oid, o.attnum, c.privilege)}), 0, 'http/roles.sql puts every cell right again');
is($node->safe_psql('app', q{SELECT string_agg(check_name, ' ') FROM unleash_tokens.doctor() WHERE check_name ~ 'roles|grants|timeouts|parameter' AND status <> 'ok'}),
	'parameter_logging', '... and roles and settings, but for those of the other caller');

$node->stop;
done_testing();
