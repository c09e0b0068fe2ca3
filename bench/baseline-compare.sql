--
-- The extension and the plain way, asked the same at random: from a fixed seed,
-- but for the secrets.  Prints a line "ok - " or "not ok - " for each comparison, and examples of
-- what differs.  Run by t/baseline/run.
--
\set QUIET on
SET client_min_messages = warning;
BEGIN;
SELECT FROM setseed(0.20261123);
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'), (U&'stra\00DFe'), ('x:y.z_v2');
INSERT INTO unleash_tokens.environment (name, enabled) VALUES ('off', false), (U&'e:f.\+01F600', true);

-- What an implementation says to a request, without what is never the same,
-- and what it stored.  Nothing is kept.
CREATE FUNCTION pg_temp.ask(schema text, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	answer jsonb;
	stored jsonb;
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE format('SELECT %I.create_api_token($1)', schema) INTO answer USING body;
	SELECT jsonb_build_object('answer', answer - 'secret' - 'createdAt', 'prefix', substring(answer ->> 'secret' FROM '^(.*)\.v2_utok[0-9A-Za-z]{18}_[0-9A-Za-z]{43}$'),
		'time', (SELECT sum((strpos('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', substr(t.selector, 4 + i, 1)) - 1) * 62::numeric ^ (7 - i))
			FROM generate_series(1, 7) AS i) = extract(epoch FROM t.created_at) * 1000,
		'token', to_jsonb(t) - 'selector' - 'verifier' - 'created_at',
		'verifier', t.verifier = sha256(convert_to(answer ->> 'secret', 'UTF8')), 'created_at', date_trunc('milliseconds', t.created_at) = t.created_at,
		'projects', (SELECT jsonb_agg(to_jsonb(p) - 'selector' ORDER BY p.ord) FROM unleash_tokens.api_token_project AS p WHERE p.selector = t.selector),
		'event', (SELECT jsonb_agg(to_jsonb(e) - 'id' - 'at' - 'selector' #- '{data,createdAt}') FROM unleash_tokens.api_token_event AS e
			WHERE e.selector = t.selector AND e.data ->> 'createdAt' = answer ->> 'createdAt'),
		'shows', to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') = answer ->> 'createdAt')
	INTO stored FROM unleash_tokens.api_token AS t WHERE t.selector = substring(answer ->> 'secret' FROM '\.v2_(.{22})_.{43}$');
	RAISE EXCEPTION USING ERRCODE = 'UT000', MESSAGE = stored;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	IF state = 'UT000' THEN
		RETURN message;
	END IF;
	RETURN jsonb_build_object('state', state, 'message', message, 'detail', detail, 'hint', hint);
END
$$;

CREATE FUNCTION pg_temp.report(what text, good boolean) RETURNS text LANGUAGE sql
RETURN CASE WHEN good THEN 'ok - ' ELSE 'not ok - ' END || what;

-- One of them at random.
CREATE FUNCTION pg_temp.one(list text[]) RETURNS text LANGUAGE sql VOLATILE
RETURN list[1 + floor(random() * cardinality(list))::int];

--
-- Create
--

-- Values for each field; a field with none is left out.  Good ones come more
-- often, so that later checks are reached.
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "kept", "project": "a"}') ->> 'secret' AS secret \gset
CREATE TEMP TABLE choice AS
	SELECT field, value::jsonb, good FROM (VALUES
		('type', '"client"', true), ('type', '"ADMIN"', true), ('type', '"frontEnd"', true), ('type', '"backend"', true), ('type', '"root"', false),
		('type', '5', false), ('type', '""', false), ('type', 'null', false), ('type', NULL, false),
		('tokenName', '"n"', true), ('tokenName', '"<\"\u00e9\ud83d\ude00> "', true), ('tokenName', '""', false), ('tokenName', '["n"]', false),
		('tokenName', '"a\u0085b"', false), ('tokenName', to_json(repeat(U&'\00E9', 1000))::text, true), ('tokenName', to_json(repeat(U&'\00E9', 1001))::text, false),
		('tokenName', NULL, false), ('tokenName', '"a\u007f\u0001"', false),
		('environment', NULL, true), ('environment', '"production"', true), ('environment', '"off"', true), ('environment', '"e:f.\ud83d\ude00"', true),
		('environment', '"*"', false), ('environment', '"nope"', false), ('environment', '""', false), ('environment', '1e100', false),
		('environment', '[]', false), ('environment', '"Production"', false), ('environment', 'null', false),
		('project', NULL, true), ('project', NULL, true), ('project', NULL, true), ('project', '"a"', true), ('project', '"stra\u00dfe"', true),
		('project', '"*"', true), ('project', '"nope"', false), ('project', 'null', false), ('project', '""', false), ('project', to_json(:'secret'::text)::text, false),
		('projects', NULL, true), ('projects', NULL, true), ('projects', '["a"]', true), ('projects', '["b", "a", "b"]', true), ('projects', '["x:y.z_v2"]', true),
		('projects', '["nope", "a", "*"]', true), ('projects', '[]', false), ('projects', '["a", 1]', false), ('projects', '["a", "zzz", "nope"]', false),
		('projects', '"a"', false), ('projects', '["a", null]', false), ('projects', '[["a"]]', false),
		('expiresAt', NULL, true), ('expiresAt', 'null', true), ('expiresAt', '"2031-05-06 07:08:09.98765+0530"', true), ('expiresAt', '"2031-05-06"', false),
		('expiresAt', 'false', false), ('expiresAt', '1', false), ('expiresAt', '"0000-02-29t23:59:59.9999z"', true))
		AS v (field, value, good);
CREATE FUNCTION pg_temp.request() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(jsonb_object_agg(field, value) FILTER (WHERE value IS NOT NULL), '{}')
	FROM (SELECT DISTINCT ON (field) field, value FROM choice ORDER BY field, random() * CASE WHEN good THEN 1 ELSE 12 END) AS c
$$;
CREATE TEMP TABLE request AS SELECT pg_temp.request() AS body FROM generate_series(1, 3000)
	UNION ALL SELECT body FROM unnest(ARRAY[NULL, '[]', '5', 'null', '{}']::jsonb[]) AS body;

-- Date-times: good ones with one character changed now and then.
INSERT INTO request
	SELECT jsonb_build_object('type', 'client', 'tokenName', 'n', 'expiresAt',
		CASE WHEN random() < 0.5 THEN sent ELSE overlay(sent PLACING substr('0123456789-+:.TtZz ', 1 + floor(random() * 19)::int, 1) FROM 1 + floor(random() * length(sent))::int FOR floor(random() * 2)::int) END)
	FROM (SELECT lpad(floor(random() * CASE WHEN random() < 0.2 THEN 5 ELSE 10000 END)::text, 4, '0') || '-' || lpad((1 + floor(random() * 12.2))::text, 2, '0') || '-'
			|| lpad((1 + floor(random() * 30.9))::text, 2, '0') || pg_temp.one(ARRAY['T', 't', ' ']) || lpad(floor(random() * 24.2)::text, 2, '0') || ':'
			|| lpad(floor(random() * 60.2)::text, 2, '0') || ':' || lpad(floor(random() * 60.2)::text, 2, '0')
			|| pg_temp.one(ARRAY['', '.' || floor(random() * 1000000)::text, '.0', '.999999'])
			|| pg_temp.one(ARRAY['', 'Z', '+00:00', '-23:59', '+1130', '+23:59', '-0000']) AS sent
		  FROM generate_series(1, 3000)) AS s;

-- Texts that are shown again: cut, or with a secret in them.
INSERT INTO request
	SELECT jsonb_build_object('type', 'client', 'tokenName', 'n') || jsonb_build_object(pg_temp.one(ARRAY['type', 'environment', 'project', 'expiresAt', 'projects']),
		CASE WHEN random() < 0.1 THEN jsonb_build_array(text) ELSE to_jsonb(text) END)
	FROM (SELECT CASE floor(random() * 4)
			WHEN 0 THEN repeat(pg_temp.one(ARRAY['x', U&'\00E9', U&'a\+01F600', '"']), floor(random() * 80)::int)
			WHEN 1 THEN overlay(:'secret' PLACING pg_temp.one(ARRAY['', '.', '_', '-', 'z', ' ', 'zz', U&'\00E9']) FROM 1 + floor(random() * length(:'secret'))::int FOR 1)
			WHEN 2 THEN pg_temp.one(ARRAY['', 'Bearer ', repeat('x', 70)]) || :'secret' || pg_temp.one(ARRAY['', ' ', '.', repeat('y', 5000)])
			ELSE 'a:b.' || repeat(pg_temp.one(ARRAY['f', '.', '0-']), floor(random() * 40)::int) || pg_temp.one(ARRAY['', '.v2_' || repeat('A', 22) || '_' || repeat('k', 43)])
			END AS text FROM generate_series(1, 2000)) AS s;

CREATE TEMP TABLE said AS
	SELECT body, pg_temp.ask('unleash_tokens', body) AS extension, pg_temp.ask('baseline', body) AS plain FROM request;
SELECT pg_temp.report(format('%s requests, %s of them good and %s refusals that differ in words: the same answer, refusal, row and event',
	count(*), count(*) FILTER (WHERE extension ? 'answer'), count(DISTINCT extension - 'answer') FILTER (WHERE NOT extension ? 'answer')),
	count(*) FILTER (WHERE extension IS DISTINCT FROM plain) = 0
	AND count(*) FILTER (WHERE extension ? 'answer') > 2000 AND count(DISTINCT extension ->> 'message') FILTER (WHERE NOT extension ? 'answer') = 14)
FROM said;
SELECT '    ' || left(body::text, 300) || E'\n        extension ' || left(extension::text, 600) || E'\n        plain     ' || left(plain::text, 600)
FROM said WHERE extension IS DISTINCT FROM plain LIMIT 5;

SET LOCAL unleash_tokens.max_tokens = 1;
SELECT pg_temp.report('at the limit: the same', count(*) FILTER (WHERE pg_temp.ask('unleash_tokens', body) IS DISTINCT FROM pg_temp.ask('baseline', body)) = 0)
FROM (SELECT body FROM request LIMIT 300) AS r;
SET LOCAL unleash_tokens.max_tokens = 0;

--
-- Validate
--
CREATE TEMP TABLE secret AS
	SELECT CASE WHEN i % 2 = 0 THEN unleash_tokens.create_api_token(body) ELSE baseline.create_api_token(body) END ->> 'secret' AS secret
	FROM unnest(ARRAY['{"type": "client"}', '{"type": "admin"}', '{"type": "backend", "project": "a"}', '{"type": "frontend", "projects": ["b", "a"]}',
		'{"type": "client", "project": "x:y.z_v2", "environment": "e:f.\ud83d\ude00"}', '{"type": "client", "expiresAt": "2001-01-01T00:00:00Z"}',
		'{"type": "client", "expiresAt": "2100-01-01T00:00:00.5Z"}']::jsonb[]) AS v (sent), generate_series(1, 40) AS i,
		LATERAL (SELECT sent || '{"tokenName": "v"}') AS b (body);
INSERT INTO secret SELECT v FROM (VALUES
		('default:development.v2_' || repeat('-_', 11) || '_' || repeat('k', 43)), ('a:development.' || repeat('0123456789abcdef', 4)), ('x'), ('y'),
		('a:development.v2_' || repeat('A', 22) || '_' || repeat('k', 43)), ('')) AS s (v);
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at)
	SELECT selector, sha256(secret::bytea), 'foreign', 'client', 'development', true, by_verifier, now()
	FROM (VALUES ('default:development.v2_' || repeat('-_', 11) || '_' || repeat('k', 43), repeat('-_', 11), false),
		('a:development.' || repeat('0123456789abcdef', 4), repeat('1', 22), true), ('x', repeat('2', 22), true), ('y', repeat('3', 22), false),
		('a:development.v2_' || repeat('A', 22) || '_' || repeat('k', 43), repeat('4', 22), true)) AS v (secret, selector, by_verifier);
SELECT FROM (SELECT set_config('session_replication_role', 'replica', true)) AS s;
DELETE FROM unleash_tokens.project WHERE id = 'b';
SELECT FROM (SELECT set_config('session_replication_role', 'origin', true)) AS s;
CREATE TEMP TABLE tried AS
	SELECT secret FROM secret
	UNION ALL
	SELECT overlay(secret PLACING pg_temp.one(ARRAY['', '.', '_', '-', 'z', '0', ' ', 'zz', U&'\00E9']) FROM 1 + floor(random() * length(secret))::int FOR floor(random() * 2)::int)
	FROM secret, generate_series(1, 20);
CREATE TEMP TABLE validated AS
	SELECT secret, unleash_tokens.validate_api_token(secret) AS extension, baseline.validate_api_token(secret) AS plain FROM tried;
SELECT pg_temp.report(format('%s secrets, %s of them good: the same', count(*), count(extension)),
	count(*) FILTER (WHERE extension IS DISTINCT FROM plain) = 0 AND count(extension) > 200) FROM validated;
SELECT '    ' || secret || E'\n        extension ' || coalesce(extension::text, '-') || E'\n        plain     ' || coalesce(plain::text, '-')
FROM validated WHERE extension IS DISTINCT FROM plain LIMIT 5;

CREATE TEMP TABLE many AS SELECT array_agg(secret) || NULL::text AS secrets FROM tried;
SELECT pg_temp.report(format('%s secrets in one call, %s of them good: the same', max(cardinality(secrets)), count(v)),
	count(v) > 200 AND count(v) = (SELECT count(*) FROM many, LATERAL baseline.validate_api_tokens(secrets))
	AND NOT EXISTS (SELECT v.* FROM many, LATERAL unleash_tokens.validate_api_tokens(secrets) AS v
		EXCEPT SELECT v.* FROM many, LATERAL baseline.validate_api_tokens(secrets) AS v))
FROM many, LATERAL unleash_tokens.validate_api_tokens(secrets) AS v;

--
-- Many at once, and the floors
--
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at)
	SELECT selector, verifier, secret, 'client', 'off', true, now() FROM baseline.make_secrets(1000, 'off');
SELECT pg_temp.report(format('%s secrets made by one statement are good', count(*)), count(*) = 1000 AND bool_and(unleash_tokens.validate_api_token(token_name) ->> 'environment' = 'off'))
FROM unleash_tokens.api_token WHERE environment = 'off' AND token_name LIKE '*:off.v2\_%';

SELECT max(id) AS last FROM unleash_tokens.api_token_event \gset
SELECT baseline.create_bulk(1000) AS made \gset
SELECT pg_temp.report(format('%s tokens made by one statement have the rows that create makes', :made), :made = 1000 AND count(*) = 1000 AND count(DISTINCT selector) = 1000 AND count(DISTINCT t.token_name) = 1000
	AND bool_and(to_jsonb(t) - 'selector' - 'verifier' - 'created_at' - 'token_name' = o.token - 'token_name'
		AND (to_jsonb(e) - 'id' - 'at' - 'selector' - 'token_name' #- '{data,createdAt}' #- '{data,tokenName}') = (o.event - 'token_name' #- '{data,tokenName}')
		AND e.token_name = t.token_name AND e.data ->> 'tokenName' = t.token_name))
FROM unleash_tokens.api_token AS t JOIN unleash_tokens.api_token_event AS e USING (selector),
	(SELECT a -> 'token', a -> 'event' -> 0 FROM pg_temp.ask('unleash_tokens', '{"type": "client", "tokenName": "n"}') AS a) AS o (token, event)
WHERE e.id > :last AND t.token_name LIKE 'bulk %';

SELECT selector AS bare, verifier AS bare_verifier FROM baseline.make_secrets(1) \gset
SELECT FROM (SELECT baseline.insert_bare(:'bare', :'bare_verifier', 'bare', '{}')) AS s;
SELECT pg_temp.report('the bare INSERTs make a token and an event, and the bare look-up finds it', count(*) = 1
	AND bool_and(to_jsonb(t) @> to_jsonb(f) AND to_jsonb(f) ?& ARRAY['selector', 'verifier', 'expires_at'] AND t.verifier = :'bare_verifier'))
FROM unleash_tokens.api_token AS t JOIN unleash_tokens.api_token_event AS e USING (selector), LATERAL baseline.find_by_key(t.selector) AS f WHERE t.selector = :'bare';
ROLLBACK;

--
-- Where the plain way sees an old snapshot it makes no token rather than too many.
--
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL unleash_tokens.max_tokens = 100;
DO $$
BEGIN
	PERFORM baseline.create_api_token('{"type": "client", "tokenName": "n"}');
	RAISE EXCEPTION 'made';
EXCEPTION WHEN feature_not_supported THEN
	NULL;
END
$$;
SELECT 'ok - under a limit the plain way makes tokens in READ COMMITTED only';
ROLLBACK;
