--
-- Who may do what: PUBLIC may show a token and ask who is calling, everybody else what was granted.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on

--
-- Every right that a role without any grant has on anything in the schema.
-- Types of rows and of arrays have no rights of their own.
--
BEGIN;
CREATE ROLE regress_unleash_anyone;
CREATE VIEW pg_temp.rights AS
	SELECT 'schema' AS kind, nspname::text AS name, p AS privilege FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) AS p
	WHERE nspname = 'unleash_tokens' AND has_schema_privilege('regress_unleash_anyone', oid, p)
	UNION ALL
	SELECT 'function', oid::regprocedure::text, 'EXECUTE' FROM pg_proc
	WHERE pronamespace = to_regnamespace('unleash_tokens') AND has_function_privilege('regress_unleash_anyone', oid, 'EXECUTE')
	UNION ALL
	SELECT 'relation', oid::regclass::text, p FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p
	WHERE relnamespace = to_regnamespace('unleash_tokens') AND relkind IN ('r', 'v', 'm', 'p', 'f')
		AND has_table_privilege('regress_unleash_anyone', oid, p)
	UNION ALL
	SELECT 'column', oid::regclass::text, p FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p
	WHERE relnamespace = to_regnamespace('unleash_tokens') AND relkind IN ('r', 'v', 'm', 'p', 'f')
		AND has_any_column_privilege('regress_unleash_anyone', oid, p)
	UNION ALL
	SELECT 'sequence', oid::regclass::text, p FROM pg_class, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS p
	WHERE relnamespace = to_regnamespace('unleash_tokens') AND relkind = 'S' AND has_sequence_privilege('regress_unleash_anyone', oid, p)
	UNION ALL
	SELECT 'type', t.oid::regtype::text, 'USAGE' FROM pg_type AS t
	WHERE typnamespace = to_regnamespace('unleash_tokens') AND typelem = 0 AND typtype <> 'c' AND has_type_privilege('regress_unleash_anyone', oid, 'USAGE');
SELECT * FROM pg_temp.rights ORDER BY 1, 2, 3;

-- The walk walks: with a grant to PUBLIC of each kind it finds it.
SAVEPOINT granted;
GRANT USAGE ON SCHEMA unleash_tokens TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA unleash_tokens TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA unleash_tokens TO PUBLIC;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA unleash_tokens TO PUBLIC;
GRANT USAGE ON DOMAIN unleash_tokens."*/*" TO PUBLIC;
SELECT kind, count(*) > 0 AS found FROM pg_temp.rights GROUP BY kind ORDER BY kind;
ROLLBACK TO granted;

-- An administrator who grants things to PUBLIC by default does not mean these.
DROP EXTENSION unleash_tokens;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO PUBLIC;
DROP SCHEMA unleash_tokens;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC;
CREATE EXTENSION unleash_tokens;
SELECT * FROM pg_temp.rights ORDER BY 1, 2, 3;
ROLLBACK;

--
-- In fact: whoever may only look into the schema gets nowhere but there.
--
BEGIN;
CREATE ROLE regress_unleash_anyone;
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE TEMP TABLE attempt ON COMMIT DROP AS
	SELECT format('SELECT unleash_tokens.%I(%s)', proname, (SELECT string_agg(CASE t WHEN 'interval'::regtype THEN '''1 day''::' WHEN 'boolean'::regtype THEN '''true''::' WHEN 'integer'::regtype THEN '''1''::' WHEN 'regclass'::regtype THEN '''pg_class''::' WHEN 'timestamptz'::regtype THEN '''2026-01-01''::' ELSE '''{}''::' END || format_type(t, NULL), ', ') FROM unnest(proargtypes) AS t)) AS statement, proname AS name
	FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace AND prorettype <> 'trigger'::regtype AND NOT has_function_privilege('regress_unleash_anyone', oid, 'EXECUTE')
	UNION ALL
	SELECT format(s, oid::regclass), relname FROM pg_class, unnest(ARRAY['TABLE %s', 'INSERT INTO %s DEFAULT VALUES', 'DELETE FROM %s',
		'TRUNCATE %s CASCADE', 'LOCK %s IN ACCESS SHARE MODE']) AS s
	WHERE relnamespace = 'unleash_tokens'::regnamespace AND (relkind = 'r' OR relkind = 'v' AND s !~ 'TRUNCATE' AND (s !~ 'INSERT|DELETE' OR pg_relation_is_updatable(oid, false) <> 0))
	UNION ALL
	SELECT format(s, oid::regclass), relname FROM pg_class, unnest(ARRAY['SELECT last_value FROM %s', 'SELECT nextval(%1$L)', 'SELECT setval(%1$L, 1)']) AS s
	WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind = 'S'
	UNION ALL
	SELECT 'CREATE TABLE unleash_tokens.squatter ()', 'schema';
GRANT SELECT ON attempt TO regress_unleash_anyone;
SET ROLE regress_unleash_anyone;
SELECT pg_temp.outcome(statement) AS outcome, count(*) > 20 AS all_of_them FROM attempt GROUP BY 1;
RESET ROLE;
GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_anyone;
SET ROLE regress_unleash_anyone;
SELECT pg_temp.outcome(statement) AS outcome, count(*) > 20 AS all_of_them FROM attempt GROUP BY 1;
RESET ROLE;

--
-- One function granted: that one works, as SECURITY DEFINER, and nothing else.
--
GRANT EXECUTE ON FUNCTION unleash_tokens.validate_api_token(text) TO regress_unleash_anyone;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}') ->> 'secret' AS secret \gset
SET ROLE regress_unleash_anyone;
SELECT unleash_tokens.validate_api_token(:'secret') ->> 'tokenName' AS validated;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}');
SELECT count(*) FROM unleash_tokens.api_token;
SELECT statement FROM attempt WHERE pg_temp.outcome(statement) = 'done';
RESET ROLE;

--
-- What a caller puts into the search path, or into pg_temp, is not what the
-- functions see.
--
GRANT EXECUTE ON FUNCTION unleash_tokens.create_api_token(jsonb) TO regress_unleash_anyone;
GRANT TEMP ON DATABASE :DBNAME TO regress_unleash_anyone;
CREATE SCHEMA regress_unleash_trap AUTHORIZATION regress_unleash_anyone;
SET ROLE regress_unleash_anyone;
CREATE FUNCTION regress_unleash_trap.sprung() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the trap was sprung'; END$$;
CREATE FUNCTION regress_unleash_trap.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT regress_unleash_trap.sprung()';
CREATE OPERATOR regress_unleash_trap.= (FUNCTION = regress_unleash_trap.equal, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION regress_unleash_trap.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz FROM regress_unleash_trap.sprung()';
CREATE FUNCTION regress_unleash_trap.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT NULL FROM regress_unleash_trap.sprung()';
CREATE TEMP TABLE pg_extension (extname text, extversion text);
CREATE TEMP TABLE api_token (selector text);
SET search_path = regress_unleash_trap, pg_temp, pg_catalog;
SELECT pg_catalog.jsonb_extract_path_text(unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "project": "default"}'), 'project') AS project;
SELECT pg_catalog.jsonb_extract_path_text(unleash_tokens.validate_api_token(:'secret'), 'tokenName') AS validated;
RESET search_path;
ROLLBACK;
