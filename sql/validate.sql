--
-- validate_api_token(): what is answered, and that every other secret is
-- refused the same way.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
RESET client_min_messages;
\pset null '(null)'

SELECT quote_ident(nspname) || '.digest' AS digest
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'pgcrypto' \gset

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('x:y.z_v2');

--
-- What is answered.  The name and not the secret finds the row here, so that
-- no secret is printed.
--
CREATE TEMP TABLE secret ON COMMIT DROP AS
	SELECT body ->> 'tokenName' AS name, unleash_tokens.create_api_token(body) ->> 'secret' AS secret
	FROM unnest(ARRAY[
		'{"type": "client", "tokenName": "all"}',
		'{"type": "backend", "tokenName": "one", "project": "a", "environment": "production"}',
		'{"type": "frontend", "tokenName": "two", "projects": ["b", "a"], "expiresAt": "2100-01-01T00:00:00.5Z"}',
		'{"type": "admin", "tokenName": "admin"}',
		'{"type": "client", "tokenName": "odd", "project": "x:y.z_v2"}',
		'{"type": "client", "tokenName": "born expired", "expiresAt": "2001-01-01T00:00:00Z"}',
		'{"type": "client", "tokenName": "to expire", "expiresAt": "2100-01-01T00:00:00Z"}',
		'{"type": "client", "tokenName": "to go"}',
		'{"type": "client", "tokenName": "to lose its scope", "project": "b"}',
		'{"type": "client", "tokenName": "to be tampered with"}']::jsonb[]) AS v (body);
SELECT name, jsonb_pretty(unleash_tokens.validate_api_token(secret) - 'selector') AS validated
FROM secret WHERE name NOT LIKE 'to%' ORDER BY name COLLATE "C";
SELECT count(*) AS right_selector FROM secret
WHERE unleash_tokens.validate_api_token(secret) ->> 'selector' = substring(secret FROM '\.v2_(.{22})_.{43}$');

-- Once good, now refused: expired, deleted, without a project, another digest.
SELECT count(unleash_tokens.validate_api_token(secret)) AS good FROM secret WHERE name LIKE 'to%';
UPDATE unleash_tokens.api_token SET expires_at = clock_timestamp() WHERE token_name = 'to expire';
DELETE FROM unleash_tokens.api_token WHERE token_name = 'to go';
UPDATE unleash_tokens.api_token SET verifier = set_byte(verifier, 31, get_byte(verifier, 31) # 1) WHERE token_name = 'to be tampered with';
SET LOCAL session_replication_role = replica;
DELETE FROM unleash_tokens.api_token_project WHERE project = 'b';
RESET session_replication_role;
SELECT name, unleash_tokens.validate_api_token(secret) AS validated
FROM secret WHERE name LIKE 'to%' ORDER BY name COLLATE "C";

-- Many at once are judged as each of them is.
SELECT count(*) AS secrets, count(v.ordinal) AS valid,
	count(*) FILTER (WHERE (v.ordinal IS NULL) <> (unleash_tokens.validate_api_token(s.secret) IS NULL)) AS judged_otherwise
FROM (SELECT array_agg(v.secret) FROM secret AS t, LATERAL (VALUES (t.secret), (t.secret || 'x'), (left(t.secret, -43) || repeat('x', 43))) AS v (secret)) AS a (list),
	LATERAL unnest(list) WITH ORDINALITY AS s (secret, i) LEFT JOIN unleash_tokens.validate_api_tokens(list) AS v ON v.ordinal = s.i;

-- No expiry again: good again.
UPDATE unleash_tokens.api_token SET expires_at = NULL WHERE token_name = 'to expire';
SELECT unleash_tokens.validate_api_token(secret) ->> 'expiresAt' AS expires FROM secret WHERE name = 'to expire';

--
-- Texts that are no secret
--
SELECT text, unleash_tokens.validate_api_token(text) FROM unnest(ARRAY[
	NULL, '', ' ', '*', '*:*', '%', '''', '*:development.v2_', 'v2_utok_', repeat('x', 22)]) AS text;
SELECT count(*) AS texts, count(unleash_tokens.validate_api_token(text)) AS validated
FROM secret,
	LATERAL (VALUES (secret || ' '), (' ' || secret), (secret || E'\n'), (secret || 'x'), (left(secret, -1)), (substr(secret, 2)),
		(upper(secret)), (lower(secret)), (secret || secret), ('Bearer ' || secret), (right(secret, 70)),
		(substring(secret FROM '\.v2_(.{22})_.{43}$')), (right(secret, 43)),
		(repeat('x', 4096)), (repeat('x', 5000) || right(secret, 70)), (repeat('x', 10000000))) AS v (text)
WHERE name = 'all';

--
-- Secrets of Unleash, as imported: base64url with a selector of their own, or
-- any text found by its digest.  Only what the row says is looked for: one is
-- not found the way of the other.
--
CREATE TEMP TABLE foreign_secret ON COMMIT DROP AS
	SELECT * FROM (VALUES
		('v2', 'a:development.v2_' || repeat('-_', 11) || '_' || repeat('k', 43), repeat('-_', 11), false),
		('v1', 'a:development.' || repeat('0123456789abcdef', 4), repeat('1', 22), true),
		('v1 short', 'x', repeat('2', 22), true),
		('v1 not marked', 'y', repeat('3', 22), false),
		('v2 as v1', 'a:development.v2_' || repeat('A', 22) || '_' || repeat('k', 43), repeat('4', 22), true)) AS v (name, secret, selector, by_verifier);
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at)
	SELECT selector, :digest(secret, 'sha256'), name, 'client', 'development', true, by_verifier, now() FROM foreign_secret;
SELECT name, unleash_tokens.validate_api_token(secret) ->> 'tokenName' AS validated,
	unleash_tokens.validate_api_token(overlay(secret PLACING 'z' FROM length(secret))) AS mistyped
FROM foreign_secret ORDER BY name COLLATE "C";
SELECT f.name, v.token_name AS validated_among_many
FROM (SELECT array_agg(name ORDER BY name COLLATE "C") AS names, array_agg(secret ORDER BY name COLLATE "C") AS secrets FROM foreign_secret) AS a,
	LATERAL unnest(names) WITH ORDINALITY AS f (name, i) LEFT JOIN unleash_tokens.validate_api_tokens(secrets) AS v ON v.ordinal = f.i
ORDER BY f.i;

--
-- A secret of ours that is mistyped is refused by its text alone: more than
-- 100,000 changes of one character, with no look at a table.  A change of the
-- marker or of what separates the parts makes a text of another kind of it:
-- that is looked up and refused too.
--
CREATE TEMP TABLE spot ON COMMIT DROP AS
	SELECT s.secret, at, at BETWEEN length(s.secret) - 69 AND length(s.secret) - 62 OR at = length(s.secret) - 43 AS looked_up
	FROM (SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "project": "a"}') ->> 'secret'
		  FROM generate_series(1, 23)) AS s (secret), generate_series(1, length(s.secret)) AS at;
CREATE TEMP TABLE mistyped ON COMMIT DROP AS
	SELECT overlay(secret PLACING c FROM at) AS secret, looked_up
	FROM spot, unnest(string_to_array('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', NULL)) AS c
	WHERE c <> substr(secret, at, 1);
CREATE TEMP VIEW looks AS
	SELECT sum(seq_scan) + sum(idx_scan) + sum(seq_tup_read) + sum(idx_tup_fetch) AS looks
	FROM pg_stat_xact_user_tables WHERE schemaname = 'unleash_tokens';

SELECT count(*) > 100000 AS enough FROM mistyped WHERE NOT looked_up;
SELECT looks FROM looks \gset
SELECT count(unleash_tokens.validate_api_token(secret)) AS validated FROM mistyped WHERE NOT looked_up;
SELECT looks - :looks AS looks FROM looks;
SELECT count(unleash_tokens.validate_api_token(secret)) AS validated FROM mistyped WHERE looked_up;
SELECT looks > :looks AS counters_count FROM looks;
SELECT count(unleash_tokens.validate_api_token(secret)) AS validated FROM (SELECT DISTINCT secret FROM spot) AS s;

-- Two characters swapped, one left out, one doubled.
SELECT looks FROM looks \gset
SELECT count(unleash_tokens.validate_api_token(overlay(secret PLACING reverse(substr(secret, at, 2)) FROM at))) AS swapped,
	count(unleash_tokens.validate_api_token(overlay(secret PLACING '' FROM at FOR 1))) AS left_out,
	count(unleash_tokens.validate_api_token(overlay(secret PLACING repeat(substr(secret, at, 1), 2) FROM at FOR 1))) AS doubled
FROM spot WHERE substr(secret, at, 1) <> substr(secret, at + 1, 1) AND at < length(secret);

--
-- Validation writes nothing and needs no right to write.
--
ROLLBACK;
BEGIN;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "all"}') ->> 'secret' AS secret \gset
SELECT xmin, ctid FROM unleash_tokens.api_token WHERE token_name = 'all' \gset
SET TRANSACTION READ ONLY;
SELECT unleash_tokens.validate_api_token(:'secret') ->> 'tokenName' AS validated;
SELECT xmin = :'xmin' AND ctid = :'ctid' AND xmax = 0 AS untouched FROM unleash_tokens.api_token WHERE token_name = 'all';
ROLLBACK;
