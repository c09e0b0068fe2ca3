--
-- create_api_token(): every rule, its words, and the order of the checks.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
RESET client_min_messages;
\set VERBOSITY default
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
\set ON_ERROR_ROLLBACK on

BEGIN;

-- pgcrypto is the independent oracle of digests, wherever it was installed.
SELECT quote_ident(nspname) || '.digest' AS digest
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'pgcrypto' \gset

INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), ('c'), ('x:y.z'), (' a '), ('A');
INSERT INTO unleash_tokens.environment (name, enabled) VALUES ('off', false), ('e:f', true);

--
-- What is refused, in one line: SQLSTATE, message and DETAIL.  Message and
-- HINT together must be a row of list_refusals(), which the test "refusals"
-- prints; one that is not is shown as such.  What is not refused is shown as
-- it is answered, without the secret, the time and what is the same in all.
--
CREATE FUNCTION pg_temp.try(body jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer jsonb;
	state text;
	said text;
	detail text;
	advice text;
BEGIN
	answer := unleash_tokens.create_api_token(body);
	RETURN 'made ' || (answer - ARRAY['secret', 'secure', 'createdAt', 'seenAt', 'alias'])::text;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
	IF NOT EXISTS (SELECT FROM unleash_tokens.list_refusals() AS r
				   WHERE (r.sqlstate, r.message, r.hint) = (state, said, advice)) THEN
		said := said || ' (NOT IN list_refusals())';
	END IF;
	RETURN state || ' ' || said || ': ' || detail;
END
$$;

-- The same for one field of an otherwise good request, which is not kept.
CREATE FUNCTION pg_temp.try(field text, value jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.try(jsonb_build_object('type', 'client', 'tokenName', 'n')
					   || jsonb_build_object(field, value))
$$;

--
-- A refusal as a client of SQL sees it
--
SELECT unleash_tokens.create_api_token('{"type": "root", "tokenName": "n"}');
SELECT unleash_tokens.create_api_token('{"type": "client"}');

--
-- The body
--
SELECT pg_temp.try(body) FROM (VALUES
	(1, NULL::jsonb), (2, 'null'), (3, '5'), (4, '"client"'), (5, 'true'), (6, '[]'),
	(7, '[{"type": "client", "tokenName": "n"}]'), (8, '{}')) AS v (i, body)
ORDER BY i;

--
-- type
--
SELECT pg_temp.try('type', value) FROM unnest(ARRAY[
	'"root"', '""', '" client"', '"client "', '"clients"', '"CLIENT\u017f"', '"\u0131"', 'null', '1', 'true',
	'["client"]', '{}']::jsonb[]) WITH ORDINALITY AS v (value, i)
ORDER BY i;

-- Any case, stored and shown in lower case; backend is kept as such.
SELECT pg_temp.try('type', value) FROM unnest(ARRAY[
	'"client"', '"Backend"', '"FRONTEND"', '"aDmIn"']::jsonb[]) WITH ORDINALITY AS v (value, i)
ORDER BY i;
SELECT DISTINCT type FROM unleash_tokens.api_token ORDER BY type;

--
-- tokenName
--
SELECT pg_temp.try('tokenName', value) FROM unnest(ARRAY[
	'""', 'null', '1', 'false', '["n"]', '{"n": 1}',
	'"a\u0001"', '"\tn"', '"n\n"', '"\u001f"', '"\u007f"', '"n\u0080"', '"\u009f"']::jsonb[])
	WITH ORDINALITY AS v (value, i)
ORDER BY i;

-- Not trimmed, and any other character goes, also those of four bytes.
SELECT pg_temp.try('tokenName', value) FROM unnest(ARRAY[
	'" n "', '" "', '"\u00a0"', '"\u00e9\ud83d\ude00"', '"<b>\"x\"</b> ''; --"', '"\ufeff\u2028"', '"*"',
	'"%s%n"']::jsonb[])
	WITH ORDINALITY AS v (value, i)
ORDER BY i;

-- 1 to 1,000 characters, not bytes; a name is cut where a character ends.
SELECT length(pg_temp.try('tokenName', to_jsonb(repeat(c, 1000)))) > 1000 AS made
FROM unnest(ARRAY['n', U&'\00E9', U&'\+01F600']) AS c;
SELECT pg_temp.try('tokenName', to_jsonb(repeat(c, 1001)))
FROM unnest(ARRAY['n', U&'\00E9', U&'n\+01F600']) AS c;

-- Not unique.
SELECT count(*), count(DISTINCT selector) FROM unleash_tokens.api_token WHERE token_name = 'n';

--
-- environment
--
SELECT pg_temp.try('environment', value) FROM unnest(ARRAY[
	'""', 'null', '1', '["development"]', '{}', '"nope"', '"Development"', '" development"', '"*"',
	'"%s"']::jsonb[])
	WITH ORDINALITY AS v (value, i)
ORDER BY i;
SELECT pg_temp.try('environment', value) FROM unnest(ARRAY[
	'"development"', '"production"', '"off"', '"e:f"']::jsonb[]) WITH ORDINALITY AS v (value, i)
ORDER BY i;

--
-- project and projects
--
SELECT pg_temp.try('project', value) FROM unnest(ARRAY[
	'""', 'null', '1', '["a"]', '{}', '"nope"', '"[]"', '"a,b"', '"default "']::jsonb[])
	WITH ORDINALITY AS v (value, i)
ORDER BY i;
SELECT pg_temp.try('project', value) FROM unnest(ARRAY[
	'"default"', '"*"', '"x:y.z"', '" a "', '"A"']::jsonb[]) WITH ORDINALITY AS v (value, i)
ORDER BY i;
SELECT pg_temp.try('projects', value) FROM unnest(ARRAY[
	'[]', 'null', '"a"', '{"a": 1}', '{}', '1', '[1]', '["a", null]', '["a", ["b"]]', '[""]', '["a", "nope"]',
	'["zzz", "a", "nope"]', '["*", 1]', '["[]"]']::jsonb[])
	WITH ORDINALITY AS v (value, i)
ORDER BY i;

-- Order is kept, duplicates are folded, * among others is all.
SELECT pg_temp.try('projects', value) FROM unnest(ARRAY[
	'["a"]', '["c", "a", "b"]', '["b", "b", "a", "b"]', '["a", "a"]', '["*"]', '["a", "*"]', '["*", "*"]',
	'["*", "nope"]', '["a", "A", " a "]']::jsonb[])
	WITH ORDINALITY AS v (value, i)
ORDER BY i;

-- Never both, not even when they agree or one is null.
SELECT pg_temp.try(body || '{"type": "client", "tokenName": "n"}') FROM unnest(ARRAY[
	'{"project": "a", "projects": ["a"]}', '{"project": null, "projects": ["a"]}',
	'{"project": "a", "projects": null}']::jsonb[])
	WITH ORDINALITY AS v (body, i)
ORDER BY i;

-- At most 1,000, counted as sent.
INSERT INTO unleash_tokens.project (id) SELECT 'p' || i FROM generate_series(1, 1001) AS i;
SELECT jsonb_array_length(substr(pg_temp.try('projects', list), 6)::jsonb -> 'projects') AS made
FROM (SELECT jsonb_agg('p' || i ORDER BY i) FROM generate_series(1, 1000) AS i) AS v (list);
SELECT pg_temp.try('projects', list)
FROM (SELECT jsonb_agg('p' || i ORDER BY i) FROM generate_series(1, 1001) AS i
	  UNION ALL SELECT jsonb_agg('a'::text) FROM generate_series(1, 1001)) AS v (list);

--
-- Admin tokens are * in both scopes, said or not
--
SELECT pg_temp.try(body || '{"type": "admin", "tokenName": "n"}') FROM unnest(ARRAY[
	'{}', '{"environment": "*"}', '{"project": "*"}', '{"projects": ["*"], "environment": "*"}',
	'{"projects": ["a", "*"]}', '{"environment": "development"}', '{"environment": "nope"}', '{"project": "a"}',
	'{"projects": ["nope"]}', '{"environment": "development", "projects": ["a"]}']::jsonb[])
	WITH ORDINALITY AS v (body, i)
ORDER BY i;

--
-- expiresAt: what is shown for what was sent, '-' = refused.  The answer does
-- not depend on the session's time zone or style of dates.
--
SET LOCAL timezone = 'Asia/Kolkata';
SET LOCAL datestyle = 'German';
SELECT rpad(v.sent, 36), coalesce(substring(pg_temp.try('expiresAt', to_jsonb(v.sent)) FROM '"expiresAt": "([^"]*)"'), '-')
FROM unnest(ARRAY[
	'2031-05-06T07:08:09Z', '2031-05-06T07:08:09.1Z', '2031-05-06T07:08:09.1239Z', '2031-05-06T07:08:09.123456789Z',
	'2031-05-06t07:08:09z', '2031-05-06 07:08:09', '2031-05-06T07:08:09', '2031-05-06T07:08:09+02:00',
	'2031-05-06T07:08:09-0530', '2031-05-06T00:00:00+23:59', '1970-01-01T00:00:00Z', '1969-12-31T23:59:59.999Z',
	'2024-02-29T00:00:00Z', '2023-02-29T00:00:00Z', '2000-02-29T00:00:00Z', '1900-02-29T00:00:00Z',
	'0000-01-01T00:00:00Z', '0000-01-01T00:00:00+00:01', '9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59-00:01',
	'10000-01-01T00:00:00Z', '-0001-01-01T00:00:00Z', '2031-05-06', '2031-05-06T07:08Z', '2031-05-06T24:00:00Z',
	'2031-05-06T23:59:60Z', '2031-05-06T07:60:00Z', '2031-13-01T00:00:00Z', '2031-00-01T00:00:00Z',
	'2031-04-31T00:00:00Z', '2031-05-06T07:08:09.Z', '2031-05-06T07:08:09 Z', ' 2031-05-06T07:08:09Z',
	'2031-05-06T07:08:09Z ', '2031-05-06T07:08:09+24:00', '2031-05-06T07:08:09+00:60', '20310506T070809Z',
	'2031-5-6T07:08:09Z', 'tomorrow', 'infinity', '-infinity', 'now', '']) WITH ORDINALITY AS v (sent, i)
ORDER BY i;
RESET timezone;
RESET datestyle;
SELECT pg_temp.try('expiresAt', value) FROM unnest(ARRAY[
	'"tomorrow"', '""', '1', 'false', '[]', '{}', 'null']::jsonb[]) WITH ORDINALITY AS v (value, i)
ORDER BY i;

-- A token can be born expired.
SELECT unleash_tokens.validate_api_token(unleash_tokens.create_api_token(
	'{"type": "client", "tokenName": "n", "expiresAt": "2001-01-01T00:00:00Z"}') ->> 'secret') AS validated;

--
-- What a caller cannot choose, and what is not known, is ignored.
--
SELECT pg_temp.try('{"type": "client", "tokenName": "n", "secret": "x", "selector": "x", "createdAt": "2001-01-01T00:00:00Z",
	"seenAt": "2001-01-01T00:00:00Z", "alias": "x", "createdBy": "x", "author": "x", "secure": false, "username": "x",
	"unknown": [{}], "": 1}');
SELECT count(*) AS chosen FROM unleash_tokens.api_token
WHERE seen_at IS NOT NULL OR alias IS NOT NULL OR created_by <> current_user OR created_at < now() - interval '1 hour';

--
-- The order of the checks: each body has all faults from its own on.
--
INSERT INTO unleash_tokens.environment (name) VALUES ('full');
SELECT set_config('unleash_tokens.max_tokens', '1', true);
SELECT pg_temp.try(body) FROM unnest(ARRAY[
	'{"type": 1, "tokenName": 1, "environment": 1, "projects": 1, "expiresAt": 1}',
	'{"type": "root", "tokenName": 1, "environment": 1, "projects": 1, "expiresAt": 1}',
	'{"type": "admin", "tokenName": 1, "environment": 1, "projects": 1, "expiresAt": 1}',
	'{"type": "admin", "tokenName": "", "environment": 1, "projects": 1, "expiresAt": 1}',
	'{"type": "admin", "tokenName": "n", "environment": 1, "projects": 1, "expiresAt": 1}',
	'{"type": "admin", "tokenName": "n", "environment": "", "projects": 1, "expiresAt": 1}',
	'{"type": "admin", "tokenName": "n", "environment": "nope", "projects": 1, "expiresAt": 1}',
	'{"type": "admin", "tokenName": "n", "environment": "nope", "projects": [], "expiresAt": 1}',
	'{"type": "admin", "tokenName": "n", "environment": "nope", "projects": ["nope"], "expiresAt": 1}',
	'{"type": "admin", "tokenName": "n", "environment": "nope", "projects": ["nope"], "expiresAt": null}',
	'{"type": "admin", "tokenName": "n", "environment": "*", "projects": ["nope"]}',
	'{"type": "client", "tokenName": "n", "environment": "*", "projects": ["nope"]}',
	'{"type": "client", "tokenName": "n", "environment": "nope", "projects": ["nope"]}',
	'{"type": "client", "tokenName": "n", "environment": "full", "projects": ["nope"]}',
	'{"type": "client", "tokenName": "n", "environment": "full", "projects": ["a"]}']::jsonb[])
	WITH ORDINALITY AS v (body, i)
ORDER BY i;
SELECT set_config('unleash_tokens.max_tokens', '0', true);
SELECT pg_temp.try('{"type": "client", "tokenName": "n", "environment": "full", "projects": ["nope"]}');
SELECT pg_temp.try('{"type": "client", "tokenName": "n", "environment": "full", "projects": ["a"]}');

--
-- What was sent is shown cut, and never more of a secret than its public part.
--
SELECT pg_temp.try('type', to_jsonb(repeat(U&'x\00E9', 500)));
SELECT pg_temp.try('expiresAt', to_jsonb(repeat('9', 500)));
SELECT pg_temp.try('environment', ('1' || repeat('0', 500))::jsonb);
CREATE TEMP TABLE sample ON COMMIT DROP AS
	SELECT secret, split_part(secret, '_', 3) AS key
	FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}') AS a (answer),
		LATERAL (SELECT answer ->> 'secret') AS s (secret);
SELECT kind, count(*) FILTER (WHERE position(right(text, 20) IN said) > 0 OR position(part IN said) > 0) AS leaks,
	count(*) FILTER (WHERE said ~ 'v2_[0-9A-Za-z]{22}\*\*\*') AS masked, count(*) FILTER (WHERE said ~ 'a mistyped secret') AS mistyped
FROM sample,
	LATERAL (VALUES
		(1, 'made here', secret, key),
		(2, 'mistyped', overlay(secret PLACING CASE right(secret, 1) WHEN '0' THEN '1' ELSE '0' END FROM length(secret)), left(key, 20)),
		(7, 'with a blank', secret || ' ', left(key, 20)),
		(8, 'in quotes', '"' || secret || '"', left(key, 20)),
		(9, 'cut short', left(secret, -1), left(key, 20)),
		(10, 'with its header', 'Authorization: Bearer ' || secret || E'\n', left(key, 20)),
		(11, 'its key alone', key, left(key, 20)),
		(12, 'without its scope', right(secret, 69), left(key, 20)),
		(13, 'two of v1', '*:a.' || encode(sha256(secret::bytea), 'hex') || ',*:a.' || encode(sha256(key::bytea), 'hex'), left(encode(sha256(secret::bytea), 'hex'), 20)),
		(14, 'v1 before v2', '*:a.' || encode(sha256(secret::bytea), 'hex') || ' *:a.v2_' || repeat('A', 22) || '_' || key, left(encode(sha256(secret::bytea), 'hex'), 20)),
		(3, 'v2 of Unleash', 'default:development.v2_' || repeat('A', 22) || '_' || key, left(key, 20)),
		(4, 'v1 of Unleash', 'default:development.' || encode(sha256(secret::bytea), 'hex'), left(encode(sha256(secret::bytea), 'hex'), 20)),
		(5, 'v1 of Unleash', '*:*.' || encode(sha256(secret::bytea), 'hex'), left(encode(sha256(secret::bytea), 'hex'), 20)),
		(6, 'v1 of Unleash', '[]:production.' || encode(sha256(secret::bytea), 'hex'), left(encode(sha256(secret::bytea), 'hex'), 20)))
		AS v (i, kind, text, part),
	unnest(ARRAY['type', 'environment', 'project', 'projects', 'expiresAt']) AS field,
	LATERAL pg_temp.try(field, CASE field WHEN 'projects' THEN jsonb_build_array(text) ELSE to_jsonb(text) END) AS t (said)
GROUP BY i, kind ORDER BY i;

-- An id of another kind is shown.
SELECT pg_temp.try('project', to_jsonb('0c8a3d52-9d0e-4d5b-8a34-6a1f0c2b7e91'::text));

--
-- What a good answer holds
--
CREATE TEMP TABLE made ON COMMIT DROP AS
	SELECT i, unleash_tokens.create_api_token(body) AS answer
	FROM unnest(ARRAY[
		'{"type": "client", "tokenName": "m1"}',
		'{"type": "backend", "tokenName": "m2", "project": "a", "environment": "production"}',
		'{"type": "frontend", "tokenName": "m3", "projects": ["b", "a"], "expiresAt": "2100-01-01T00:00:00.5Z"}',
		'{"type": "admin", "tokenName": "m4"}',
		'{"type": "client", "tokenName": "m5", "project": "x:y.z", "environment": "e:f"}']::jsonb[])
		WITH ORDINALITY AS v (body, i);
SELECT i, string_agg(key, ' ' ORDER BY key) FROM made, jsonb_object_keys(answer) AS key GROUP BY i ORDER BY i;

-- The secret: scope, environment, and Unleash's own pattern for the rest; base62, with the marker.
SELECT i, substring(answer ->> 'secret' FROM '^(.*)\.v2_utok[0-9A-Za-z]{18}_[0-9A-Za-z]{43}$') AS prefix,
	answer ->> 'secret' ~ '\.v2_([A-Za-z0-9_-]{22})_([A-Za-z0-9_-]{43})$' AS of_unleash
FROM made ORDER BY i;

-- The row: selector, the digest of the whole secret and nothing of its key.
SELECT i, t.selector = split_part(answer ->> 'secret', '_', 2) AS selector,
	t.verifier = :digest(convert_to(answer ->> 'secret', 'UTF8'), 'sha256') AS verifier,
	to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') = answer ->> 'createdAt' AS created,
	t.created_at = date_trunc('milliseconds', t.created_at) AND abs(extract(epoch FROM clock_timestamp() - t.created_at)) < 600 AS now,
	position(split_part(answer ->> 'secret', '_', 3) IN t::text) = 0 AS hidden,
	t.type, t.environment, t.all_projects, t.by_verifier, t.seen_at, t.alias, t.created_by = current_user AS by_me,
	t.expires_at AT TIME ZONE 'UTC' AS expires, (SELECT array_agg(p.project ORDER BY p.ord) FROM unleash_tokens.api_token_project p
		WHERE p.selector = t.selector) AS projects
FROM made JOIN unleash_tokens.api_token t ON t.token_name = 'm' || i
ORDER BY i;
ROLLBACK;

--
-- Nothing is stored of what is refused: no row, not even one that was taken back,
-- and no event's number is used up.
--
BEGIN;
CREATE VIEW pg_temp.work AS
	SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS rows, (SELECT last_value FROM unleash_tokens.api_token_event_id_seq) AS event
	FROM pg_stat_xact_user_tables WHERE schemaname = 'unleash_tokens';
CREATE TEMP TABLE before ON COMMIT DROP AS TABLE pg_temp.work;
DO $$
DECLARE
	body jsonb;
BEGIN
	FOREACH body IN ARRAY ARRAY['{}', '{"type": "root", "tokenName": "n"}', '{"type": "client", "tokenName": ""}',
		'{"type": "client", "tokenName": "n", "environment": "nope"}', '{"type": "client", "tokenName": "n", "project": "nope"}',
		'{"type": "client", "tokenName": "n", "projects": ["default", "nope"]}', '{"type": "admin", "tokenName": "n", "project": "nope"}']::jsonb[]
	LOOP
		BEGIN
			PERFORM unleash_tokens.create_api_token(body);
			RAISE WARNING 'not refused: %', body;
		EXCEPTION WHEN invalid_parameter_value THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT count(*) AS changes FROM pg_temp.work NATURAL FULL JOIN before
WHERE work IS NULL OR before IS NULL;
ROLLBACK;

--
-- In a transaction that may not write, nothing is made.
--
BEGIN READ ONLY;
\set VERBOSITY sqlstate
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}');
ROLLBACK;

--
-- Called by PostgREST as /rpc/create_api_token it says 201 and where the token
-- is, for this transaction only; called by anyone else it says nothing.
--
BEGIN;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}') IS NOT NULL,
	coalesce(current_setting('response.status', true), '') = '' AS silent;
SELECT set_config('request.path', '/rpc/create_api_token', true);
SELECT regexp_replace(unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}') ->> 'secret', '.*v2_(.*)_.*', '\1') AS selector \gset
SELECT current_setting('response.status'), replace(current_setting('response.headers'), :'selector', '(the selector)');
ROLLBACK;
SELECT current_setting('response.status', true) = '' AS forgotten;
