-- Roles for PostgREST and authd.  Run as a superuser, in the database that has the extension, after CREATE EXTENSION unleash_tokens
-- and again after each ALTER EXTENSION unleash_tokens UPDATE:
--
--     psql -v ON_ERROR_STOP=1 -d your_database -f http/roles.sql
--
-- It may be run any number of times.  Roles belong to the whole cluster, grants to this database.
--
-- Version 1.0 used the name of PostgREST's tutorial, authenticator.  When PostgREST has logged in by the new name and nothing else
-- uses the old one, DROP ROLE authenticator.  When it serves another API, give that back what it had:
--
--     REVOKE unleash_tokens_rest, unleash_tokens_admin FROM authenticator;
--     ALTER ROLE authenticator RESET statement_timeout;  -- and the other settings that \drds authenticator shows

BEGIN;

SET LOCAL client_min_messages = warning;

-- There is no CREATE ROLE IF NOT EXISTS; attributes are set below, so that a role that existed before ends up the same.
DO $$
DECLARE
	wanted text;
BEGIN
	FOREACH wanted IN ARRAY ARRAY['unleash_tokens_authenticator', 'unleash_tokens_rest', 'unleash_tokens_admin', 'unleash_tokens_standby',
		'unleash_tokens_auth', 'unleash_tokens_monitor', 'unleash_tokens_validate'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I', wanted);
		END IF;
	END LOOP;
END
$$;

-- What PostgREST logs in as.  It has no rights of its own and no password: let it in by "peer" over the unix socket, or
-- set a password with \password, which does not send it in clear.
ALTER ROLE unleash_tokens_authenticator LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- What a request becomes: _rest without a JWT (every request through nginx), _admin with a JWT whose "role" says so.
ALTER ROLE unleash_tokens_rest NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE unleash_tokens_admin NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- It may become these and has nothing of them before.  From PostgreSQL 16 on that is said by the membership and not by NOINHERIT,
-- there is a membership for each role that granted it, and GRANT leaves as it is what an old one says.
DO $$
DECLARE
	old record;
	has_options constant boolean := pg_catalog.current_setting('server_version_num')::int >= 160000;
BEGIN
	FOR old IN SELECT roleid::regrole AS role, grantor FROM pg_catalog.pg_auth_members
		WHERE member = 'unleash_tokens_authenticator'::regrole AND roleid IN ('unleash_tokens_rest'::regrole, 'unleash_tokens_admin'::regrole)
	LOOP
		EXECUTE pg_catalog.format('REVOKE %s FROM unleash_tokens_authenticator %s', old.role,
			CASE WHEN has_options THEN pg_catalog.format('GRANTED BY %s CASCADE', old.grantor::regrole) END);
	END LOOP;
	EXECUTE 'GRANT unleash_tokens_rest, unleash_tokens_admin TO unleash_tokens_authenticator'
		|| CASE WHEN has_options THEN ' WITH INHERIT FALSE' ELSE '' END;
END
$$;

-- What a standby logs in as, to say when tokens were used there (unleash_tokens.primary_conninfo).  No password either: use
-- a certificate, or \password and a passfile on the standby.
ALTER ROLE unleash_tokens_standby LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- What the program authd logs in as, which answers /auth and /edge/validate.  No password either.
ALTER ROLE unleash_tokens_auth LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- For your own roles to be members of, by GRANT ... TO: _monitor may see how the server is, _validate may check secrets, and neither
-- may do anything else.  A member that checks secrets keeps them out of the log by settings of its own: doc/programs.md.
ALTER ROLE unleash_tokens_monitor NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE unleash_tokens_validate NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- What both logins have that pass secrets on, PostgREST's and authd's.
DO $$
DECLARE
	login text;
	setting text;
	settings text[] := ARRAY[
		-- API keys and bodies travel as bind parameters, and the server would write those into its log with a slow, failed or
		-- logged statement.  log_statement, log_min_duration_statement and log_min_error_statement may stay as they are: the
		-- statements themselves say $1, never a value.
		'log_parameter_max_length = 0',
		'log_parameter_max_length_on_error = 0',

		-- A plan made for one execution holds the parameters as constants, and auto_explain with log_verbose and debug_print_plan
		-- write plans: the key with set_config('request.headers', ...).  A plan for all executions says $1 here too.
		'plan_cache_mode = force_generic_plan',

		-- A body that is no JSON is refused by the server's own reader before a function of the extension sees it, and the reader
		-- quotes the body in DETAIL and CONTEXT.  The log gets the first line only (csvlog and jsonlog: when the library is preloaded);
		-- what is answered stays the same.
		'log_error_verbosity = terse',

		-- Two loadable modules write bind parameters too, and have switches of their own.  Where a module is not loaded, its
		-- setting is kept unread.
		'pgaudit.log_parameter = off',
		-- a verbose plan shows what a function is called with
		'auto_explain.log_verbose = off',

		-- Compiling a plan takes longer than any of ours runs, and a long list looks worth it to the planner.
		'jit = off',

		-- No connection is held for ever.
		'lock_timeout = ''5s''',
		'idle_in_transaction_session_timeout = ''15s'''];
BEGIN
	-- before PostgreSQL 16 auto_explain did not know the setting
	IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
		settings := pg_catalog.array_append(settings, 'auto_explain.log_parameter_max_length = 0'::text);
	END IF;
	FOREACH login IN ARRAY ARRAY['unleash_tokens_authenticator', 'unleash_tokens_auth'] LOOP
		FOREACH setting IN ARRAY settings LOOP
			EXECUTE pg_catalog.format('ALTER ROLE %I SET %s', login, setting);
		END LOOP;
	END LOOP;
END
$$;

-- What is asked through nginx has ten seconds: PostgREST applies the statement_timeout that the REST entries carry, and nginx waits a
-- little longer (proxy_read_timeout), so that the refusal comes from the database and the connection is free again.  The login
-- itself has minutes, since with it PostgREST reads the catalog, which may be large.
ALTER ROLE unleash_tokens_authenticator SET statement_timeout = '5min';

-- authd asks for many requests at once: each of them has the same ten seconds.
ALTER ROLE unleash_tokens_auth SET statement_timeout = '10s';

-- From here on: exactly these rights in the schema, whatever was granted before.
REVOKE ALL ON SCHEMA unleash_tokens FROM unleash_tokens_rest, unleash_tokens_admin, unleash_tokens_standby, unleash_tokens_auth,
	unleash_tokens_monitor, unleash_tokens_validate;
REVOKE ALL ON ALL TABLES IN SCHEMA unleash_tokens FROM unleash_tokens_rest, unleash_tokens_admin, unleash_tokens_standby, unleash_tokens_auth,
	unleash_tokens_monitor, unleash_tokens_validate;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA unleash_tokens FROM unleash_tokens_rest, unleash_tokens_admin, unleash_tokens_standby, unleash_tokens_auth,
	unleash_tokens_monitor, unleash_tokens_validate;
REVOKE ALL ON ALL ROUTINES IN SCHEMA unleash_tokens FROM unleash_tokens_rest, unleash_tokens_admin, unleash_tokens_standby, unleash_tokens_auth,
	unleash_tokens_monitor, unleash_tokens_validate;

GRANT USAGE ON SCHEMA unleash_tokens TO unleash_tokens_rest, unleash_tokens_admin, unleash_tokens_standby, unleash_tokens_auth,
	unleash_tokens_monitor, unleash_tokens_validate;

-- The REST door: the entries that nginx.conf names.  They check the API key themselves.
GRANT EXECUTE ON FUNCTION
	unleash_tokens.rest_api(),
	unleash_tokens.rest_api(bytea),
	unleash_tokens.rest_read(bytea)
TO unleash_tokens_rest;

-- The SQL door: POST /rpc/<name> on PostgREST's socket.  These check nothing but this privilege.
GRANT EXECUTE ON FUNCTION
	unleash_tokens.create_api_token(jsonb),
	unleash_tokens.create_api_tokens(jsonb),
	unleash_tokens.get_all_api_tokens(),
	unleash_tokens.get_api_tokens_by_name(text),
	unleash_tokens.update_api_token(text, jsonb),
	unleash_tokens.delete_api_token(text),
	unleash_tokens.validate_api_token(text),
	unleash_tokens.validate_api_tokens(text[]),
	unleash_tokens.import_api_tokens(jsonb),
	unleash_tokens.purge_expired(interval),
	unleash_tokens.purge_events(interval),
	unleash_tokens.enforce_lifetime(boolean),
	unleash_tokens.rotate_api_token(text, interval, interval),
	unleash_tokens.finish_rotation(text),
	unleash_tokens.cancel_rotation(text),
	unleash_tokens.create_project(text),
	unleash_tokens.rename_project(text, text),
	unleash_tokens.delete_project(text),
	unleash_tokens.create_environment(text, text, boolean),
	unleash_tokens.rename_environment(text, text),
	unleash_tokens.delete_environment(text),
	unleash_tokens.list_refusals(),
	unleash_tokens.get_seen_at(text, timestamptz),
	unleash_tokens.get_notice_days(),
	unleash_tokens.get_stat(),
	unleash_tokens.stat_reset(),
	unleash_tokens.metrics(),
	unleash_tokens.doctor(),
	unleash_tokens.guard_check(text[])
TO unleash_tokens_admin;

GRANT SELECT ON unleash_tokens.api_tokens, unleash_tokens.api_tokens_expiring, unleash_tokens.api_token_events, unleash_tokens.stat TO unleash_tokens_admin;

-- A standby may note uses and nothing else.
GRANT EXECUTE ON FUNCTION unleash_tokens.note_usage(text[], timestamptz[], bytea[]) TO unleash_tokens_standby;

-- authd asks this and nothing else: it answers what checks the API key itself, and never writes.
GRANT EXECUTE ON FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]) TO unleash_tokens_auth;

-- A monitoring system sees numbers and findings, no token; a program says which secrets are valid.
GRANT EXECUTE ON FUNCTION unleash_tokens.get_stat(), unleash_tokens.metrics(), unleash_tokens.doctor() TO unleash_tokens_monitor;
GRANT SELECT ON unleash_tokens.stat TO unleash_tokens_monitor;
GRANT EXECUTE ON FUNCTION unleash_tokens.validate_api_token(text), unleash_tokens.validate_api_tokens(text[]) TO unleash_tokens_validate;

COMMIT;
