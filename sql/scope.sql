--
-- What becomes of tokens when projects and environments are removed, renamed
-- and truncated: a scope never widens, and what has none left is dead.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
\pset null '(null)'
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on

-- Here every test starts from, and goes back to.
BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('c');
INSERT INTO unleash_tokens.environment (name) VALUES ('e');
CREATE TEMP TABLE secret ON COMMIT DROP AS
	SELECT body ->> 'tokenName' AS name, unleash_tokens.create_api_token(body || '{"environment": "e"}') ->> 'secret' AS secret
	FROM unnest(ARRAY[
		'{"type": "client", "tokenName": "all"}', '{"type": "client", "tokenName": "a", "project": "a"}',
		'{"type": "client", "tokenName": "b", "project": "b"}', '{"type": "client", "tokenName": "c,a", "projects": ["c", "a"]}',
		'{"type": "client", "tokenName": "b,a", "projects": ["b", "a"]}']::jsonb[]) AS v (body);
CREATE TEMP VIEW now AS
	SELECT name, v -> 'projects' AS projects, v ->> 'environment' AS environment,
		EXISTS (SELECT FROM unleash_tokens.api_token WHERE token_name = name) AS there
	FROM secret, LATERAL unleash_tokens.validate_api_token(secret) AS v
	ORDER BY name COLLATE "C";
CREATE TEMP VIEW deleted AS
	SELECT token_name, data, pre_data -> 'projects' AS projects, pre_data ->> 'project' AS project, actor = current_user AS by_me
	FROM unleash_tokens.api_token_event WHERE type = 'api-token-deleted'
	ORDER BY token_name COLLATE "C";
SELECT * FROM now;

-- Removed: who had nothing else goes, with an event; who had more, keeps that.
SAVEPOINT start;
DELETE FROM unleash_tokens.project WHERE id = 'a';
SELECT * FROM now;
SELECT * FROM deleted;

-- Then the rest, one by one and at the end all of it.
DELETE FROM unleash_tokens.project WHERE id = 'b';
DELETE FROM unleash_tokens.project;
SELECT * FROM now;
SELECT * FROM deleted;

-- The same name again does not bring anything back.
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('c');
SELECT * FROM now;
ROLLBACK TO start;

-- Several in one statement: the events say what each token had before it.
DELETE FROM unleash_tokens.project WHERE id IN ('a', 'b');
SELECT * FROM now;
SELECT * FROM deleted;
ROLLBACK TO start;

-- Renamed: tokens follow, in their order; the secret still says the old name.
UPDATE unleash_tokens.project SET id = 'renamed' WHERE id = 'a';
SELECT * FROM now;
SELECT * FROM deleted;
SELECT count(*) AS new_names FROM secret WHERE secret LIKE '%renamed%';
UPDATE unleash_tokens.project SET id = id || '2' WHERE id IN ('b', 'c');
SELECT * FROM now;
ROLLBACK TO start;

-- Truncated: refused as long as there are tokens with projects; with CASCADE
-- they go.  Which projects they had is not to be known any more: none is said.
TRUNCATE unleash_tokens.project;
TRUNCATE unleash_tokens.project CASCADE;
SELECT * FROM now;
SELECT * FROM deleted;
ROLLBACK TO start;

-- Straight at the table of scopes.
DELETE FROM unleash_tokens.api_token_project WHERE project = 'a';
SELECT * FROM now;
SELECT * FROM deleted;
ROLLBACK TO start;
TRUNCATE unleash_tokens.api_token_project;
SELECT * FROM now;
SELECT count(*) FROM deleted;
ROLLBACK TO start;
DELETE FROM unleash_tokens.api_token_project;
SELECT * FROM now;
SELECT * FROM deleted;
ROLLBACK TO start;

-- A token that goes itself is not deleted a second time.
DELETE FROM unleash_tokens.api_token;
SELECT * FROM now;
SELECT * FROM deleted;
ROLLBACK TO start;

-- Where no trigger and no foreign key runs, absence still never means "all".
SET LOCAL session_replication_role = replica;
DELETE FROM unleash_tokens.api_token_project WHERE project = 'a';
SELECT * FROM now;
ROLLBACK TO start;
SET LOCAL session_replication_role = replica;
TRUNCATE unleash_tokens.api_token_project;
SELECT * FROM now;
ROLLBACK TO start;

-- Nor does a project that is there no more.
SET LOCAL session_replication_role = replica;
DELETE FROM unleash_tokens.project WHERE id = 'a';
SELECT * FROM now;
ROLLBACK TO start;

--
-- Environments: one in use cannot go, nor be made "all"
--
DELETE FROM unleash_tokens.environment WHERE name = 'e';
TRUNCATE unleash_tokens.environment;
UPDATE unleash_tokens.environment SET name = '*' WHERE name = 'e';
UPDATE unleash_tokens.environment SET name = 'renamed' WHERE name = 'e';
SELECT * FROM now;
ROLLBACK TO start;
UPDATE unleash_tokens.environment SET enabled = false WHERE name = 'e';
SELECT * FROM now;
ROLLBACK TO start;
TRUNCATE unleash_tokens.environment CASCADE;
SELECT * FROM now;
ROLLBACK TO start;

--
-- The list says of each token what asking for it by name says: its projects in
-- their order, and what is left of them where neither keys nor triggers helped.
--
CREATE TEMP VIEW listed AS
	SELECT token ->> 'tokenName' AS name, token -> 'projects' AS projects,
		token = unleash_tokens.get_api_tokens_by_name(token ->> 'tokenName') #> '{tokens,0}' AS same_by_name
	FROM jsonb_array_elements(unleash_tokens.get_all_api_tokens() -> 'tokens') AS list (token)
	WHERE token ->> 'tokenName' IN (SELECT name FROM secret)
	ORDER BY (token ->> 'tokenName') COLLATE "C";
SELECT * FROM listed;
SET LOCAL session_replication_role = replica;
DELETE FROM unleash_tokens.project WHERE id = 'a';
DELETE FROM unleash_tokens.api_token_project WHERE project = 'b';
SET LOCAL session_replication_role = origin;
SELECT * FROM listed;
ROLLBACK TO start;

--
-- Many at once: every one of 1,000 tokens has its event, with its projects.
--
INSERT INTO unleash_tokens.project (id) SELECT 'p' || i FROM generate_series(1, 100) AS i;
SELECT count(unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'many ' || i, 'project', 'p' || i % 100 + 1)))
FROM generate_series(1, 1000) AS i;
DELETE FROM unleash_tokens.project WHERE id LIKE 'p%';
SELECT count(*) AS tokens FROM unleash_tokens.api_token WHERE token_name LIKE 'many %';
SELECT count(*) AS events, count(DISTINCT selector) AS tokens,
	count(*) FILTER (WHERE pre_data ->> 'project' = 'p' || substr(token_name, 6)::int % 100 + 1) AS right_project
FROM unleash_tokens.api_token_event WHERE type = 'api-token-deleted';
ROLLBACK;
