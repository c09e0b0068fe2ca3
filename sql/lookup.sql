--
-- Look-ups are right whatever became of the indexes: one that is not valid, has
-- another order, lacks rows or belongs to another table counts as none, and so
-- does one that is gone.  Names do not matter.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens CASCADE;
\set VERBOSITY default
\set SHOW_CONTEXT never

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
CREATE TABLE kept (kind text, secret text);
INSERT INTO kept SELECT 'own', unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "projects": ["b", "a"]}') ->> 'secret';
INSERT INTO kept VALUES ('v1', 'a:development.' || repeat('0123456789abcdef', 4)), ('stranger', 'a:development.' || repeat('fedcba9876543210', 4));
SELECT unleash_tokens.import_api_tokens(jsonb_build_array('{"tokenName": "n", "type": "client", "environment": "development", "projects": ["b", "a"], "project": "b,a",
	"createdAt": "2020-01-01T00:00:00Z", "expiresAt": null, "seenAt": null, "alias": null}'::jsonb || jsonb_build_object('secret', secret))) -> 'imported' AS imported
FROM kept WHERE kind = 'v1';
-- it has a selector that its secret does not show: nobody finds it by its digest
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at)
SELECT repeat('s', 22), sha256(secret::bytea), 'stranger', 'client', 'development', true, '2020-01-02Z' FROM kept WHERE kind = 'stranger';

-- Each look-up, in one line: what is valid, one by one and many at once, and what is listed.
CREATE FUNCTION pg_temp.look() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT concat_ws('; ',
		(SELECT string_agg(kind || ' ' || coalesce(unleash_tokens.validate_api_token(secret) ->> 'projects', '-'), ', ' ORDER BY kind) FROM kept),
		(SELECT string_agg(kind || ' ' || projects::text, ', ' ORDER BY kind) FROM (SELECT array_agg(kind) AS kinds, array_agg(secret) AS secrets FROM kept) AS k,
			LATERAL unleash_tokens.validate_api_tokens(secrets) AS v, LATERAL (SELECT kinds[ordinal] AS kind) AS o),
		jsonb_path_query_array(unleash_tokens.get_all_api_tokens(), '$.tokens.projects')::text,
		jsonb_path_query_array(unleash_tokens.get_api_tokens_by_name('n'), '$.tokens.projects')::text)
$$;
SELECT pg_temp.look() AS usual \gset
\echo :usual

-- Rows that the index lacks: each is written anew while nothing goes into the index.
CREATE FUNCTION pg_temp.spoil(index text, state text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('UPDATE pg_index SET %s WHERE indexrelid = %L::regclass', state, 'unleash_tokens.' || index);
	IF state LIKE '%indisready%' THEN
		SET LOCAL session_replication_role = replica;
		UPDATE unleash_tokens.api_token SET token_name = token_name || '2';
		UPDATE unleash_tokens.api_token SET token_name = left(token_name, -1);
		CREATE TEMP TABLE scope AS SELECT * FROM unleash_tokens.api_token_project;
		DELETE FROM unleash_tokens.api_token_project;
		INSERT INTO unleash_tokens.api_token_project SELECT * FROM scope;
		UPDATE unleash_tokens.project SET id = id || '2';
		UPDATE unleash_tokens.project SET id = left(id, -1);
		SET LOCAL session_replication_role = origin;
	END IF;
	answer := pg_temp.look();
	RAISE EXCEPTION USING MESSAGE = answer, ERRCODE = 'UT000';
EXCEPTION WHEN SQLSTATE 'UT000' THEN
	RETURN SQLERRM;
END
$$;
SELECT index, state, CASE pg_temp.spoil(index, state) WHEN :'usual' THEN 'right' ELSE pg_temp.spoil(index, state) END AS answer
FROM unnest(ARRAY['api_token_pkey', 'api_token_verifier_idx', 'api_token_name_idx', 'api_token_project_pkey', 'project_pkey']) AS i (index),
	unnest(ARRAY['indisvalid = false', 'indisvalid = false, indisready = false', 'indisvalid = false, indisready = false, indislive = false']) AS s (state);

-- Indexes that are gone, or have the name and are something else.
CREATE FUNCTION pg_temp.instead(commands text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE commands;
	answer := pg_temp.look();
	RAISE EXCEPTION USING MESSAGE = answer, ERRCODE = 'UT000';
EXCEPTION WHEN SQLSTATE 'UT000' THEN
	RETURN SQLERRM;
END
$$;
SELECT what, CASE pg_temp.instead(commands) WHEN :'usual' THEN 'right' ELSE pg_temp.instead(commands) END AS answer
FROM (VALUES
	('all gone', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; ALTER TABLE unleash_tokens.project DROP CONSTRAINT project_pkey CASCADE;
		ALTER TABLE unleash_tokens.api_token_project DROP CONSTRAINT api_token_project_pkey; DROP INDEX unleash_tokens.api_token_verifier_idx'),
	('all renamed', 'ALTER INDEX unleash_tokens.api_token_pkey RENAME TO x1; ALTER INDEX unleash_tokens.project_pkey RENAME TO x2;
		ALTER INDEX unleash_tokens.api_token_project_pkey RENAME TO x3; ALTER INDEX unleash_tokens.api_token_verifier_idx RENAME TO x4'),
	('on another table', 'ALTER INDEX unleash_tokens.api_token_pkey RENAME TO x1; ALTER INDEX unleash_tokens.project_pkey RENAME TO api_token_pkey; ALTER INDEX unleash_tokens.x1 RENAME TO project_pkey;
		ALTER INDEX unleash_tokens.api_token_verifier_idx RENAME TO x4; ALTER INDEX unleash_tokens.api_token_project_pkey RENAME TO api_token_verifier_idx'),
	('on another column', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; CREATE INDEX api_token_pkey ON unleash_tokens.api_token (token_name, selector);
		ALTER TABLE unleash_tokens.api_token_project DROP CONSTRAINT api_token_project_pkey; CREATE INDEX api_token_project_pkey ON unleash_tokens.api_token_project (project, selector)'),
	('of an expression', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; CREATE INDEX api_token_pkey ON unleash_tokens.api_token (upper(selector))'),
	('of some rows', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; CREATE INDEX api_token_pkey ON unleash_tokens.api_token (selector) WHERE by_verifier;
		DROP INDEX unleash_tokens.api_token_verifier_idx;
		CREATE INDEX api_token_verifier_idx ON unleash_tokens.api_token (verifier) WHERE all_projects'),
	('of another kind', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; CREATE INDEX api_token_pkey ON unleash_tokens.api_token USING hash (selector);
		ALTER TABLE unleash_tokens.project DROP CONSTRAINT project_pkey CASCADE; CREATE INDEX project_pkey ON unleash_tokens.project USING brin (id)'),
	('in another order', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; CREATE INDEX api_token_pkey ON unleash_tokens.api_token (selector COLLATE "POSIX" text_pattern_ops DESC)'),
	('backwards', 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_pkey CASCADE; CREATE INDEX api_token_pkey ON unleash_tokens.api_token (selector DESC NULLS LAST)'),
	('of all digests', 'DROP INDEX unleash_tokens.api_token_verifier_idx;
		CREATE INDEX api_token_verifier_idx ON unleash_tokens.api_token (verifier)')) AS v (what, commands);

-- Many projects of one token, every second one of them gone without its keys being asked.
INSERT INTO unleash_tokens.project (id) SELECT 'p' || i FROM generate_series(100, 699) AS i;
SELECT FROM unleash_tokens.create_api_token((SELECT jsonb_build_object('type', 'client', 'tokenName', 'many', 'projects', jsonb_agg('p' || i ORDER BY i)) FROM generate_series(100, 699) AS i));
SET LOCAL session_replication_role = replica;
DELETE FROM unleash_tokens.project WHERE id ~ '^p[0-9]*[13579]$';
SET LOCAL session_replication_role = origin;
SELECT p = jsonb_agg('p' || i ORDER BY i) AS half FROM jsonb_path_query(unleash_tokens.get_api_tokens_by_name('many'), '$.tokens[0].projects') AS p,
	generate_series(100, 698, 2) AS i GROUP BY p;
ROLLBACK;

-- Something else where a table of ours should be.
BEGIN;
ALTER TABLE unleash_tokens.project RENAME TO moved;
SELECT unleash_tokens.validate_api_token('a:development.' || repeat('0123456789abcdef', 4));
ROLLBACK;
BEGIN;
ALTER TABLE unleash_tokens.project RENAME TO moved;
CREATE VIEW unleash_tokens.project AS SELECT * FROM unleash_tokens.moved;
SELECT unleash_tokens.validate_api_token('a:development.' || repeat('0123456789abcdef', 4));
ROLLBACK;
