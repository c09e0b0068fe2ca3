-- Rows of a new token are written without a statement where the tables are as we made them, and by one where others have
-- added to them: both are the same rows, under the same checks.
SET search_path = pg_catalog;
SET client_min_messages = warning;
INSERT INTO unleash_tokens.project (id) VALUES ('one'), ('two');
CREATE SCHEMA other;

CREATE FUNCTION other.make(name text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', name) || more) ->> 'tokenName';
$$;
-- What a call of make() says instead of an answer.
CREATE FUNCTION other.attempt(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN 'made ' || other.make(name);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE VIEW other.rows AS
SELECT token_name, jsonb_set(jsonb_set(to_jsonb(t), '{selector}', to_jsonb(length(selector))), '{verifier}', to_jsonb(octet_length(verifier)))
		- 'created_at' - 'token_name' AS token,
	ARRAY(SELECT (ord, project)::text FROM unleash_tokens.api_token_project AS p WHERE p.selector = t.selector ORDER BY ord) AS projects,
	ARRAY(SELECT jsonb_build_object('type', type, 'actor', actor, 'actor_selector', actor_selector, 'data', data - 'createdAt' - 'tokenName', 'pre_data', pre_data,
			'soon', at BETWEEN t.created_at - interval '1 second' AND clock_timestamp())
		FROM unleash_tokens.api_token_event AS e WHERE e.selector = t.selector ORDER BY id) AS events
FROM unleash_tokens.api_token AS t;
-- The statements that have written or locked in this session: the server keeps their text with their plans.
CREATE VIEW other.statements AS
SELECT count(DISTINCT left(ident, 60)) FROM pg_backend_memory_contexts
WHERE ident ~ '^(WITH t AS \(INSERT INTO|INSERT INTO) unleash_tokens' OR ident LIKE 'SELECT 1 FROM unleash_tokens.environment%';

-- The same rows by the other way, which a rule brings about that does nothing.
SELECT other.make('direct'), other.make('direct-some', '{"projects": ["two", "one"], "expiresAt": "2099-01-01T00:00:00.000Z"}'),
	unleash_tokens.create_api_token('{"type": "admin", "tokenName": "direct-admin"}') ->> 'tokenName' AS admin;
SELECT * FROM other.statements;
CREATE RULE nothing AS ON INSERT TO unleash_tokens.api_token WHERE false DO ALSO NOTHING;
SELECT other.make('statement'), other.make('statement-some', '{"projects": ["two", "one"], "expiresAt": "2099-01-01T00:00:00.000Z"}'),
	unleash_tokens.create_api_token('{"type": "admin", "tokenName": "statement-admin"}') ->> 'tokenName' AS admin;
DROP RULE nothing ON unleash_tokens.api_token;
SELECT * FROM other.statements;
SELECT a.token_name, a.token = b.token AND a.projects = b.projects AND a.events = b.events AS same, cardinality(a.projects) AS projects, cardinality(a.events) AS events
FROM other.rows AS a JOIN other.rows AS b ON b.token_name = replace(a.token_name, 'direct', 'statement')
WHERE a.token_name LIKE 'direct%' ORDER BY a.token_name COLLATE "C";

-- Checks of others hold from the moment they are there, also when what they call changes, until they go.
CREATE FUNCTION other.allows(name text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT $1 <> 'bad'$$;
ALTER TABLE unleash_tokens.api_token ADD CONSTRAINT other CHECK (other.allows(token_name));
SELECT other.attempt('bad'), other.attempt('worse');
CREATE OR REPLACE FUNCTION other.allows(name text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT $1 <> 'worse'$$;
SELECT other.attempt('bad'), other.attempt('worse');
ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT other;
SELECT other.attempt('worse');
ALTER TABLE unleash_tokens.api_token_event ADD CONSTRAINT other CHECK (token_name <> 'unheard');
SELECT other.attempt('unheard'), (SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = 'unheard') AS stored;
ALTER TABLE unleash_tokens.api_token_event DROP CONSTRAINT other;

-- A check that makes a token itself.
CREATE FUNCTION other.nests(name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN name <> 'outer' OR other.make('inner') = 'inner';
END
$$;
ALTER TABLE unleash_tokens.api_token ADD CONSTRAINT other CHECK (other.nests(token_name));
SELECT other.make('outer');
ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT other;
SELECT token_name, cardinality(events) FROM other.rows WHERE token_name IN ('outer', 'inner') ORDER BY token_name;

-- Columns of others get their defaults.
ALTER TABLE unleash_tokens.api_token ADD COLUMN other_at timestamptz DEFAULT '2026-01-01Z', ADD COLUMN other_none text;
SELECT other.make('column');
ALTER TABLE unleash_tokens.api_token ALTER COLUMN other_at SET DEFAULT '2027-01-01Z';
SELECT other.make('column');
SELECT other_at AT TIME ZONE 'UTC' AS other_at, other_none FROM unleash_tokens.api_token WHERE token_name = 'column' ORDER BY other_at;
ALTER TABLE unleash_tokens.api_token DROP COLUMN other_at, DROP COLUMN other_none;
SELECT other.make('dropped');

-- Triggers for rows and for statements, and policies.
CREATE TABLE other.fired (what text);
CREATE FUNCTION other.fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO other.fired VALUES (concat_ws(' ', TG_ARGV[0], TG_WHEN, TG_LEVEL, TG_TABLE_NAME));
	RETURN NEW;
END
$$;
DO $$
DECLARE
	relation text;
BEGIN
	FOREACH relation IN ARRAY ARRAY['api_token', 'api_token_project', 'api_token_event'] LOOP
		EXECUTE format('CREATE TRIGGER other_a BEFORE INSERT ON unleash_tokens.%I FOR EACH STATEMENT EXECUTE FUNCTION other.fire()', relation);
		EXECUTE format('CREATE TRIGGER other_b AFTER INSERT ON unleash_tokens.%I REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION other.fire()', relation);
		EXECUTE format('CREATE TRIGGER other_c BEFORE INSERT ON unleash_tokens.%I FOR EACH ROW EXECUTE FUNCTION other.fire()', relation);
		EXECUTE format('CREATE TRIGGER other_d AFTER INSERT ON unleash_tokens.%I FOR EACH ROW EXECUTE FUNCTION other.fire()', relation);
	END LOOP;
END
$$;
SELECT other.make('trigger', '{"projects": ["one", "two"]}');
SELECT what, count(*) FROM other.fired GROUP BY what ORDER BY what COLLATE "C";
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT tgname, tgrelid::regclass AS relation FROM pg_trigger WHERE tgname LIKE 'other%' LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.relation);
	END LOOP;
END
$$;
ALTER TABLE unleash_tokens.api_token ENABLE ROW LEVEL SECURITY;
SELECT other.make('policy');
ALTER TABLE unleash_tokens.api_token DISABLE ROW LEVEL SECURITY;

-- What cannot be written, and the environment that is locked by its key: by a statement when there is none.
BEGIN READ ONLY;
SELECT other.attempt('read-only');
SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "read-only"}');
ROLLBACK;
BEGIN;
ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_environment_fkey, ADD CONSTRAINT api_token_environment_fkey
	FOREIGN KEY (environment) REFERENCES unleash_tokens.environment (name) ON UPDATE CASCADE;
SELECT other.attempt('made-again');
CREATE UNIQUE INDEX other ON unleash_tokens.environment (name);
ALTER TABLE unleash_tokens.guard_role DROP CONSTRAINT guard_role_environment_fkey;
ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_environment_fkey;
ALTER TABLE unleash_tokens.environment DROP CONSTRAINT environment_pkey;
SELECT other.attempt('no-key');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "nowhere", "environment": "nowhere"}');
ROLLBACK;
-- an environment that this very statement makes
WITH made AS MATERIALIZED (INSERT INTO unleash_tokens.environment (name) VALUES ('just-made') RETURNING name)
SELECT other.make('just-made', jsonb_build_object('environment', name)) FROM made;

DELETE FROM unleash_tokens.api_token;
DELETE FROM unleash_tokens.api_token_event;
DELETE FROM unleash_tokens.project WHERE id IN ('one', 'two');
DELETE FROM unleash_tokens.environment WHERE name = 'just-made';
SET client_min_messages = warning;
DROP SCHEMA other CASCADE;
