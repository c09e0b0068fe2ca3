--
-- What changes and ends tokens by SQL: update, delete, purge.  Each names its
-- token by selector or by full secret, and says in an event what it did.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
RESET client_min_messages;
\pset null '(null)'
\set VERBOSITY default
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on

SELECT quote_ident(nspname) || '.digest' AS digest
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'pgcrypto' \gset

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
CREATE TEMP TABLE secret ON COMMIT DROP AS
	SELECT body ->> 'tokenName' AS name, answer ->> 'secret' AS secret,
		substring(answer ->> 'secret' FROM '\.v2_(.{22})_.{43}$') AS selector
	FROM unnest(ARRAY[
		'{"type": "client", "tokenName": "one", "projects": ["b", "a"]}', '{"type": "admin", "tokenName": "two"}',
		'{"type": "frontend", "tokenName": "three", "expiresAt": "2100-01-01T00:00:00Z"}']::jsonb[]) AS v (body),
		LATERAL unleash_tokens.create_api_token(body) AS c (answer);
-- One of Unleash's that has no selector: it is found by its digest.
INSERT INTO secret VALUES ('legacy', 'a:development.' || repeat('0123456789abcdef', 4), repeat('1', 22));
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at)
	SELECT selector, :digest(secret, 'sha256'), name, 'client', 'development', true, true, now() FROM secret WHERE name = 'legacy';
CREATE TEMP VIEW state AS
	SELECT name, t.expires_at AT TIME ZONE 'UTC' AS expires, unleash_tokens.validate_api_token(secret) IS NOT NULL AS valid
	FROM secret LEFT JOIN unleash_tokens.api_token AS t USING (selector) ORDER BY name COLLATE "C";
CREATE TEMP VIEW new_events AS
	SELECT type, token_name, actor = current_user AS by_me, actor_selector, pre_data ->> 'expiresAt' AS before, data ->> 'expiresAt' AS after,
		pre_data -> 'projects' AS projects
	FROM unleash_tokens.api_token_event WHERE type <> 'api-token-created' ORDER BY id;

-- The answer is the token as it is now, its selector for a secret.
SELECT name, unleash_tokens.update_api_token(selector, '{"expiresAt": "2090-01-01T00:00:00Z", "type": "admin", "projects": ["*"]}')
	- 'createdAt' - 'secret' AS changed
FROM secret WHERE name = 'one';
SELECT name, u ->> 'secret' = selector AS selector, u ->> 'expiresAt' AS expires
FROM secret, LATERAL unleash_tokens.update_api_token(secret, '{"expiresAt": "2001-01-01T00:00:00Z"}') AS u ORDER BY name COLLATE "C";
SELECT * FROM state;
SELECT name, unleash_tokens.update_api_token(secret, '{"expiresAt": null}') ->> 'expiresAt' AS expires FROM secret ORDER BY name COLLATE "C";
SELECT * FROM state;
SELECT * FROM new_events;
SAVEPOINT start;

-- What names no token: another key, a mistyped secret, a name, nothing.
CREATE TEMP TABLE reference ON COMMIT DROP AS
	SELECT i, v.text FROM secret, LATERAL (VALUES (1, left(secret, -43) || repeat('x', 43)),
		(2, overlay(secret PLACING CASE right(secret, 1) WHEN '0' THEN '1' ELSE '0' END FROM length(secret))),
		(3, name), (4, ''), (5, NULL), (6, repeat('A', 22)), (7, secret || ' '), (8, 'b:development.' || repeat('0', 64)),
		(9, 'a:development.v2_' || selector || '_' || repeat('k', 43))) AS v (i, text)
	WHERE name = 'one';
INSERT INTO reference SELECT 10, 'x:y.v2_' || repeat('1', 22) || '_' || repeat('k', 43);
SELECT i, unleash_tokens.update_api_token(text, '{"expiresAt": "2001-01-01T00:00:00Z"}') AS changed, unleash_tokens.delete_api_token(text) AS deleted
FROM reference ORDER BY i;
SELECT * FROM state;
SELECT count(*) AS events FROM new_events;

-- A bad request is refused before a token is looked for.
SELECT unleash_tokens.update_api_token('nobody', NULL);
SELECT unleash_tokens.update_api_token('nobody', '[]');
SELECT unleash_tokens.update_api_token('nobody', '{}');
SELECT unleash_tokens.update_api_token('nobody', '{"expiresAt": 1}');
SELECT unleash_tokens.update_api_token('nobody', '{"expiresAt": "tomorrow"}');

-- Deleted: by selector, by secret, by digest; a second time there is none.
SELECT name, unleash_tokens.delete_api_token(CASE name WHEN 'two' THEN selector ELSE secret END) AS deleted,
	unleash_tokens.delete_api_token(selector) AS again
FROM secret ORDER BY name COLLATE "C";
SELECT * FROM state;
SELECT type, token_name, by_me, after, projects FROM new_events WHERE type = 'api-token-deleted';
SELECT count(*) AS scopes FROM unleash_tokens.api_token_project;
ROLLBACK TO start;

--
-- Lists: all by age, or those of a name, or the one of a selector; a secret
-- finds nothing.
--
SELECT t ->> 'tokenName' AS listed, t -> 'secret' = to_jsonb(selector) AS selector, t -> 'projects' AS projects
FROM jsonb_array_elements(unleash_tokens.get_all_api_tokens() -> 'tokens') AS t JOIN secret ON name = t ->> 'tokenName'
ORDER BY name COLLATE "C";
SELECT name, jsonb_array_length(unleash_tokens.get_api_tokens_by_name(name) -> 'tokens') AS by_name,
	jsonb_array_length(unleash_tokens.get_api_tokens_by_name(selector) -> 'tokens') AS by_selector,
	jsonb_array_length(unleash_tokens.get_api_tokens_by_name(secret) -> 'tokens') AS by_secret
FROM secret ORDER BY name COLLATE "C";
SELECT count(*) AS leaks FROM secret WHERE position(right(secret, 43) IN unleash_tokens.get_all_api_tokens()::text) > 0;

--
-- Purged: what has been expired for that long, with an event each; nothing else.
--
UPDATE unleash_tokens.api_token SET expires_at = clock_timestamp() - age::interval
FROM (VALUES ('one', '2 days'), ('two', '1 hour'), ('three', '-1 hour')) AS v (name, age) WHERE token_name = name;
SELECT unleash_tokens.purge_expired('3 days') AS purged;
SELECT unleash_tokens.purge_expired('1 day') AS purged;
SELECT name, t.selector IS NOT NULL AS there FROM secret LEFT JOIN unleash_tokens.api_token AS t USING (selector) ORDER BY name COLLATE "C";
SELECT unleash_tokens.purge_expired('0') AS purged;
SELECT name, t.selector IS NOT NULL AS there FROM secret LEFT JOIN unleash_tokens.api_token AS t USING (selector) ORDER BY name COLLATE "C";
SELECT token_name, by_me, projects FROM new_events WHERE type = 'api-token-deleted';
UPDATE unleash_tokens.api_token_event SET at = clock_timestamp() - interval '2 days' WHERE type = 'api-token-updated';
SELECT unleash_tokens.purge_events('3 days') AS purged;
SELECT unleash_tokens.purge_events('1 day') > 0 AS purged;
SELECT DISTINCT type FROM unleash_tokens.api_token_event ORDER BY type;
ROLLBACK;

--
-- An age below zero would take what is still good; it is refused like one that nothing can have, by its name and
-- without a word of how the rows are looked for.
--
BEGIN;
\set SHOW_CONTEXT always
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'next week', 'expiresAt', now() + interval '7 days')) IS NOT NULL AS made;
CREATE TEMP TABLE age (age interval);
INSERT INTO age VALUES ('-1 year'), ('-1 microsecond'), ('1 mon -32 days'), ('1 day -25 hours'), ('1001 years'), ('-1001 years'),
	('178000000 years'), ('2147483647 days'), ('-2147483647 days'), ('2562047788:00:54.775807'), ('999 years 800 days');
CREATE FUNCTION pg_temp.try(what text, age interval) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE code text; message text; detail text; context text;
	BEGIN
		EXECUTE format('SELECT unleash_tokens.%I(%L)', what, age);
		RETURN 'done';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, context = PG_EXCEPTION_CONTEXT;
		RETURN concat_ws(' | ', code, message, detail, substring(context FROM '(?:FROM|DELETE) .*api_token.*'));
	END $$;
SELECT what, pg_temp.try(what, age) FROM age, unnest(ARRAY['purge_expired', 'purge_events']) AS what;
SELECT unleash_tokens.purge_expired('-1 second');
ROLLBACK;
BEGIN;
-- the edges are taken
SELECT unleash_tokens.purge_expired('1000 years'), unleash_tokens.purge_events('1000 years'), unleash_tokens.purge_events('-1 day 24 hours') AS now;
ROLLBACK;
\set SHOW_CONTEXT never
