--
-- The registries: what may stand in them, and how a row that CREATE EXTENSION
-- made gives way to the same one out of a dump.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\pset null '(null)'
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on

BEGIN;
CREATE FUNCTION pg_temp.enter(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	violated text;
BEGIN
	EXECUTE statement;
	RETURN 'entered';
EXCEPTION WHEN integrity_constraint_violation THEN
	GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
	RETURN SQLSTATE || ' ' || violated;
END
$$;

--
-- What an id may be: 1 to 100 characters, none of control, not * and not [],
-- which stand for "all" and "several" in secrets.  Both registries agree.
--
SELECT what, pg_temp.enter(format('INSERT INTO unleash_tokens.project (id) VALUES (%L)', id)) AS project,
	pg_temp.enter(format('INSERT INTO unleash_tokens.environment (name) VALUES (%L)', id)) AS environment
FROM (VALUES
	(1, 'null', NULL), (2, 'empty', ''), (3, 'star', '*'), (4, 'brackets', '[]'), (5, '100', repeat('x', 100)), (6, '101', repeat('x', 101)),
	(7, '100 of 2 bytes', repeat(U&'\00E9', 100)), (8, '100 of 4 bytes', repeat(U&'\+01F600', 100)), (9, '101 of 4 bytes', repeat(U&'\+01F600', 101)),
	(10, 'tab', E'a\tb'), (11, 'newline', E'a\n'), (12, 'U+0001', E'\u0001'), (13, 'U+001F', E'a\u001F'), (14, 'U+007F', E'\u007F'), (15, 'U+0080', E'a\u0080'),
	(16, 'U+0085', E'\u0085'), (17, 'U+009F', E'a\u009Fb'), (18, 'U+00A0', E'\u00A0'), (19, 'blank', ' '), (20, 'star in it', 'a*'), (21, 'two stars', '**'),
	(22, 'marks', ':.,"''\%_{}'), (23, 'long known', 'default '), (24, 'case', 'Default'))
	AS v (i, what, id)
ORDER BY i;
SELECT pg_temp.enter($$INSERT INTO unleash_tokens.environment (name, type) VALUES ('t', '')$$) AS no_type,
	pg_temp.enter($$INSERT INTO unleash_tokens.environment (name, type) VALUES ('t', NULL)$$) AS null_type,
	pg_temp.enter($$INSERT INTO unleash_tokens.environment (name, enabled) VALUES ('t', NULL)$$) AS null_enabled,
	pg_temp.enter($$UPDATE unleash_tokens.project SET id = '*' WHERE id = 'default'$$) AS renamed_to_all,
	pg_temp.enter($$UPDATE unleash_tokens.environment SET name = '*' WHERE name = 'production'$$) AS renamed_to_all;

-- Names of registries that hold all of these work in tokens.
SELECT count(v -> 'projects') AS tokens, bool_and(v -> 'projects' = jsonb_build_array(id)) AS as_entered
FROM unleash_tokens.project,
	LATERAL unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', id)) AS c,
	LATERAL unleash_tokens.validate_api_token(c ->> 'secret') AS v;
SELECT count(v ->> 'environment') AS tokens, bool_and(v ->> 'environment' = name) AS as_entered
FROM unleash_tokens.environment,
	LATERAL unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'environment', name)) AS c,
	LATERAL unleash_tokens.validate_api_token(c ->> 'secret') AS v;
ROLLBACK;

--
-- The tables of tokens refuse what the functions would never write.
--
BEGIN;
CREATE FUNCTION pg_temp.enter(change jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	violated text;
BEGIN
	INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at, expires_at, seen_at)
	SELECT selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at, expires_at, seen_at
	FROM jsonb_populate_record(NULL::unleash_tokens.api_token, jsonb_build_object(
		'selector', repeat('s', 22), 'verifier', '\x' || repeat('00', 32), 'token_name', 'n', 'type', 'client',
		'environment', 'development', 'all_projects', true, 'by_verifier', false, 'created_at', '2026-01-01') || change);
	RETURN 'entered';
EXCEPTION WHEN integrity_constraint_violation THEN
	GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
	RETURN SQLSTATE || ' ' || violated;
END
$$;
SELECT change, pg_temp.enter(change) FROM unnest(ARRAY[
	'{}', '{}', '{"selector": "short"}', '{"selector": "sssssssssssssssssssss!"}', '{"selector": "ssssssssssssssssssssss\n"}',
	'{"selector": "a", "verifier": "\\x00"}', '{"selector": "11111111111111111111-_", "verifier": "\\x00"}',
	'{"selector": "a234567890123456789012", "type": "root"}', '{"selector": "a234567890123456789012", "type": "Client"}',
	'{"selector": "a234567890123456789012", "type": null}',
	'{"selector": "a234567890123456789012", "environment": null}', '{"selector": "a234567890123456789012", "environment": "nope"}',
	'{"selector": "a234567890123456789012", "type": "admin"}',
	'{"selector": "a234567890123456789012", "all_projects": null}',
	'{"selector": "a234567890123456789012", "expires_at": "infinity"}', '{"selector": "a234567890123456789012", "expires_at": "-infinity"}',
	'{"selector": "a234567890123456789012", "created_at": "infinity"}', '{"selector": "a234567890123456789012", "seen_at": "10000-01-01 00:00+00"}',
	'{"selector": "a234567890123456789012", "expires_at": "0002-12-31 23:59+00 BC"}',
	'{"selector": "a234567890123456789012", "by_verifier": true}', '{"selector": "b234567890123456789012", "by_verifier": true}']::jsonb[])
	WITH ORDINALITY AS v (change, i)
ORDER BY i;
INSERT INTO unleash_tokens.api_token_project (selector, project, ord) VALUES (repeat('s', 22), 'nope', 1);
INSERT INTO unleash_tokens.api_token_project (selector, project, ord) VALUES ('nope', 'default', 1);
INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor) VALUES ('api-token-lost', 's', 'n', 'a');
INSERT INTO unleash_tokens.api_token_event (id, type, selector, token_name, actor) VALUES (1, 'api-token-created', 's', 'n', 'a');
ROLLBACK;

--
-- Rows of a dump come back through backup_row.  Rows of the install give way to
-- them, as long as nobody changed them and no token uses them.
--
BEGIN;
CREATE TEMP VIEW registry AS
	SELECT 'project' AS registry, id, NULL AS type, NULL::boolean AS enabled, created_at < '2021-01-01' AS old, origin FROM unleash_tokens.project
	UNION ALL
	SELECT 'environment', name, type, enabled, created_at < '2021-01-01', origin FROM unleash_tokens.environment
	ORDER BY 1, 2;
SELECT * FROM registry;
SAVEPOINT start;

-- As COPY of a dump does it: unchanged, changed, and new rows.
COPY unleash_tokens.backup_row (ord, relation, data) FROM stdin;
1	project	{"id": "default", "created_at": "2020-01-01 00:00:00+00", "origin": "install"}
1	project	{"id": "mine", "created_at": "2020-01-01 00:00:00+00", "origin": "user"}
1	environment	{"name": "development", "type": "test", "enabled": false, "created_at": "2020-01-01 00:00:00+00", "origin": "user"}
1	environment	{"name": "production", "type": "production", "enabled": true, "created_at": "2020-01-01 00:00:00+00", "origin": "install"}
\.
SELECT * FROM registry;
SELECT count(*) AS stays_empty FROM unleash_tokens.backup_row;

-- Once is enough: the same again is a duplicate, but for what is still as installed.
INSERT INTO unleash_tokens.backup_row VALUES (1, 'environment', '{"name": "development", "type": "test", "enabled": false, "created_at": "2020-01-01", "origin": "user"}');
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "default", "created_at": "2020-01-01", "origin": "user"}');
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "default", "created_at": "2020-01-01", "origin": "user"}');
ROLLBACK TO start;

-- An INSERT of anybody's does not make room for itself.
INSERT INTO unleash_tokens.project (id) VALUES ('default');
ROLLBACK TO start;

-- What the dump says was removed goes.
COPY unleash_tokens.backup_row (ord, relation, data) FROM stdin;
0	no project	{"id": "default"}
0	no environment	{"name": "production"}
0	no environment	{"name": "never there"}
\.
SELECT * FROM registry;
ROLLBACK TO start;

-- Not what somebody made or changed, be it only by touching it.
UPDATE unleash_tokens.project SET id = id WHERE id = 'default';
UPDATE unleash_tokens.environment SET enabled = false WHERE name = 'production';
INSERT INTO unleash_tokens.backup_row VALUES (0, 'no project', '{"id": "default"}'), (0, 'no environment', '{"name": "production"}');
SELECT * FROM registry;
UPDATE unleash_tokens.project SET origin = 'install';
SELECT * FROM registry WHERE registry = 'project';
ROLLBACK TO start;

-- Not what tokens use: they would lose it.
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "project": "default"}') ->> 'secret' AS secret \gset
INSERT INTO unleash_tokens.backup_row VALUES (0, 'no project', '{"id": "default"}'), (0, 'no environment', '{"name": "development"}');
SELECT * FROM registry;
SELECT unleash_tokens.validate_api_token(:'secret') -> 'projects' AS projects;
ROLLBACK TO start;

-- What is of no table we know is not lost in silence, nor what the trigger does not take.
INSERT INTO unleash_tokens.backup_row VALUES (9, 'api_token_grant', '{}');
INSERT INTO unleash_tokens.backup_row VALUES (1, NULL, '{}');
ALTER TABLE unleash_tokens.backup_row DISABLE TRIGGER ALL;
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "x"}');
ROLLBACK TO start;

\set VERBOSITY terse
-- A column that the dump does not know yet has its default; one that only the dump knows is not lost in silence: it may
-- be what holds a token back.
ALTER TABLE unleash_tokens.api_token ADD COLUMN flag boolean NOT NULL DEFAULT true;
ALTER TABLE unleash_tokens.project ADD COLUMN "Kind of" text NOT NULL DEFAULT 'usual';
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "old"}'), (1, 'project', '{"id": "new", "Kind of": "other"}'),
	(2, 'api_token', '{"selector": "aaaaaaaaaaaaaaaaaaaaaa", "verifier": "\\x0000000000000000000000000000000000000000000000000000000000000000", "token_name": "n", "type": "client", "environment": "development", "all_projects": true, "created_at": "2020-01-01"}');
SELECT t.flag, t.by_verifier, p.id, p."Kind of" FROM unleash_tokens.api_token AS t, unleash_tokens.project AS p WHERE p.id IN ('old', 'new') ORDER BY p.id;
SAVEPOINT known;
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "x", "allowed; DROP TABLE": "no"}');
ROLLBACK TO known;
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "x", "ctid": "(0,1)"}');
ROLLBACK TO known;
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{}');
ROLLBACK TO known;
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '[]');
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', NULL);
INSERT INTO unleash_tokens.backup_row VALUES (0, 'no project', NULL);
ROLLBACK TO start;

-- A trigger of others that keeps a row from being written or removed makes an error, never a dump that came back in part.
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE INSERT ON unleash_tokens.project FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
SAVEPOINT swallowing;
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "x"}');
ROLLBACK TO swallowing;
CREATE TRIGGER swallow_removal BEFORE DELETE ON unleash_tokens.project FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
CREATE TRIGGER swallow_removal BEFORE DELETE ON unleash_tokens.environment FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
SAVEPOINT swallowing;
INSERT INTO unleash_tokens.backup_row VALUES (0, 'no project', '{"id": "default"}');
ROLLBACK TO swallowing;
INSERT INTO unleash_tokens.backup_row VALUES (0, 'no environment', '{"name": "production"}');
ROLLBACK TO start;

-- The same when the last project of a token goes: no event of a deletion that did not happen.
INSERT INTO unleash_tokens.project (id) VALUES ('last');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "kept by a trigger", "project": "last"}') IS NOT NULL AS made;
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE DELETE ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
SAVEPOINT swallowing;
DELETE FROM unleash_tokens.project WHERE id = 'last';
ROLLBACK TO swallowing;
SELECT type FROM unleash_tokens.api_token_event WHERE token_name = 'kept by a trigger';
ROLLBACK TO start;

-- Without the checks on names a secret can be too long: an error, and no search without end.
ALTER TABLE unleash_tokens.project DROP CONSTRAINT project_id_check;
INSERT INTO unleash_tokens.project (id) VALUES (repeat('p', 2000)), (repeat('q', 4000)), (repeat('r', 4096 - 70 - 12)), (repeat('r', 4096 - 70 - 11));
SET LOCAL statement_timeout = '10s';
SAVEPOINT long;
SELECT left(unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', repeat('q', 4000))) ->> 'secret', 3);
ROLLBACK TO long;
SELECT length(t.secret), unleash_tokens.validate_api_token(t.secret) IS NOT NULL AS valid
FROM unnest(ARRAY[2000, 4096 - 70 - 12]) AS n, LATERAL (SELECT id FROM unleash_tokens.project WHERE length(id) = n) AS p,
	LATERAL (SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', p.id)) ->> 'secret') AS t (secret);
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', repeat('r', 4096 - 70 - 11))) IS NULL;
ROLLBACK TO start;
\set VERBOSITY sqlstate

-- Other origins there are none.
INSERT INTO unleash_tokens.project (id, origin) VALUES ('x', 'elsewhere');
INSERT INTO unleash_tokens.project (id, origin) VALUES ('x', NULL);
ROLLBACK;

--
-- The functions behind the triggers do their work for our tables only.
--
BEGIN;
SELECT unleash_tokens.mark_changed();
SELECT unleash_tokens.restore_row();
SELECT unleash_tokens.delete_scopeless_tokens();
CREATE TEMP TABLE other (id int, origin int, ord int);
CREATE TRIGGER r BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION unleash_tokens.restore_row();
INSERT INTO other VALUES (1, 1, 1);
DROP TRIGGER r ON other;
INSERT INTO other VALUES (1, 1, 1);
CREATE TRIGGER u BEFORE UPDATE ON other FOR EACH ROW EXECUTE FUNCTION unleash_tokens.mark_changed();
UPDATE other SET id = 2;
DROP TRIGGER u ON other;
CREATE TRIGGER t AFTER DELETE ON other REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION unleash_tokens.delete_scopeless_tokens();
DELETE FROM other;
ROLLBACK;
