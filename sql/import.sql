--
-- import_api_tokens(): secrets of another Unleash become valid here, only their
-- digests are kept, and a second run changes nothing.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\pset null '(null)'
\set VERBOSITY default
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
CREATE TEMP TABLE kept (name text, secret text) ON COMMIT DROP;
INSERT INTO kept VALUES
	('v1', 'a:development.' || repeat('0123456789abcdef', 4)), ('v1 admin', '*:*.' || repeat('fedcba9876543210', 4)),
	('v2', '[]:production.v2_' || repeat('_-', 11) || '_' || repeat('kK3', 14) || 'k'), ('short', 'secret');
CREATE FUNCTION pg_temp.token(name text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('tokenName', $1, 'type', 'client', 'environment', 'development', 'projects', '["*"]'::jsonb, 'project', '*',
		'secret', (SELECT secret FROM kept WHERE kept.name = $1), 'createdAt', '2020-01-01T00:00:00.123Z', 'expiresAt', NULL, 'seenAt', NULL, 'alias', NULL) || more
$$;
CREATE TEMP VIEW sent AS SELECT jsonb_build_object('tokens', jsonb_build_array(
	pg_temp.token('v1', '{"alias": "an alias", "seenAt": "2021-01-01T00:00:00Z"}'),
	pg_temp.token('v1 admin', '{"type": "admin", "environment": "*"}'),
	pg_temp.token('v2', '{"type": "frontend", "environment": "production", "projects": ["b", "a"], "project": "b,a", "expiresAt": "2100-01-01T00:00:00Z"}'),
	pg_temp.token('short'))) AS body;
CREATE TEMP VIEW state AS
	SELECT token_name, type, environment, projects, by_verifier, created_at AT TIME ZONE 'UTC' AS created, expires_at AT TIME ZONE 'UTC' AS expires,
		seen_at AT TIME ZONE 'UTC' AS seen, alias, created_by = current_user AS by_me
	FROM unleash_tokens.api_tokens ORDER BY token_name COLLATE "C";
SELECT unleash_tokens.import_api_tokens(body) AS report FROM sent;
-- A token is as it was there.
SELECT * FROM state;
SELECT name, unleash_tokens.validate_api_token(secret) ->> 'tokenName' AS valid, unleash_tokens.validate_api_token(secret || 'x') AS mistyped
FROM kept ORDER BY name COLLATE "C";
SELECT count(*) AS digests FROM kept JOIN unleash_tokens.api_token ON verifier = sha256(secret::bytea);
SELECT type, token_name, actor = current_user AS by_me, data ->> 'createdAt' AS created FROM unleash_tokens.api_token_event ORDER BY token_name COLLATE "C";
-- What has no selector of its own is given one that cannot pass for one made here.
SELECT count(*) FILTER (WHERE selector ~ '^[0-9A-Za-z]{22}$' AND selector !~ '^utok') AS anonymous,
	count(*) FILTER (WHERE NOT by_verifier) AS own FROM unleash_tokens.api_token;
-- Nothing of a secret is in any row.
SELECT count(*) FILTER (WHERE position(right(secret, 40) IN t::text) > 0 OR position(right(secret, 40) IN e::text) > 0) AS leaks, count(*) > 0 AS looked
FROM kept, unleash_tokens.api_token AS t JOIN unleash_tokens.api_token_event AS e USING (selector) WHERE length(secret) > 40;

-- Once more: nothing changes, also not by other words for the same secret.
SELECT unleash_tokens.import_api_tokens(body) - 'weak' AS report FROM sent;
SELECT unleash_tokens.import_api_tokens(body -> 'tokens') - 'weak' AS report FROM sent;
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(pg_temp.token('v1', '{"type": "admin", "environment": "*"}'))) - 'weak' AS report;
SELECT count(*) AS tokens, (SELECT count(*) FROM unleash_tokens.api_token_event) AS events FROM unleash_tokens.api_token;

-- A selector that another secret has is not given away.
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(pg_temp.token('other',
	jsonb_build_object('secret', '*:development.v2_' || repeat('_-', 11) || '_' || repeat('x', 43))))) AS report;
SELECT unleash_tokens.validate_api_token(secret) ->> 'tokenName' AS still FROM kept WHERE name = 'v2';

-- By selector and verifier, as a list of a server with secure tokens is completed.
INSERT INTO kept VALUES ('by verifier', '*:development.v2_' || repeat('s', 22) || '_' || repeat('t', 43));
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(pg_temp.token('by verifier', jsonb_build_object('selector', repeat('s', 22), 'secret', NULL,
	'verifier', rtrim(translate(encode(sha256(secret::bytea), 'base64'), '+/', '-_'), '='))))) AS report FROM kept WHERE name = 'by verifier';
SELECT unleash_tokens.validate_api_token(secret) ->> 'tokenName' AS valid, unleash_tokens.validate_api_token(left(secret, -1) || 'u') AS other_key
FROM kept WHERE name = 'by verifier';
SAVEPOINT start;

-- Refused one by one, with the reason; the others come in.
INSERT INTO kept SELECT 'refused ' || i, 'a:development.' || md5(i::text) || md5(i::text) FROM generate_series(1, 30) AS i;
SELECT r ->> 'index' AS index, r ->> 'tokenName' AS name, r ->> 'reason' AS reason
FROM jsonb_array_elements(unleash_tokens.import_api_tokens(jsonb_build_array(5, '[]'::jsonb, NULL,
	pg_temp.token('refused 1', '{"type": "root"}'), pg_temp.token('refused 2', '{"environment": "nope"}'), pg_temp.token('refused 3', '{"projects": ["a", "nope"]}'),
	pg_temp.token('refused 4', '{"projects": []}'), pg_temp.token('refused 5') - 'projects' - 'project', pg_temp.token('refused 6') - 'environment',
	pg_temp.token('refused 7', '{"createdAt": "yesterday"}'), pg_temp.token('refused 8', '{"seenAt": 5}'), pg_temp.token('refused 9', '{"expiresAt": "never"}'),
	pg_temp.token('refused 10', '{"secret": ""}'), pg_temp.token('refused 11') - 'secret', pg_temp.token('refused 12', '{"type": "admin"}'),
	pg_temp.token('refused 13', jsonb_build_object('secret', repeat('A', 22), 'secure', true)),
	pg_temp.token('refused 14', jsonb_build_object('secret', repeat('x', 5000))),
	pg_temp.token('refused 15', jsonb_build_object('secret', '*:*.v2_utok' || repeat('A', 18) || '_' || repeat('k', 43))),
	pg_temp.token('refused 16', jsonb_build_object('verifier', repeat('A', 43))),
	pg_temp.token('refused 17', jsonb_build_object('selector', repeat('A', 21), 'verifier', repeat('A', 43))),
	pg_temp.token('refused 18', jsonb_build_object('selector', 'utok' || repeat('A', 18), 'verifier', repeat('A', 43))),
	pg_temp.token('refused 19', jsonb_build_object('selector', repeat('A', 22), 'verifier', repeat('A', 42))),
	pg_temp.token('refused 20', jsonb_build_object('selector', repeat('A', 22), 'verifier', repeat('!', 43))),
	pg_temp.token('refused 21', '{"environment": "*"}'), pg_temp.token('', '{"secret": "x"}'),
	pg_temp.token('refused 22'))) -> 'refused') AS r;
SELECT token_name FROM unleash_tokens.api_token WHERE token_name LIKE 'refused%';

-- Secrets of little chance are named: what can be guessed is not made better by its digest.
SELECT w ->> 'tokenName' AS weak, w ->> 'bits' AS bits
FROM jsonb_array_elements(unleash_tokens.import_api_tokens(
	(SELECT jsonb_agg(pg_temp.token(secret, jsonb_build_object('secret', secret)) ORDER BY i)
	 FROM unnest(ARRAY['1', 'a:b.12345678', 'x.abcdef', 'x.abcxyz', 'x.ABC', 'x.a-Z9', 'x.', repeat('0123456789abcdef', 2), repeat('x', 28)])
		WITH ORDINALITY AS v (secret, i))) -> 'weak') AS w;

-- What stands in Unleash's own examples is known to all: named, and no admin token.
SELECT jsonb_pretty(unleash_tokens.import_api_tokens(jsonb_build_array(
	pg_temp.token('published admin', '{"type": "admin", "environment": "*", "secret": "*:*.unleash-insecure-admin-api-token"}'),
	pg_temp.token('published client', '{"secret": "default:development.unleash-insecure-api-token"}'),
	pg_temp.token('published frontend', '{"type": "frontend", "secret": "default:development.Unleash-Insecure-frontend-api-token"}'),
	pg_temp.token('of words', '{"secret": "*:*.correct-horse-battery-staple-and-more"}'),
	pg_temp.token('of steps', '{"secret": "*:*.abcdefghijklmnopqrstuvwxyz0123456789"}'),
	pg_temp.token('of one word again and again', '{"secret": "*:*.secretsecretsecretsecretsecretsecret"}'),
	pg_temp.token('of Unleash', '{"secret": "*:*.4fd3a1907c7e1e0a9d5b8c3f2e6a7091b4c5d6e7f80192a3b4c5d6e7"}')))) AS report;
SELECT unleash_tokens.validate_api_token('*:*.unleash-insecure-admin-api-token') IS NULL AS admin_is_none,
	unleash_tokens.validate_api_token('default:development.unleash-insecure-api-token') ->> 'tokenName' AS client;

-- Lists of older servers: username where later ones say tokenName, and project alone.
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(
	pg_temp.token('old', '{"username": "of version 4", "project": "a", "secret": "a:development.old1"}') - 'projects' - 'tokenName',
	pg_temp.token('old all', '{"username": "of all", "secret": "*:development.old2"}') - 'projects' - 'tokenName',
	pg_temp.token('new', '{"username": "not this", "secret": "*:development.old3"}'),
	pg_temp.token('none', '{"secret": "*:development.old4"}') - 'projects' - 'project',
	pg_temp.token('null', '{"secret": "*:development.old5", "project": null}') - 'projects',
	pg_temp.token('numbered', '{"username": 5, "secret": "*:development.old6"}') - 'tokenName')) - 'weak' AS report;
SELECT token_name, projects FROM unleash_tokens.api_tokens WHERE token_name IN ('of version 4', 'of all', 'new', 'not this', 'none', 'null') ORDER BY 1;

-- No token is made or used in the future.
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(pg_temp.token('tomorrow',
	'{"secret": "*:development.tomorrow", "createdAt": "9000-01-01T00:00:00Z", "seenAt": "9000-01-01T00:00:00Z"}'))) -> 'imported' AS imported;
SELECT created_at <= clock_timestamp() AS made, seen_at <= clock_timestamp() AS seen FROM unleash_tokens.api_tokens WHERE token_name = 'tomorrow';

-- What is no list is an error, not an empty import.
SELECT unleash_tokens.import_api_tokens(NULL);
SELECT unleash_tokens.import_api_tokens('5');
SELECT unleash_tokens.import_api_tokens('{"tokens": {}}');
SELECT unleash_tokens.import_api_tokens('[]') AS report;
ROLLBACK TO start;

-- All or nothing at the limit.
SELECT set_config('unleash_tokens.max_tokens', (SELECT count(*) + 1 FROM unleash_tokens.api_token)::text, true) <> '' AS set;
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(pg_temp.token('x1', '{"secret": "x1"}'), pg_temp.token('x2', '{"secret": "x2"}')));
SELECT count(*) FROM unleash_tokens.api_token WHERE token_name LIKE 'x_';
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(pg_temp.token('x1', '{"secret": "x1"}'))) - 'weak' AS report;
ROLLBACK;
