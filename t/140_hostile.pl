
# Copyright (c) 2026, unleash_tokens contributors

# A hostile neighbourhood: another user's functions, operators, types and tables
# with the names that we use, in the schemas that are looked into first; objects
# with our names made before CREATE EXTENSION and ALTER EXTENSION UPDATE;
# triggers, policies and event triggers of others.  Nothing of theirs may be
# called or adopted, and nothing may be answered that is not so.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $checkout = abs_path(dirname(__FILE__) . '/..');
my @versions = ('1.0', '2.0');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'unleash_tokens'\nunleash_tokens.flush_interval = 3600\nlog_min_messages = fatal\nlog_min_error_statement = panic\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');

# ---- Traps ----

# As mallory: in public, every function of pg_catalog that can be written in
# plpgsql, with the same arguments; every operator, with its own arguments and
# with all pairs of common types, so that one fits better than the server's
# where the server's needs a cast; the names we call with other arguments; all
# raise an error.
my $traps = q{
	SET ROLE mallory;
	DO $make$
	DECLARE
		body constant text := format($$ LANGUAGE plpgsql AS %L$$, $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$);
		types constant text[] := '{text,name,varchar,bpchar,"\"char\"",oid,int2,int4,int8,bool,bytea,jsonb,timestamptz,interval,regclass,regnamespace,text[]}';
		one record;
		made int := 0;
	BEGIN
		FOR one IN
			SELECT format('CREATE FUNCTION public.%I(%s) RETURNS %s%s', p.proname, oidvectortypes(p.proargtypes),
				CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END, format_type(p.prorettype, NULL)) AS head
			FROM pg_proc AS p JOIN pg_type AS r ON r.oid = p.prorettype
			WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.provariadic = 0 AND p.proargmodes IS NULL AND r.typtype <> 'p'
				AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) AS a JOIN pg_type AS t ON t.oid = a
					WHERE t.typtype = 'p' AND t.typname NOT IN ('anyelement', 'anyarray', 'record'))
		LOOP
			BEGIN
				EXECUTE one.head || body;
				made := made + 1;
			EXCEPTION WHEN OTHERS THEN
				NULL;	-- some types cannot be those of a plpgsql function
			END;
		END LOOP;
		FOR one IN
			SELECT a, b FROM unnest(types) AS a, unnest(types) AS b
		LOOP
			EXECUTE format('CREATE FUNCTION public.trap(%s, %s) RETURNS boolean', one.a, one.b) || body;
		END LOOP;
		FOR one IN
			SELECT DISTINCT o.oprname, a, b FROM (SELECT DISTINCT oprname FROM pg_operator) AS o, unnest(types) AS a, unnest(types) AS b
			WHERE o.oprname IN ('=', '<>', '<', '<=', '>', '>=', '~', '!~', '~*', '||', '->', '->>', '+', '-', '*', '/', '@>', '?')
		LOOP
			EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.trap, LEFTARG = %s, RIGHTARG = %s)', one.oprname, one.a, one.b);
			made := made + 1;
		END LOOP;
		FOR one IN
			SELECT f, a FROM unnest('%s'::text[]) AS f, (SELECT a FROM unnest(types) AS a
				UNION ALL SELECT a || ', ' || b FROM unnest(types[1:6]) AS a, unnest(types[1:6]) AS b UNION ALL SELECT '') AS a
		LOOP
			CONTINUE WHEN to_regprocedure(format('public.%I(%s)', one.f, one.a)) IS NOT NULL;
			EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS text', one.f, one.a) || body;
			made := made + 1;
		END LOOP;
		RAISE NOTICE '% traps', made;
	END
	$make$;
	-- a type of mallory's, into which a text turns by itself
	CREATE TYPE public.evil AS (a text);
	CREATE FUNCTION public.to_evil(text) RETURNS public.evil LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$;
	CREATE CAST (text AS public.evil) WITH FUNCTION public.to_evil(text) AS IMPLICIT;
	CREATE FUNCTION public.evil_equal(public.evil, public.evil) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$;
	CREATE OPERATOR public.= (FUNCTION = public.evil_equal, LEFTARG = public.evil, RIGHTARG = public.evil);
	RESET ROLE};

# The functions that our SQL calls, in the scripts and in the library.
my %called;
foreach my $file (glob("$checkout/unleash_tokens--*.sql"), "$checkout/src/store/plan.c")
{
	my $text = slurp_file($file);
	$text =~ s/--.*//g;
	$called{$1} = 1 while $text =~ /(?<![\w.])(?:pg_catalog\.)?([a-z_]+)\(/g;
}
delete @called{qw(trap values check numeric)};
my $called = '{' . join(',', sort keys %called) . '}';
$traps =~ s/%s'::text\[\]/$called'::text[]/;

sub set_traps
{
	my ($database) = @_;
	my ($code, $out, $err) = $node->psql($database, "GRANT CREATE, USAGE ON SCHEMA public TO mallory; $traps", on_error_stop => 1);
	is($code, 0, "$database: traps are set") or BAIL_OUT($err);
	diag("figure: $database: $1 traps, for " . scalar(keys %called) . ' functions and all operators') if $err =~ /NOTICE:\s+(\d+) traps/;
	return;
}

# Tables, views, types in pg_temp, which is looked into first for these.
my $temp = 'SET client_min_messages = warning; ' . join('; ',
	(map { "CREATE TEMP TABLE $_ (a int)" } qw(api_token api_token_project api_token_event project environment backup_row stat api_tokens
		  pg_extension pg_class pg_proc pg_namespace pg_roles pg_depend pg_settings pg_trigger pg_db_role_setting pg_stat_activity)),
	(map { qq{CREATE DOMAIN pg_temp.$_ AS pg_catalog.int4} } qw("text" jsonb bytea timestamptz regnamespace regclass "interval" "*/*")));

# ---- The extension is made and updated among traps ----

# What its objects depend on, but for the server's own.
my $depends = q{
	SELECT DISTINCT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
	FROM pg_catalog.pg_depend AS d, LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS o,
		LATERAL pg_catalog.pg_identify_object(d.refclassid, d.refobjid, 0) AS r
	WHERE o.schema OPERATOR(pg_catalog.=) 'unleash_tokens' AND r.schema OPERATOR(pg_catalog.=) 'public'};

foreach my $version (@versions)
{
	my $database = 'traps' . $version =~ s/\D//gr;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	# an extension in public: nothing of it is taken either
	$node->safe_psql($database, 'CREATE EXTENSION pgcrypto SCHEMA public');
	set_traps($database);
	my ($code, $out, $err) = $node->psql($database, "CREATE EXTENSION unleash_tokens VERSION '$version'; ALTER EXTENSION unleash_tokens UPDATE", on_error_stop => 1);
	is($code . $err =~ s/.*NOTICE: .* is already installed//r, 0, "made as $version and updated among traps");
	is($node->safe_psql($database, "SET search_path = pg_catalog; $depends"), '', '... depends on none of them');
	is($node->safe_psql($database, "SET search_path = pg_catalog; SELECT extversion FROM pg_extension WHERE extname = 'unleash_tokens'"), $versions[-1], '... is there');
}

# ---- The whole API among traps ----

my $db = 'traps10';
$node->safe_psql($db, slurp_file("$checkout/http/roles.sql"));
$node->safe_psql($db, q{
	SET search_path = pg_catalog;
	GRANT unleash_tokens_admin, unleash_tokens_rest, unleash_tokens_standby TO mallory;
	GRANT TEMP ON DATABASE traps10 TO mallory});

# What a request through PostgREST sets, and the call.
sub request
{
	my ($method, $uri, $body, $entry, $key) = @_;
	my $headers = qq!{"x-original-method": "$method", "x-original-uri": "$uri", "x-original-content-type": "application/json"!
	  . (defined $key ? qq!, "authorization": "$key"}! : '}');
	my $argument = defined $body ? q{pg_catalog.convert_to('} . $body . q{', 'UTF8')} : '';
	return qq{BEGIN; SELECT pg_catalog.set_config('request.headers', '$headers', true); SELECT pg_catalog.set_config('request.method', 'POST', true);
		SELECT pg_catalog.convert_from(unleash_tokens.$entry($argument)::pg_catalog.bytea, 'UTF8'), pg_catalog.current_setting('response.status', true); COMMIT};
}

# Every function of the API and every trigger, under a search path; what it answered.
sub call_everything
{
	my ($setup) = @_;
	$node->safe_psql($db, 'SET search_path = pg_catalog; DELETE FROM unleash_tokens.api_token; DELETE FROM unleash_tokens.api_token_event; DELETE FROM unleash_tokens.project WHERE id IN (\'a\', \'b\', \'c\', \'d\'); SELECT unleash_tokens.stat_reset()');
	my %secret;
	my $log = '';
	my $call = sub {
		my ($sql, $who) = @_;
		my ($code, $out, $err) = $node->psql($db, "$setup; $sql", extra_params => [ '-U', $who // 'mallory' ], on_error_stop => 1);
		$err =~ s/^psql:<stdin>:\d+: //mg;
		my $said = "$out$err";
		$log .= ($sql =~ /unleash_tokens\.(\w+)/)[0] . ": $said\n";
		return $out;
	};
	my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

	$call->(q{INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('c')}, $superuser);
	$call->(q{UPDATE unleash_tokens.project SET id = 'd' WHERE id OPERATOR(pg_catalog.=) 'c'}, $superuser);
	foreach my $body ('{"type": "admin", "tokenName": "admin"}', '{"type": "client", "tokenName": "one", "projects": ["b", "a"], "environment": "production"}',
		'{"type": "frontend", "tokenName": "two", "project": "d"}', '{"type": "client", "tokenName": "expired", "expiresAt": "2001-01-01T00:00:00Z"}')
	{
		my ($name) = $body =~ /"tokenName": "(\w+)"/;
		$call->("SELECT unleash_tokens.create_api_token('$body')") =~ /"secret": "([^"]+)"/ or next;
		$secret{$name} = $1;
	}
	my $s = sub { $secret{ $_[0] } // 'none' };
	$call->('SELECT unleash_tokens.create_api_token(\'{"type": "client", "tokenName": "n", "project": "nowhere"}\')');
	$call->("SELECT unleash_tokens.validate_api_token('" . $s->($_) . "')") foreach qw(admin one two expired other);
	$call->("SELECT * FROM unleash_tokens.validate_api_tokens(ARRAY['" . $s->('one') . "', 'x', '" . $s->('admin') . "'])");
	$call->('SELECT unleash_tokens.get_all_api_tokens()');
	$call->(q{SELECT unleash_tokens.get_api_tokens_by_name('one')});
	$call->("SELECT unleash_tokens.update_api_token('" . $s->('one') . q{', '{"expiresAt": "2999-12-31T23:59:59Z"}')});
	$call->("SELECT unleash_tokens.delete_api_token('" . $s->('admin') . q{'), unleash_tokens.delete_api_token('none')});
	$call->(q!SELECT unleash_tokens.import_api_tokens('{"tokens": [{"secret": "*:development.! . '5' x 56
		  . q!", "tokenName": "old", "type": "client", "environment": "development", "projects": ["a"]}]}')!);
	$call->("SELECT unleash_tokens.validate_api_token('*:development." . '5' x 56 . q{')});
	$call->(q{SELECT unleash_tokens.purge_expired('1 day')});
	$call->(q{SELECT unleash_tokens.purge_events('1 day')});
	$call->('SELECT * FROM unleash_tokens.list_refusals()');
	$call->('SELECT unleash_tokens.get_seen_at(NULL, NULL)');
	$call->(q{SELECT unleash_tokens.note_usage('{}', '{}')});
	$call->('SELECT unleash_tokens.get_notice_days()');
	$call->('SELECT * FROM unleash_tokens.get_stat()');
	$call->('SELECT * FROM unleash_tokens.doctor()');
	$call->("SELECT * FROM unleash_tokens.$_") foreach qw(api_tokens api_tokens_expiring api_token_events stat);
	$call->(request('POST', '/api/admin/api-tokens', '{"type": "admin", "tokenName": "rest"}', 'rest_api'));
	my ($key) = $call->(q{SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "key"}')}) =~ /"secret": "([^"]+)"/;
	$key //= 'none';
	$call->(request('POST', '/api/admin/api-tokens', '{"type": "client", "tokenName": "rest", "projects": ["a", "b"]}', 'rest_api', $key));
	$call->(request('GET', '/api/admin/api-tokens', undef, 'rest_api', $key));
	$call->(request('GET', '/api/admin/api-tokens/rest', undef, 'rest_api', $key));
	$call->(request('PUT', '/api/admin/api-tokens/' . $s->('two'), '{"expiresAt": null}', 'rest_api', $key));
	$call->(request('DELETE', '/api/admin/api-tokens/' . $s->('two'), '', 'rest_api', $key));
	$call->(request('POST', '/edge/validate', qq{{"tokens": ["$key"]}}, 'rest_read'));
	$call->(q{DELETE FROM unleash_tokens.project WHERE id OPERATOR(pg_catalog.=) 'a'}, $superuser);
	$call->(q{INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "c", "origin": "user", "created_at": "2026-01-01"}')}, $superuser);
	$call->(q{SELECT * FROM unleash_tokens.project}, $superuser);
	$call->('SELECT unleash_tokens.stat_reset()');
	# what differs from run to run
	$log =~ s/(?<![0-9A-Za-z])[0-9A-Za-z]{22}(_[0-9A-Za-z]{43})?(?![0-9A-Za-z])/SELECTOR/g;
	$log =~ s/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|\+00)/TIME/g;
	$log =~ s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/ID/g;
	$log =~ s/^((?:get_stat|stat): (?:\d+\|){8})\d+/$1HELD/mg;
	$log =~ s/^(api_token_events: )?\d+\|(?=TIME\|api-token)/ID|/mg;
	return $log;
}

my $plain = call_everything('SET search_path = pg_catalog');
cmp_ok(scalar(() = $plain =~ /SELECTOR/g), '>', 30, 'the API works');
is(join(' ', $plain =~ /\|(\d{3})$/mg), '401 201 200 200 200 200 200', '... REST too');
unlike($plain, qr/ERROR:(?!  a project does not exist)/, '... without an error of the server') or diag($plain);
my $trapped = call_everything("$temp; SET search_path = public, pg_temp, pg_catalog");
unlike($trapped, qr/the trap was sprung/, 'no trap is sprung');
is_deeply([ split /\n/, $trapped ], [ split /\n/, $plain ], 'the whole API answers the same with all traps first in the search path');
is_deeply([ split /\n/, call_everything("$temp; SET search_path = pg_temp, public") ], [ split /\n/, $plain ], '... and with the server\'s own schema looked into as usual');

# ---- The traps do spring ----

my ($code, $out, $err) = $node->psql($db, q{SET search_path = public, pg_catalog; SELECT length('x')});
like($err, qr/the trap was sprung/, 'a plain statement springs one');
foreach my $function ('create_api_token(jsonb)', 'delete_api_token(text)', 'doctor()')
{
	my $argument = $function =~ /jsonb/ ? q{'{"type": "client", "tokenName": "n", "project": "d"}'} : $function =~ /text/ ? q{'aaaaaaaaaaaaaaaaaaaaaa'} : '';
	my ($name) = $function =~ /^(\w+)/;
	($code, $out, $err) = $node->psql($db, qq{BEGIN; ALTER FUNCTION unleash_tokens.$function RESET search_path;
		SET LOCAL search_path = public, pg_catalog; SELECT unleash_tokens.$name($argument); ROLLBACK});
	like($err, qr/the trap was sprung|is not an aggregate function|CASE types boolean and text cannot be matched/, "... and $name() would, without its search_path");
}

# ---- Before CREATE EXTENSION ----

# mallory's schema with our name, full of our objects, and pgcrypto's functions in public
$node->safe_psql('postgres', 'CREATE DATABASE squatted');
$node->safe_psql('squatted', q{
	GRANT CREATE ON DATABASE squatted TO mallory; GRANT CREATE ON SCHEMA public TO mallory;
	SET ROLE mallory;
	CREATE FUNCTION public.digest(text, text) RETURNS bytea LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$;
	CREATE FUNCTION public.gen_random_bytes(integer) RETURNS bytea LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$});
($code, $out, $err) = $node->psql('squatted', 'CREATE EXTENSION unleash_tokens');
is($code . $err, 0, 'mallory\'s digest() and gen_random_bytes() do not matter');
$node->safe_psql('squatted', 'DROP EXTENSION unleash_tokens; DROP SCHEMA unleash_tokens');
my $mine = q{
	CREATE SCHEMA unleash_tokens;
	CREATE TABLE unleash_tokens.project (id text); CREATE TABLE unleash_tokens.api_token (selector text);
	CREATE VIEW unleash_tokens.api_tokens AS SELECT 1 AS a;
	CREATE DOMAIN unleash_tokens."*/*" AS bytea;
	CREATE FUNCTION unleash_tokens.create_api_token(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$;
	CREATE FUNCTION unleash_tokens.mark_changed() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$};
foreach my $who ('mallory', 'CURRENT_USER')
{
	my $become = $who eq 'mallory' ? 'SET ROLE mallory;' : '';
	$node->safe_psql('squatted', "$become $mine");
	($code, $out, $err) = $node->psql('squatted', 'CREATE EXTENSION unleash_tokens');
	like($err, qr/^psql:<stdin>:1: ERROR:  schema "unleash_tokens" exists already/, "a full schema made by $who: refused");
	is($node->safe_psql('squatted', q{SELECT count(*) FROM pg_extension WHERE extname = 'unleash_tokens'}), 0, '... nothing is left of the attempt');
	$node->safe_psql('squatted', 'DROP SCHEMA unleash_tokens CASCADE');
}
# one object of each kind that the first script makes, in a schema of the superuser's where mallory may create
foreach my $object ('TABLE unleash_tokens.environment ()', 'SEQUENCE unleash_tokens.api_token_event_id_seq', 'VIEW unleash_tokens.api_token_events AS SELECT 1 AS a',
	'DOMAIN unleash_tokens."*/*" AS text', q{FUNCTION unleash_tokens.rest_api() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'},
	q{FUNCTION unleash_tokens.rest_api(text DEFAULT '') RETURNS text LANGUAGE sql AS 'SELECT NULL::text'},
	'OPERATOR unleash_tokens.= (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)', q{PROCEDURE unleash_tokens.anything() LANGUAGE sql AS ''},
	'TYPE unleash_tokens.api_token AS (a int)', 'COLLATION unleash_tokens."C" FROM "C"')
{
	$node->safe_psql('squatted', "CREATE SCHEMA unleash_tokens; GRANT ALL ON SCHEMA unleash_tokens TO mallory; SET ROLE mallory; CREATE $object");
	($code, $out, $err) = $node->psql('squatted', 'CREATE EXTENSION unleash_tokens');
	like($err, qr/ERROR:  schema "unleash_tokens" exists already/, "mallory's $object: refused");
	$node->safe_psql('squatted', 'DROP SCHEMA unleash_tokens CASCADE');
}

# ---- Before ALTER EXTENSION UPDATE ----

# Whoever may CREATE in the schema, by a grant that we do not make, can stop an update; it is never theirs that is used.
my %made_by = (
	'1.0' => [ 'FUNCTION unleash_tokens.get_seen_at(text, timestamptz) RETURNS timestamptz', 'FUNCTION unleash_tokens.note_usage(text[], timestamptz[], bytea[]) RETURNS bigint',
		'FUNCTION unleash_tokens.get_stat() RETURNS text', 'FUNCTION unleash_tokens.stat_reset() RETURNS void', 'VIEW unleash_tokens.stat AS SELECT 1 AS validations',
		'TABLE unleash_tokens.stat (validations int)', 'FUNCTION unleash_tokens.get_stat(integer DEFAULT 1) RETURNS text',
		'FUNCTION unleash_tokens.doctor() RETURNS text', 'FUNCTION unleash_tokens.library_version() RETURNS text', 'FUNCTION unleash_tokens.check_owners() RETURNS text' ]);
my $body = q{ LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$};
foreach my $version (sort keys %made_by)
{
	foreach my $object (@{ $made_by{$version} })
	{
		$node->safe_psql('squatted', "CREATE EXTENSION unleash_tokens VERSION '$version'; GRANT ALL ON SCHEMA unleash_tokens TO mallory;
			SET ROLE mallory; CREATE $object" . ($object =~ /^FUNCTION/ ? $body : ''));
		($code, $out, $err) = $node->psql('squatted', 'ALTER EXTENSION unleash_tokens UPDATE');
		like($err, qr/ERROR:  .*(?:already exists|is not unique)/, "$version with mallory's " . ($object =~ /(\w+ [\w.]+)/)[0] . ': no update');
		is($node->safe_psql('squatted', q{SELECT extversion FROM pg_extension WHERE extname = 'unleash_tokens'}), $version, '... the version stays');
		like($node->safe_psql('squatted', q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}')}), qr/"tokenName": "n"/, '... and works');
		my ($kind, $name) = $object =~ /^(\w+) (unleash_tokens\.\w+(?:\([^)]*\))?)/;
		$name =~ s/ DEFAULT \d//;
		$node->safe_psql('squatted', "DROP $kind $name; ALTER EXTENSION unleash_tokens UPDATE");
		is($node->safe_psql('squatted', q{SELECT extversion FROM pg_extension WHERE extname = 'unleash_tokens'}), $versions[-1], '... without it the update is made');
		$node->safe_psql('squatted', 'DROP EXTENSION unleash_tokens; DROP SCHEMA unleash_tokens');
	}
}
# others of the same name are left alone, and named by doctor()
foreach my $object ('get_stat(text)', 'get_seen_at(varchar, timestamptz)', 'doctor(integer)', 'doctor(VARIADIC text[])')
{
	$node->safe_psql('squatted', "CREATE EXTENSION unleash_tokens VERSION '1.0'; GRANT ALL ON SCHEMA unleash_tokens TO mallory;
		SET ROLE mallory; CREATE FUNCTION unleash_tokens.$object RETURNS SETOF text $body");
	($code, $out, $err) = $node->psql('squatted', 'ALTER EXTENSION unleash_tokens UPDATE');
	is($code, 0, "mallory's $object: the update is made") or diag($err);
	is($node->safe_psql('squatted', q{SELECT (SELECT count(*) FROM unleash_tokens.stat), (SELECT count(*) FROM unleash_tokens.api_tokens)}), '1|0', '... the views call ours');
	is($node->safe_psql('squatted', q{SELECT count(*) FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
		WHERE p.proowner = 'mallory'::regrole AND d.deptype = 'e'}), 0, '... it is not adopted');
	like($node->safe_psql('squatted', q{SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'foreign_objects'}), qr/is none of ours/, '... and doctor() names it');
	$node->safe_psql('squatted', 'DROP SCHEMA unleash_tokens CASCADE');
}

# ---- Bystanders ----

$node->safe_psql('postgres', 'CREATE DATABASE bystanders');
$node->safe_psql('bystanders', q{
	CREATE TABLE public.heard (what text);
	CREATE FUNCTION public.hear() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.heard VALUES (tg_event || ' ' || tg_tag); END$$;
	CREATE EVENT TRIGGER hear_start ON ddl_command_start EXECUTE FUNCTION public.hear();
	CREATE EVENT TRIGGER hear_end ON ddl_command_end EXECUTE FUNCTION public.hear();
	CREATE EVENT TRIGGER hear_drop ON sql_drop EXECUTE FUNCTION public.hear();
	CREATE EVENT TRIGGER hear_rewrite ON table_rewrite EXECUTE FUNCTION public.hear();
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION unleash_tokens VERSION '1.0';
	ALTER EXTENSION unleash_tokens UPDATE});
cmp_ok($node->safe_psql('bystanders', 'SELECT count(*) FROM public.heard'), '>', 50, 'event triggers hear the scripts, which work');
$node->safe_psql('bystanders', slurp_file("$checkout/http/roles.sql"));
$node->safe_psql('bystanders', q{TRUNCATE public.heard; INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('c')});

# A round of the API by the role of the SQL door; what it answers is the names and validity.
my $round = q{
	SET ROLE unleash_tokens_admin;
	SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "one", "projects": ["a", "b"]}') ->> 'secret' AS secret \gset
	SELECT unleash_tokens.validate_api_token(:'secret') ->> 'tokenName';
	SELECT unleash_tokens.update_api_token(:'secret', '{"expiresAt": "2999-12-31T23:59:59Z"}') ->> 'expiresAt';
	SELECT count(*) FROM unleash_tokens.api_tokens WHERE token_name = 'one';
	SELECT unleash_tokens.delete_api_token(:'secret');
	SELECT unleash_tokens.validate_api_token(:'secret') IS NULL;
	SELECT count(*) FROM unleash_tokens.api_token_events WHERE selector = split_part(split_part(:'secret', '.v2_', 2), '_', 1)};
my $good = "one\n2999-12-31T23:59:59.000Z\n1\nt\nt\n3";
is($node->safe_psql('bystanders', $round), $good, 'a round of the API');
is($node->safe_psql('bystanders', 'SELECT count(*) FROM public.heard'), 0, '... in which no event trigger hears of anything');

$node->safe_psql('bystanders', q{
	DROP EVENT TRIGGER hear_start; DROP EVENT TRIGGER hear_end; DROP EVENT TRIGGER hear_drop; DROP EVENT TRIGGER hear_rewrite;
	ALTER TABLE unleash_tokens.api_token ENABLE ROW LEVEL SECURITY; ALTER TABLE unleash_tokens.api_token FORCE ROW LEVEL SECURITY;
	ALTER TABLE unleash_tokens.api_token_project ENABLE ROW LEVEL SECURITY; ALTER TABLE unleash_tokens.api_token_project FORCE ROW LEVEL SECURITY;
	CREATE POLICY none ON unleash_tokens.api_token USING (false);
	CREATE POLICY none ON unleash_tokens.api_token_project USING (false)});
is($node->safe_psql('bystanders', $round), $good, 'under row security that hides all');
$node->safe_psql('bystanders', q{
	DROP POLICY none ON unleash_tokens.api_token; DROP POLICY none ON unleash_tokens.api_token_project;
	ALTER TABLE unleash_tokens.api_token DISABLE ROW LEVEL SECURITY; ALTER TABLE unleash_tokens.api_token_project DISABLE ROW LEVEL SECURITY;
	CREATE FUNCTION public.noise() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE NOTICE 'noise';
		SET LOCAL search_path = public, pg_catalog;
		INSERT INTO public.heard VALUES (tg_op || ' ' || tg_table_name);
		RETURN coalesce(NEW, OLD);
	END $$});
my @tables = qw(api_token api_token_project api_token_event);
$node->safe_psql('bystanders', join ';', map { my $table = $_; map { "CREATE TRIGGER noise_$_ $_ INSERT OR UPDATE OR DELETE ON unleash_tokens.$table FOR EACH ROW EXECUTE FUNCTION public.noise()" } qw(BEFORE AFTER) } @tables);
is($node->safe_psql('bystanders', $round), $good, 'with noisy triggers, which change the search path');
cmp_ok($node->safe_psql('bystanders', 'SELECT count(DISTINCT what) FROM public.heard'), '>=', 6, '... and are heard');
$node->safe_psql('bystanders', join ';', map { my $table = $_; map { "DROP TRIGGER noise_$_ ON unleash_tokens.$table" } qw(BEFORE AFTER) } @tables);

# Settings of others.
my $old = $node->pg_version < 16;
my %settings = (
	transform_null_equals => 'on', standard_conforming_strings => 'off', backslash_quote => 'off', escape_string_warning => 'on', array_nulls => 'off',
	quote_all_identifiers => 'on', DateStyle => q{'German, DMY'}, IntervalStyle => 'sql_standard', TimeZone => q{'Asia/Kolkata'}, extra_float_digits => '-15',
	bytea_output => 'escape', xmloption => 'document', default_transaction_isolation => 'serializable', default_transaction_deferrable => 'on',
	check_function_bodies => 'off', row_security => 'off', synchronous_commit => 'off', lo_compat_privileges => 'on', search_path => 'public, pg_temp, pg_catalog',
	work_mem => q{'64kB'}, temp_buffers => q{'800kB'}, geqo_threshold => '2', from_collapse_limit => '1', join_collapse_limit => '1', constraint_exclusion => 'on',
	cursor_tuple_fraction => '0', jit_above_cost => '0', min_parallel_table_scan_size => '0', parallel_setup_cost => '0', parallel_tuple_cost => '0',
	($old ? 'force_parallel_mode' : 'debug_parallel_query') => 'on', plan_cache_mode => 'force_custom_plan',
	map { ("enable_$_" => 'off') } qw(indexscan indexonlyscan bitmapscan nestloop hashjoin mergejoin sort hashagg material tidscan));
$node->safe_psql('bystanders', join ';', map { "ALTER DATABASE bystanders SET $_ = $settings{$_}" } keys %settings);
is($node->safe_psql('bystanders', $round), $good, 'under settings of others: the same round');
$node->safe_psql('bystanders', 'SET standard_conforming_strings = on; ' . join ';', map { "ALTER DATABASE bystanders RESET $_" } keys %settings);

# A trigger that swallows a row, or says no: the call says no too, and nothing of it stays.
$node->safe_psql('bystanders', q{
	CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE FUNCTION public.say_no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$;
	CREATE TABLE public.known AS SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "known", "expiresAt": "2001-01-01T00:00:00Z"}') ->> 'secret' AS secret});
$node->safe_psql('bystanders', q{CREATE ROLE stood_for; SELECT unleash_tokens.set_guard_role('client', 'stood_for')});
my $all = q{SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY selector)) FROM unleash_tokens.api_token AS t), (SELECT count(*) FROM unleash_tokens.api_token_project),
	(SELECT count(*) FROM unleash_tokens.api_token_event), (SELECT string_agg(g::text, ',' ORDER BY g::text) FROM unleash_tokens.guard_role AS g)};
my $before = $node->safe_psql('bystanders', $all);
my %calls = (
	create => q{unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "projects": ["a", "b"]}')},
	update => q{unleash_tokens.update_api_token(secret, '{"expiresAt": null}')},
	delete => 'unleash_tokens.delete_api_token(secret)',
	purge => q{unleash_tokens.purge_expired('1 day')},
	'purge of events' => q{unleash_tokens.purge_events('0')},
	'set a role' => q{unleash_tokens.set_guard_role('admin', 'stood_for')},
	'drop a role' => q{unleash_tokens.drop_guard_role('client')},
	'import of a foreign secret' => q!unleash_tokens.import_api_tokens('{"tokens": [{"secret": "*:development.be44368985f7fb3237c584ef86f3d6bdada42ddbd63a019d26955178",
		"tokenName": "foreign", "type": "client", "environment": "development", "projects": ["*"]}]}')!,
	import => q!unleash_tokens.import_api_tokens('{"tokens": [{"secret": "*:development.v2_! . '0' x 22 . '_' . '1' x 43
	  . q!", "tokenName": "old", "type": "client", "environment": "development", "projects": ["a"]}]}')!);
foreach (
	[ 'INSERT', 'api_token', 'create', 'import', 'import of a foreign secret' ],
	[ 'INSERT', 'api_token_project', 'create', 'import' ],
	[ 'INSERT', 'api_token_event', 'create', 'update', 'delete', 'purge', 'import' ],
	[ 'UPDATE', 'api_token', 'update' ],
	[ 'DELETE', 'api_token', 'delete', 'purge' ],
	[ 'DELETE', 'api_token_event', 'purge of events' ],
	[ 'INSERT', 'guard_role', 'set a role' ],
	[ 'DELETE', 'guard_role', 'drop a role' ])
{
	my ($event, $table, @calls) = @$_;
	foreach my $function ('swallow', 'say_no')
	{
		$node->safe_psql('bystanders', "CREATE TRIGGER bystander BEFORE $event ON unleash_tokens.$table FOR EACH ROW EXECUTE FUNCTION public.$function()");
		foreach my $call (@calls)
		{
			($code, $out, $err) = $node->psql('bystanders', "\\set VERBOSITY verbose\nSET statement_timeout = '60s'; SELECT $calls{$call} FROM public.known");
			my $expected = $function eq 'swallow' ? qr/ERROR:  09000: a row of unleash_tokens was not written/ : qr/ERROR:  P0001: no/;
			like($err, $expected, "$call: a trigger on $table that does $function");
			is($node->safe_psql('bystanders', $all), $before, '... nothing has changed');
		}
		$node->safe_psql('bystanders', "DROP TRIGGER bystander ON unleash_tokens.$table");
	}
}
# a rule, likewise
$node->safe_psql('bystanders', 'CREATE RULE quiet AS ON DELETE TO unleash_tokens.api_token DO INSTEAD NOTHING');
($code, $out, $err) = $node->psql('bystanders', "SELECT $calls{delete} FROM public.known");
isnt($code == 0 ? $out : 'refused', 't', 'delete: a rule that does nothing instead');
is($node->safe_psql('bystanders', $all), $before, '... nothing has changed');
$node->safe_psql('bystanders', 'DROP RULE quiet ON unleash_tokens.api_token');
is($node->safe_psql('bystanders', $round), $good, 'without all that: a round of the API');

$node->stop;
done_testing();
