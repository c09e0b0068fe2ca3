-- guard(): on behalf of which token does a transaction run, in which role, and how long?
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE ROLE guard_reader;
CREATE ROLE guard_writer;
CREATE ROLE guard_any;
CREATE ROLE guard_login LOGIN NOINHERIT;
GRANT guard_reader, guard_writer, guard_any TO guard_login;
GRANT USAGE ON SCHEMA unleash_tokens TO guard_login, guard_reader, guard_writer, guard_any;
INSERT INTO unleash_tokens.project (id) VALUES ('red'), ('blue');
RESET client_min_messages;

-- a place for secrets that every role can read
CREATE TABLE guard_secret (name text PRIMARY KEY, secret text);
GRANT SELECT ON guard_secret TO PUBLIC;
INSERT INTO guard_secret
	SELECT name, unleash_tokens.create_api_token(jsonb_build_object('tokenName', name, 'type', type, 'environment', environment) ||
		CASE WHEN type = 'admin' THEN '{}' ELSE jsonb_build_object('projects', projects) END) ->> 'secret'
	FROM (VALUES ('red', 'client', 'development', '["red"]'::jsonb), ('both', 'client', 'production', '["red", "blue"]'), ('blue', 'backend', 'production', '["blue"]'),
		('all', 'frontend', 'development', '["*"]'), ('root', 'admin', '*', NULL)) AS t (name, type, environment, projects);
CREATE FUNCTION secret(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT secret FROM public.guard_secret WHERE name = $1';
-- who is calling, in one line
CREATE FUNCTION who() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT concat_ws(' ', unleash_tokens.token_name(), unleash_tokens.token_type(), unleash_tokens.token_environment(),
		unleash_tokens.token_projects(), (unleash_tokens.token_selector() IS NOT NULL), current_user) $$;
GRANT EXECUTE ON FUNCTION who(), secret(text) TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;

-- Without a guard nobody is calling.
SELECT unleash_tokens.token_selector(), unleash_tokens.token_name(), unleash_tokens.token_type(), unleash_tokens.token_environment(),
	unleash_tokens.token_projects(), unleash_tokens.token_reaches('red'), unleash_tokens.token_reaches('red', 'development'), unleash_tokens.token_identity();
SELECT unleash_tokens.token_reaches(NULL), unleash_tokens.token_reaches('red', NULL);

-- Without a role no token gets in.
BEGIN;
SELECT unleash_tokens.guard(secret('red'));
ROLLBACK;

-- The row that says most wins.
SELECT unleash_tokens.set_guard_role('client', 'guard_reader');
SELECT unleash_tokens.set_guard_role('*', 'guard_any');
SELECT unleash_tokens.set_guard_role('client', 'guard_writer', 'production');
SELECT unleash_tokens.set_guard_role('client', 'guard_any', project => 'red');
SELECT unleash_tokens.set_guard_role(NULL, 'guard_writer', 'production', 'blue');
-- the type counts more than the other two together, and a project of several is none
SELECT unleash_tokens.set_guard_role('backend', 'guard_reader');
SELECT unleash_tokens.set_guard_role('client', 'guard_any', 'production', 'red');
SELECT unleash_tokens.set_guard_role(NULL, 'guard_any', 'production', 'red');
SELECT * FROM unleash_tokens.guard_role ORDER BY type, environment, project;
SET SESSION AUTHORIZATION guard_login;
BEGIN; SELECT unleash_tokens.guard(secret('red')) - 'selector' AS guard; SELECT who(); COMMIT;
BEGIN; SELECT unleash_tokens.guard(secret('both')) - 'selector' AS guard; SELECT who(); COMMIT;
BEGIN; SELECT unleash_tokens.guard(secret('blue')) - 'selector' AS guard; SELECT who(); COMMIT;
BEGIN; SELECT unleash_tokens.guard(secret('all')) - 'selector' AS guard; SELECT who(); COMMIT;
BEGIN; SELECT unleash_tokens.guard(secret('root')) - 'selector' AS guard; SELECT who(); COMMIT;
SELECT who();
RESET SESSION AUTHORIZATION;
SELECT unleash_tokens.drop_guard_role('client', 'production', 'red'), unleash_tokens.drop_guard_role('client', project => 'red'), unleash_tokens.drop_guard_role('client', project => 'red'),
	unleash_tokens.drop_guard_role('backend'), unleash_tokens.drop_guard_role(NULL, 'production', 'red'), unleash_tokens.drop_guard_role(NULL, 'production', 'blue'), unleash_tokens.drop_guard_role('client', 'production');
SELECT unleash_tokens.set_guard_role('client', 'guard_writer');
SELECT unleash_tokens.set_guard_role('edge', 'guard_writer');
SELECT unleash_tokens.set_guard_role('client', NULL);
SELECT unleash_tokens.set_guard_role('client', 'guard_writer', 'staging');
SELECT unleash_tokens.set_guard_role('client', 'guard_writer', project => 'green');
SELECT unleash_tokens.set_guard_role('client', 'nobody');

-- What it reaches.
SET SESSION AUTHORIZATION guard_login;
BEGIN;
SELECT unleash_tokens.guard(secret('both')) IS NOT NULL;
SELECT unleash_tokens.token_reaches('red'), unleash_tokens.token_reaches('blue'), unleash_tokens.token_reaches('default'), unleash_tokens.token_reaches(NULL);
SELECT unleash_tokens.token_reaches('red', 'production'), unleash_tokens.token_reaches('red', 'development'), unleash_tokens.token_reaches('red', NULL);
COMMIT;
BEGIN;
SELECT unleash_tokens.guard(secret('root')) IS NOT NULL;
SELECT unleash_tokens.token_reaches('red', 'production'), unleash_tokens.token_reaches('green'), unleash_tokens.token_projects();
SELECT unleash_tokens.token_identity() - 'selector' AS token_identity;
COMMIT;

-- Refusals.
SELECT unleash_tokens.guard(secret('red'));
BEGIN; SELECT unleash_tokens.guard('*:development.nonsense'); ROLLBACK;
BEGIN; SELECT unleash_tokens.guard(NULL); ROLLBACK;
BEGIN; SELECT unleash_tokens.guard(''); ROLLBACK;
DO $$ BEGIN PERFORM unleash_tokens.guard(secret('red')); END $$;
BEGIN;
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
SELECT who();
\set VERBOSITY terse
SELECT unleash_tokens.guard(secret('both'));
\set VERBOSITY default
ROLLBACK;
SELECT who();
CREATE FUNCTION as_owner() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT unleash_tokens.guard(public.secret('red')) $$;
BEGIN; SELECT as_owner(); ROLLBACK;

-- How long: to the end of the transaction, or of the savepoint that is rolled back.
BEGIN;
SAVEPOINT a;
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
ROLLBACK TO a;
SELECT who();
SELECT unleash_tokens.guard(secret('both')) IS NOT NULL;
SAVEPOINT b;
SELECT who();
RELEASE b;
RELEASE a;
SELECT who();
COMMIT AND CHAIN;
SELECT who();
SAVEPOINT c;
SAVEPOINT d;
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
RELEASE d;
SELECT who();
ROLLBACK TO c;
SELECT who();
ROLLBACK AND CHAIN;
SELECT who();
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
SAVEPOINT e;
SELECT 1 / 0;
ROLLBACK TO e;
SELECT who();
ROLLBACK;
SELECT who();
BEGIN;
DO $$
BEGIN
	BEGIN
		PERFORM unleash_tokens.guard(secret('red'));
		RAISE NOTICE 'inside: %', who();
		RAISE EXCEPTION 'no';
	EXCEPTION WHEN raise_exception THEN
		RAISE NOTICE 'after the exception: %', who();
	END;
	BEGIN
		PERFORM unleash_tokens.guard(secret('both'));
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	RAISE NOTICE 'after a block without one: %', who();
	BEGIN
		PERFORM unleash_tokens.guard(secret('red'));
	EXCEPTION WHEN active_sql_transaction THEN
		RAISE NOTICE 'refused: %', SQLERRM;
	END;
	RAISE NOTICE 'as before: %', who();
END $$;
COMMIT;
-- a function that has settings of its own is no savepoint
CREATE FUNCTION with_settings() RETURNS text LANGUAGE plpgsql SET work_mem = '2MB' AS $$ BEGIN PERFORM unleash_tokens.guard(secret('red')); RETURN who(); END $$;
BEGIN; SELECT with_settings(); SELECT who(); COMMIT;
SELECT who();
-- a cursor that outlives its transaction was filled in it
BEGIN;
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
DECLARE held CURSOR WITH HOLD FOR SELECT who();
COMMIT;
FETCH held;
SELECT who();
CLOSE held;
RESET SESSION AUTHORIZATION;

-- A role brings its own settings, and they go with it.
ALTER ROLE guard_writer SET statement_timeout = '77s';
ALTER ROLE guard_writer SET role = 'guard_reader';
ALTER ROLE guard_writer SET default_transaction_isolation = 'serializable';
DO $$ BEGIN EXECUTE format('ALTER ROLE guard_writer IN DATABASE %I SET lock_timeout = ''78s''', current_database()); END $$;
ALTER ROLE guard_writer SET log_min_duration_statement = '79s';
SET SESSION AUTHORIZATION guard_login;
BEGIN;
SELECT unleash_tokens.guard(secret('red')) IS NOT NULL;
SELECT current_user, name, setting FROM pg_settings
	WHERE name IN ('statement_timeout', 'lock_timeout', 'default_transaction_isolation', 'log_min_duration_statement') ORDER BY name;
COMMIT;
SELECT current_user, name, setting FROM pg_settings
	WHERE name IN ('statement_timeout', 'lock_timeout', 'default_transaction_isolation', 'log_min_duration_statement') ORDER BY name;
RESET SESSION AUTHORIZATION;
ALTER ROLE guard_writer RESET ALL;

-- Roles that row security does not bind, or that could make themselves any token, are refused, whenever they became so.
SET SESSION AUTHORIZATION guard_login;
CREATE FUNCTION try_role() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unleash_tokens.guard(secret('red'));
	RETURN who();
EXCEPTION WHEN OTHERS THEN
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM);
END $$;
RESET SESSION AUTHORIZATION;
CREATE ROLE guard_owner;
CREATE PROCEDURE as_login(change text, undo text) LANGUAGE plpgsql AS $$
DECLARE
	outcome text;
	refusal text := 'taken';
BEGIN
	EXECUTE change;
	SET SESSION AUTHORIZATION guard_login;
	outcome := try_role();
	RESET SESSION AUTHORIZATION;
	BEGIN
		PERFORM unleash_tokens.set_guard_role('client', 'guard_writer');
	EXCEPTION WHEN OTHERS THEN
		DECLARE said text;
		BEGIN
			GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
			refusal := said;
		END;
	END;
	EXECUTE undo;
	RAISE NOTICE '%: % | %', change, outcome, refusal;
END $$;
BEGIN; CALL as_login('ALTER ROLE guard_writer SUPERUSER', 'ALTER ROLE guard_writer NOSUPERUSER'); ROLLBACK;
BEGIN; CALL as_login('ALTER ROLE guard_writer BYPASSRLS', 'ALTER ROLE guard_writer NOBYPASSRLS'); ROLLBACK;
BEGIN; CALL as_login('ALTER ROLE guard_writer REPLICATION', 'ALTER ROLE guard_writer NOREPLICATION'); ROLLBACK;
BEGIN; CALL as_login('ALTER ROLE guard_writer CREATEROLE', 'ALTER ROLE guard_writer NOCREATEROLE'); ROLLBACK;
BEGIN; CALL as_login('GRANT pg_monitor TO guard_writer', 'REVOKE pg_monitor FROM guard_writer'); ROLLBACK;
BEGIN; CALL as_login('GRANT guard_owner TO guard_writer; ALTER TABLE unleash_tokens.api_token OWNER TO guard_owner', 'SELECT'); ROLLBACK;
BEGIN; CALL as_login('CREATE ROLE unleash_tokens_admin; GRANT unleash_tokens_admin TO guard_owner; GRANT guard_owner TO guard_writer', 'SELECT'); ROLLBACK;
BEGIN; CALL as_login('ALTER ROLE guard_writer RENAME TO guard_renamed', 'SELECT'); ROLLBACK;
BEGIN; CALL as_login('REVOKE guard_writer FROM guard_login', 'SELECT'); ROLLBACK;
BEGIN; CALL as_login('ALTER ROLE guard_writer NOINHERIT', 'SELECT'); ROLLBACK;
BEGIN; CALL as_login('SELECT', 'SELECT'); ROLLBACK;

-- As PostgREST calls it: the token is in the headers, and goes from there; refusals are errors of PostgREST's own.
CREATE FUNCTION try_headers(headers text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM set_config('request.headers', headers, true);
	PERFORM unleash_tokens.guard();
	RETURN concat_ws(' | ', who(), replace(current_setting('request.headers'), secret('red'), 'THE SECRET'));
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, detail);
END $$;
CREATE FUNCTION headers(VARIADIC names text[]) RETURNS text LANGUAGE sql AS $$ SELECT jsonb_object_agg(n, secret('red'))::text FROM unnest(names) AS n $$;
SET SESSION AUTHORIZATION guard_login;
BEGIN; SELECT try_headers(headers('apikey')); ROLLBACK;
BEGIN; SELECT try_headers(headers('x-api-key', 'authorization', 'apikey', 'other')); ROLLBACK;
BEGIN; SELECT try_headers('{}'); ROLLBACK;
BEGIN; SELECT try_headers('{"apikey": ""}'); ROLLBACK;
BEGIN; SELECT try_headers(''); ROLLBACK;
BEGIN; SELECT try_headers('{'); ROLLBACK;
BEGIN; SELECT try_headers('{"apikey": "nonsense"}'); ROLLBACK;
BEGIN; SELECT try_headers('{"apikey": 5}'); ROLLBACK;
BEGIN; SELECT try_headers(jsonb_set(headers('apikey')::jsonb, '{x-api-key}', '"other"')::text); ROLLBACK;
BEGIN; SELECT try_headers(jsonb_set(headers('apikey')::jsonb, '{authorization}', '"Bearer a.b.c"')::text); ROLLBACK;
BEGIN; SELECT try_headers('{"authorization": "bearer  a.b.c"}'); ROLLBACK;
-- a JWT of the anonymous role says nothing of who is calling
BEGIN; SET LOCAL pgrst.db_anon_role = 'guard_login'; SELECT try_headers('{"authorization": "Bearer a.b.c"}'); SELECT try_headers(jsonb_set(headers('apikey')::jsonb, '{authorization}', '"Bearer a.b.c"')::text); ROLLBACK;
BEGIN; SET LOCAL application_name = 'PostgREST 11.2.2'; SELECT try_headers('{}'); ROLLBACK;
BEGIN; SET LOCAL application_name = 'PostgREST 16.1'; SELECT try_headers('{}'); ROLLBACK;
SET unleash_tokens.guard_missing = 'anonymous';
SET unleash_tokens.guard_headers = 'x-token';
RESET SESSION AUTHORIZATION;
-- who sets these decides who gets in
SET unleash_tokens.guard_headers = 'X-Token';
BEGIN; SELECT try_headers(headers('apikey')); ROLLBACK;
BEGIN; SELECT try_headers(headers('x-token')); ROLLBACK;
SET unleash_tokens.guard_headers = 'a b';
SET unleash_tokens.guard_headers = '';
SET unleash_tokens.guard_headers = 'x-token, a!b';
SET unleash_tokens.guard_headers = '"x-token';
RESET unleash_tokens.guard_headers;
SET unleash_tokens.guard_missing = 'anonymous';
BEGIN; SELECT try_headers('{"authorization": "Bearer a.b.c", "other": "x"}') ~ '^f '; ROLLBACK;
BEGIN; SELECT try_headers('{"apikey": "nonsense"}'); ROLLBACK;
RESET unleash_tokens.guard_missing;
DROP FUNCTION try_headers(text), headers(text[]);

-- Projects and environments of these rows are renamed and removed with the registry.
SELECT unleash_tokens.set_guard_role('client', 'guard_any', 'production', 'blue');
UPDATE unleash_tokens.project SET id = 'navy' WHERE id = 'blue';
SELECT * FROM unleash_tokens.guard_role WHERE project IS NOT NULL;
DELETE FROM unleash_tokens.project WHERE id = 'navy';
SELECT * FROM unleash_tokens.guard_role WHERE project IS NOT NULL;

-- Everything as it was.
DELETE FROM unleash_tokens.guard_role;
DELETE FROM unleash_tokens.api_token;
DELETE FROM unleash_tokens.project WHERE id <> 'default';
DROP TABLE guard_secret;
DROP FUNCTION secret(text), who(), as_owner(), with_settings(), try_role();
DROP PROCEDURE as_login(text, text);
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON SCHEMA unleash_tokens FROM guard_login, guard_reader, guard_writer, guard_any;
DROP ROLE guard_login, guard_reader, guard_writer, guard_any, guard_owner;
