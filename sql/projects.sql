--
-- Projects and environments come and go by functions, for roles that have no right on the tables.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\pset null '(null)'
\set VERBOSITY terse
\set ON_ERROR_ROLLBACK on

BEGIN;
CREATE ROLE regress_unleash_registrar;
GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_registrar;
GRANT EXECUTE ON FUNCTION unleash_tokens.create_project(text), unleash_tokens.rename_project(text, text), unleash_tokens.delete_project(text),
	unleash_tokens.create_environment(text, text, boolean), unleash_tokens.rename_environment(text, text), unleash_tokens.delete_environment(text),
	unleash_tokens.create_api_token(jsonb) TO regress_unleash_registrar;
SET LOCAL ROLE regress_unleash_registrar;

-- Made once, and not made twice.
SELECT unleash_tokens.create_project('shop') AS made, unleash_tokens.create_project('shop') AS again, unleash_tokens.create_project('default') AS of_the_install;
SELECT unleash_tokens.create_environment('staging') AS made, unleash_tokens.create_environment('staging', 'test', false) AS again,
	unleash_tokens.create_environment('lab', 'test', false) AS disabled;
RESET ROLE;
SELECT id, origin FROM unleash_tokens.project ORDER BY id;
SELECT name, type, enabled, origin FROM unleash_tokens.environment ORDER BY name;

-- The rules of names are those of the tables: what the functions refuse these do, and the other way round.
\set VERBOSITY sqlstate
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RAISE EXCEPTION SQLSTATE 'UT000';
EXCEPTION WHEN SQLSTATE 'UT000' THEN RETURN 'taken';
WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END
$$;
SELECT what, pg_temp.outcome(format('SELECT unleash_tokens.create_project(%L)', id)) AS project,
	split_part(pg_temp.outcome(format('SELECT unleash_tokens.create_environment(%L)', id)), ' ', 1) AS environment,
	split_part(pg_temp.outcome(format('SELECT unleash_tokens.rename_project(''shop'', %L)', id)), ' ', 1) AS renamed,
	split_part(pg_temp.outcome(format('INSERT INTO unleash_tokens.project (id) VALUES (%L)', id)), ' ', 1) AS in_the_table
FROM (VALUES
	(1, 'null', NULL), (2, 'empty', ''), (3, 'star', '*'), (4, 'brackets', '[]'), (5, '100', repeat('x', 100)), (6, '101', repeat('x', 101)),
	(7, '100 of 4 bytes', repeat(U&'\+01F600', 100)), (8, '101 of 4 bytes', repeat(U&'\+01F600', 101)), (9, 'tab', E'a\tb'), (10, 'U+007F', E'\u007F'),
	(11, 'U+0085', E'\u0085'), (12, 'U+00A0', E'\u00A0'), (13, 'blank', ' '), (14, 'star in it', 'a*'), (15, 'marks', ':.,"''\%_{}'))
	AS v (i, what, id)
ORDER BY i;
SELECT pg_temp.outcome($$SELECT unleash_tokens.create_environment('t', '')$$) AS no_type, pg_temp.outcome($$SELECT unleash_tokens.create_environment('t', NULL)$$) AS null_type,
	left(pg_temp.outcome(format('SELECT unleash_tokens.create_environment(''t'', %L)', repeat('t', 101))), 80) AS long_type,
	pg_temp.outcome($$SELECT unleash_tokens.create_environment('t', 'test', NULL)$$) AS null_enabled;

-- Renamed: the tokens keep them.
SET LOCAL ROLE regress_unleash_registrar;
SELECT count(unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', n, 'environment', 'staging', 'projects', p)))
FROM (VALUES ('one', '["shop"]'::jsonb), ('two', '["shop", "default"]')) AS v (n, p);
SELECT unleash_tokens.rename_project('shop', 'store') AS renamed, unleash_tokens.rename_project('shop', 'store') AS gone, unleash_tokens.rename_project('store', 'store') AS same,
	unleash_tokens.rename_environment('staging', 'stage') AS renamed, unleash_tokens.rename_environment(NULL, 'x') AS unknown;
\set VERBOSITY default
SELECT unleash_tokens.rename_project('store', 'default');
SELECT unleash_tokens.rename_environment('stage', 'production');
RESET ROLE;
SELECT token_name, environment, projects FROM unleash_tokens.api_tokens WHERE environment = 'stage' ORDER BY token_name;
SELECT id, origin FROM unleash_tokens.project ORDER BY id;

-- Deleted: tokens go with their last project, by whom is said; an environment takes none with it.
SET LOCAL ROLE regress_unleash_registrar;
SELECT replace(message, s.selector, '<selector>') FROM (SELECT pg_temp.outcome($$SELECT unleash_tokens.delete_environment('stage')$$)) AS o (message),
	LATERAL (SELECT substring(message FROM 'Token (\S+)')) AS s (selector);
SELECT unleash_tokens.delete_project('store') AS deleted, unleash_tokens.delete_project('store') AS gone, unleash_tokens.delete_project(NULL) AS unknown,
	unleash_tokens.delete_environment('lab') AS unused, unleash_tokens.delete_environment('lab') AS gone;
RESET ROLE;
SELECT token_name, environment, projects FROM unleash_tokens.api_tokens WHERE environment = 'stage' ORDER BY token_name;
SELECT type, token_name, actor, pre_data -> 'projects' AS projects FROM unleash_tokens.api_token_events WHERE type = 'api-token-deleted' ORDER BY id;
SELECT count(unleash_tokens.delete_api_token(selector)) FROM unleash_tokens.api_tokens WHERE environment = 'stage';
SELECT unleash_tokens.delete_environment('stage') AS without_tokens;

-- Nobody has them by himself.
SELECT bool_or(has_function_privilege('public', oid, 'EXECUTE')) AS public FROM pg_proc
WHERE pronamespace = 'unleash_tokens'::regnamespace AND proname ~ '^(create|rename|delete)_(project|environment)$';

-- A trigger of others that swallows the row makes no false answer.
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE INSERT OR UPDATE OR DELETE ON unleash_tokens.project FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
SELECT pg_temp.outcome($$SELECT unleash_tokens.create_project('lost')$$) ~ '^09000' AS created, pg_temp.outcome($$SELECT unleash_tokens.rename_project('default', 'lost')$$) ~ '^09000' AS renamed,
	pg_temp.outcome($$SELECT unleash_tokens.delete_project('default')$$) ~ '^09000' AS deleted, pg_temp.outcome($$SELECT unleash_tokens.create_project('default')$$) AS there;
ROLLBACK;
