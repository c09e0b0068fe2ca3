--
-- The REST door, as PostgREST opens it: a request stands in settings and in the
-- bytes of a body, an answer in settings and bytes.  What nginx makes of all
-- this is tested in t/http.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\pset null '(null)'
\set VERBOSITY default
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), (U&'\00E9,%');
SELECT c ->> 'secret' AS admin, substring(c ->> 'secret' FROM '\.v2_(.{22})_.{43}$') AS admin_selector
FROM unleash_tokens.create_api_token('{"type": "admin", "tokenName": "boss"}') AS c \gset
SELECT c ->> 'secret' AS client
FROM unleash_tokens.create_api_token(U&'{"type": "backend", "tokenName": "l\00F6w", "projects": ["a", "\00E9,%"], "environment": "production"}') AS c \gset

-- Everything of an answer, without what differs from run to run.
CREATE FUNCTION pg_temp.ask(method text, target text, key text, sent text DEFAULT NULL, type text DEFAULT 'application/json',
	encoding text DEFAULT NULL, entry text DEFAULT 'rest_api', OUT status text, OUT headers text, OUT body text) LANGUAGE plpgsql AS $$
DECLARE
	bytes bytea;
BEGIN
	PERFORM set_config('response.status', '', true), set_config('response.headers', '', true);
	PERFORM set_config('request.headers', jsonb_strip_nulls(jsonb_build_object('x-original-method', method, 'x-original-uri', target, 'authorization', key,
		'x-original-content-type', type, 'x-original-content-encoding', encoding, 'other', 'kept'))::text, true);
	IF sent IS NULL THEN
		bytes := unleash_tokens.rest_api();
	ELSIF entry = 'rest_read' THEN
		bytes := unleash_tokens.rest_read(convert_to(sent, 'UTF8'));
	ELSE
		bytes := unleash_tokens.rest_api(convert_to(sent, 'UTF8'));
	END IF;
	status := current_setting('response.status');
	SELECT string_agg(k || ': ' || regexp_replace(v, '[-_0-9A-Za-z]{22}$', '<selector>'), E'\n') INTO headers
	FROM jsonb_array_elements(current_setting('response.headers')::jsonb) AS h, jsonb_each_text(h) AS e (k, v)
	WHERE (k, v) NOT IN (('Content-Type', 'application/json; charset=utf-8'), ('Cache-Control', 'no-store')) AND k <> 'X-Refusal';
	body := convert_from(bytes, 'UTF8');
	-- a refusal is repeated, in ASCII, so that the gateway knows it for ours
	IF (SELECT string_agg(v, '')::jsonb FROM jsonb_array_elements(current_setting('response.headers')::jsonb) AS h, jsonb_each_text(h) AS e (k, v)
			WHERE k = 'X-Refusal' AND v !~ '[^ -~]') IS DISTINCT FROM (CASE WHEN status >= '400' THEN body::jsonb END) THEN
		RAISE EXCEPTION 'the header X-Refusal is not the body';
	END IF;
	body := regexp_replace(body, '"id":"[-0-9a-f]{36}"', '"id":"<uuid>"');
	body := regexp_replace(body, 'utok[0-9A-Za-z]{18}_[0-9A-Za-z]{43}', '<secret>', 'g');
	body := regexp_replace(body, 'utok[0-9A-Za-z]{18}', '<selector>', 'g');
	body := regexp_replace(body, '"(createdAt|seenAt)":"[^"]*"', '"\1":"<time>"', 'g');
END
$$;
\x
-- Who asks comes first: no key, an unknown one, one that is not of an admin.
SELECT * FROM pg_temp.ask('GET', '/api/admin/api-tokens', NULL);
SELECT * FROM pg_temp.ask('GET', '/api/admin/api-tokens', '');
SELECT * FROM pg_temp.ask('GET', '/api/admin/api-tokens', 'nope');
SELECT * FROM pg_temp.ask('POST', '/nowhere', :'client', 'not JSON');
SELECT * FROM pg_temp.ask('POST', '/nowhere', :'admin', 'not JSON');
SELECT * FROM pg_temp.ask('PATCH', '/api/admin/api-tokens', :'admin', '');
SELECT * FROM pg_temp.ask('OPTIONS', '/api/admin/api-tokens/x', :'admin');
SELECT * FROM pg_temp.ask('OPTIONS', '/api/admin/api-tokens/x', NULL);
\x
-- Nothing of it but what is open may be had without an admin's key.
SELECT method, target, (pg_temp.ask(method, target, key, CASE WHEN method <> 'GET' THEN '{}' END)).status
FROM (VALUES ('GET', '/api/admin/api-tokens'), ('POST', '/api/admin/api-tokens'), ('GET', '/api/admin/api-tokens/x'),
		('PUT', '/api/admin/api-tokens/x'), ('DELETE', '/api/admin/api-tokens/x'), ('POST', '/edge/validate'), ('GET', '/auth'), ('GET', '/health')) AS r (method, target),
	(VALUES (NULL), ('nope'), (:'client')) AS k (key);

-- The key is taken out of the settings before anything else is done.
SELECT current_setting('request.headers')::jsonb - 'x-original-content-type' AS headers FROM pg_temp.ask('GET', '/health', :'admin');
SELECT current_setting('request.headers')::jsonb ? 'authorization' AS key_left FROM pg_temp.ask('GET', '/api/admin/api-tokens', :'admin');
SELECT current_setting('request.headers')::jsonb ? 'authorization' AS key_left FROM pg_temp.ask('GET', '/api/admin/api-tokens', 'nope');

\x
-- Made, shown, changed, deleted; by a token, which the events name.
SELECT * FROM pg_temp.ask('POST', '/api/admin/api-tokens', :'admin', '{"type": "client", "tokenName": "made", "projects": ["a"]}');
SELECT * FROM pg_temp.ask('GET', '/api/admin/api-tokens/made', :'admin');
SELECT * FROM pg_temp.ask('GET', '/api/admin/api-tokens/ma%64e/?x=y', :'admin');
SELECT * FROM pg_temp.ask('HEAD', '/api/admin/api-tokens/nobody', :'admin');
SELECT selector FROM unleash_tokens.api_token WHERE token_name = 'made' \gset
SELECT * FROM pg_temp.ask('PUT', '/api/admin/api-tokens/' || :'selector', :'admin', '{"expiresAt": "2001-01-01T00:00:00Z"}');
SELECT * FROM pg_temp.ask('DELETE', '/api/admin/api-tokens/' || :'selector', :'admin', '');
SELECT * FROM pg_temp.ask('DELETE', '/api/admin/api-tokens/nobody', :'admin', '');
\x
SELECT type, actor, actor_selector = :'admin_selector' AS by_the_caller FROM unleash_tokens.api_token_event WHERE token_name = 'made' ORDER BY id;

-- A body must be JSON, and be said to be.
SELECT v.type, v.encoding, left(v.body, 20) AS sent, a.status, a.body::jsonb ->> 'name' AS name, a.body::jsonb #>> '{details,0,path}' AS path
FROM (VALUES (NULL, NULL, '{}'), ('text/plain', NULL, '{}'), ('application/json; charset=latin1', NULL, '{}'), ('application/json', 'gzip', '{}'),
		('application/json', 'identity', '{}'), ('application/json', NULL, ''), ('application/json', NULL, '{'), ('application/json', NULL, '[]'),
		('application/json', NULL, '{"a": "\u0000"}'), ('application/json', NULL, '{"a": "\ud800"}'), ('application/json', NULL, '{"a": 1e999999}'),
		('application/json', NULL, repeat('[', 20000))) AS v (type, encoding, body),
	LATERAL pg_temp.ask('POST', '/api/admin/api-tokens', :'admin', v.body, v.type, v.encoding) AS a;
SELECT unleash_tokens.rest_api('\xff'::bytea) IS NOT NULL AS answered, current_setting('response.status') AS status
FROM set_config('request.headers', jsonb_build_object('x-original-method', 'POST', 'x-original-uri', '/api/admin/api-tokens', 'authorization', :'admin',
	'x-original-content-type', 'application/json')::text, true);

-- A path is decoded once, and only into text.
SELECT item, (pg_temp.ask('GET', '/api/admin/api-tokens/' || item, :'admin')).status
FROM unnest(ARRAY['%', '%z', '%00', '%ff', '%C3%A9', 'a/b', 'a%2Fb', '', '/']) AS item;

-- A refusal is repeated in a header, in ASCII whatever was sent.
SELECT h ->> 'X-Refusal' ~ '^[\x20-\x7e]+$' AS is_ascii, ((h ->> 'X-Refusal')::jsonb -> 'details' -> 0 ->> 'message') = (a.body::jsonb #>> '{details,0,message}') AS says_the_same,
	a.body::jsonb #>> '{details,0,message}' AS said
FROM pg_temp.ask('POST', '/api/admin/api-tokens', :'admin', U&'{"type": "\00E4\20AC\+01F600", "tokenName": "n"}') AS a, jsonb_array_elements(current_setting('response.headers')::jsonb) AS h WHERE h ? 'X-Refusal';

-- The entry that only reads does nothing else, whatever it is asked for.
SELECT method, target, a.status, a.body FROM (VALUES ('POST', '/api/admin/api-tokens', '{"type": "client", "tokenName": "no"}'),
	('PUT', '/api/admin/api-tokens/x', '{"expiresAt": null}'), ('DELETE', '/api/admin/api-tokens/x', ''), ('GET', '/api/admin/api-tokens', ''), ('GET', '/auth', '')) AS v (method, target, body),
	LATERAL pg_temp.ask(method, target, :'admin', v.body, entry => 'rest_read') AS a;
SELECT a.status, a.body::jsonb -> 'tokens' -> 0 ->> 'type' AS type, jsonb_array_length(a.body::jsonb -> 'tokens') AS valid
FROM pg_temp.ask('POST', '/edge/validate', NULL, jsonb_build_object('tokens', jsonb_build_array('nope', :'client', 5, :'admin'))::text, entry => 'rest_read') AS a;
SELECT a.status, a.body::jsonb #>> '{details,0,message}' AS said
FROM unnest(ARRAY['{}', '[]', '5', '{"tokens": "x"}', '{"tokens": [[]]}']) AS body,
	LATERAL pg_temp.ask('POST', '/edge/validate', NULL, body, entry => 'rest_read') AS a;
-- Of more than 5,000 the first 5,000 are answered: a refusal would keep revoked ones in an Edge.
SELECT place, a.status, a.body::jsonb -> 'tokens' -> 0 ->> 'type' AS type
FROM unnest(ARRAY[5000, 5001]) AS place, LATERAL (SELECT jsonb_build_object('tokens', jsonb_agg(CASE i WHEN place THEN :'client' ELSE 'x' END)) FROM generate_series(1, place) AS i) AS t (list),
	LATERAL pg_temp.ask('POST', '/edge/validate', NULL, list::text, entry => 'rest_read') AS a;

\x
-- What a token may do: what it says goes into headers, escaped.
SELECT * FROM pg_temp.ask('GET', '/auth', :'client');
SELECT * FROM pg_temp.ask('GET', '/auth', :'admin');
\x
SELECT query, (pg_temp.ask('GET', '/auth?' || query, :'client')).status
FROM unnest(ARRAY['', 'type=client', 'type=BACKEND', 'type=frontend', 'type=frontend,client', 'type=client,frontend', 'type=frontend,admin', 'type=client,', 'type=client&path=/x?type=admin&y=%zz', 'path=', 'type=admin', 'type=root', 'type=', 'project=a', 'project=%C3%A9%2C%25', 'project=default', 'project=*',
	'environment=production', 'environment=development', 'environment=*', 'type=client&project=a&environment=production', 'project=a&project=a', 'other=1', 'project',
	'project=%zz', 'environment=%ff', 'project=a#project=b']) AS query;
SELECT query, (pg_temp.ask('GET', '/auth?' || query, :'admin')).status
FROM unnest(ARRAY['type=admin', 'type=client', 'project=default&environment=production', 'project=nope', 'project=*', 'environment=nope', 'environment=*']) AS query;

-- A gateway that appends the client's path is told how.
SELECT path, a.status, a.body FROM unnest(ARRAY['/auth/', '/auth/orders/1', '/auth/x?type=client', '/auth?path=/orders/1']) AS path, LATERAL pg_temp.ask('GET', path, :'client') AS a;
SELECT method, (pg_temp.ask(method, '/auth', key)).status FROM unnest(ARRAY['GET', 'HEAD', 'POST', 'OPTIONS', 'ANY']) AS method, (VALUES (:'client'), (NULL)) AS k (key);

-- An admin token that is bound to projects manages the tokens whose projects are all its own; the rest is not there for it.
INSERT INTO unleash_tokens.project (id) VALUES ('b'), ('c');
CREATE FUNCTION pg_temp.make(type text, name text, projects text[], OUT secret text, OUT selector text) LANGUAGE sql AS $$
	SELECT c ->> 'secret', substring(c ->> 'secret' FROM '\.v2_(.{22})_.{43}$')
	FROM unleash_tokens.create_api_token(jsonb_build_object('type', type, 'tokenName', name, 'projects', projects)) AS c
$$;
SELECT secret AS scoped, selector AS scoped_selector FROM pg_temp.make('admin', 'of a and b', '{a,b}') \gset
SELECT left(:'scoped', 10) AS prefix, a.status, a.headers FROM pg_temp.ask('GET', '/auth', :'scoped') AS a;
CREATE TEMP TABLE made AS SELECT name, m.* FROM (VALUES ('a', 'client', '{a}'::text[]), ('ab', 'client', '{a,b}'), ('c', 'client', '{c}'), ('ac', 'client', '{a,c}'),
	('all', 'client', '{*}'), ('admin a', 'admin', '{a}'), ('admin c', 'admin', '{c}'), ('admin all', 'admin', '{*}')) AS t (name, type, projects), LATERAL pg_temp.make(type, name, projects) AS m;
SELECT target, a.status, (SELECT string_agg(t ->> 'tokenName', ', ' ORDER BY t ->> 'tokenName' COLLATE "C") FROM jsonb_array_elements(a.body::jsonb -> 'tokens') AS t) AS listed
FROM unnest(ARRAY['', '/a', '/ac', '/c', '/all', '/nobody']) AS target, LATERAL pg_temp.ask('GET', '/api/admin/api-tokens' || target, :'scoped') AS a;
SELECT name, (pg_temp.ask('GET', '/api/admin/api-tokens/' || selector, :'scoped')).body::jsonb #>> '{tokens,0,tokenName}' AS by_selector FROM made;
-- What it makes reaches no further than itself, and what is of others sounds as what is not there.
SELECT sent, a.status, coalesce(a.body::jsonb #>> '{details,0,message}', a.body::jsonb ->> 'projects') AS said
FROM unnest(ARRAY['"type": "client", "projects": ["a"]', '"type": "admin", "projects": ["b", "a"]', '"type": "client"', '"type": "admin"', '"type": "client", "projects": ["*"]', '"type": "client", "project": "c"',
	'"type": "client", "projects": ["a", "c"]', '"type": "client", "projects": ["a", "nope"]', '"type": "client", "project": "c", "environment": "nope"', '"type": "client", "project": "a", "environment": "nope"']) AS sent,
	LATERAL pg_temp.ask('POST', '/api/admin/api-tokens', :'scoped', '{"tokenName": "by scoped", ' || sent || '}') AS a;
-- It changes and deletes its own alone; for the rest nothing happens, as for what is not there.
SELECT DISTINCT (pg_temp.ask('PUT', '/api/admin/api-tokens/' || part, :'scoped', '{"expiresAt": "2090-01-01T00:00:00Z"}')).* FROM made, LATERAL (VALUES (selector), (secret)) AS p (part);
SELECT m.name FROM made AS m JOIN unleash_tokens.api_token USING (selector) WHERE expires_at IS NOT NULL ORDER BY 1;
SELECT DISTINCT (pg_temp.ask('DELETE', '/api/admin/api-tokens/' || part, :'scoped', '')).* FROM (SELECT name, selector AS part FROM made UNION ALL SELECT name, secret FROM made UNION ALL VALUES ('', 'none')) AS p WHERE name <> 'a';
SELECT m.name FROM made AS m JOIN unleash_tokens.api_token USING (selector) ORDER BY 1;
-- A project that is removed, and made again, is not its own any more.
DELETE FROM unleash_tokens.project WHERE id = 'b';
INSERT INTO unleash_tokens.project (id) VALUES ('b');
SELECT (pg_temp.ask('POST', '/api/admin/api-tokens', :'scoped', '{"tokenName": "n", "type": "client", "project": "b"}')).status;
SELECT count(*) AS events FROM unleash_tokens.api_token_event WHERE actor_selector = :'scoped_selector' AND token_name IN ('c', 'ac', 'all', 'admin c', 'admin all');

-- The tokens of a project.
SELECT who, target, a.status, coalesce((SELECT string_agg(t ->> 'tokenName', ', ' ORDER BY t ->> 'tokenName' COLLATE "C") FROM jsonb_array_elements(a.body::jsonb -> 'tokens') AS t), a.body::jsonb #>> '{details,0,message}') AS said
FROM (VALUES ('admin', :'admin'), ('scoped', :'scoped'), ('client', :'client')) AS k (who, key), unnest(ARRAY['a', 'c', 'nope', '*', '%C3%A9,%25']) AS target,
	LATERAL pg_temp.ask('GET', '/api/admin/projects/' || target || '/api-tokens', key) AS a;
\x
SELECT * FROM pg_temp.ask('POST', '/api/admin/projects/c/api-tokens', :'admin', '{"type": "frontend", "tokenName": "below c", "projects": ["a"], "project": 5}');
SELECT * FROM pg_temp.ask('POST', '/api/admin/projects/c/api-tokens', :'admin', '{"type": "admin", "tokenName": "below c"}');
SELECT * FROM pg_temp.ask('PUT', '/api/admin/projects/c/api-tokens', :'admin', '{}');
SELECT * FROM pg_temp.ask('PUT', '/api/admin/projects/c/api-tokens/x', :'admin', '{}');
SELECT * FROM pg_temp.ask('GET', '/api/admin/projects/%/api-tokens', :'admin');
SELECT * FROM pg_temp.ask('GET', '/api/admin/projects//api-tokens', :'admin');
\x
SELECT who, project, (pg_temp.ask('POST', '/api/admin/projects/' || project || '/api-tokens', key, '{"type": "client", "tokenName": "below"}')).status
FROM (VALUES ('admin', :'admin'), ('scoped', :'scoped'), ('client', :'client')) AS k (who, key), unnest(ARRAY['a', 'c', 'nope', '*']) AS project;
SELECT (pg_temp.ask('POST', '/api/admin/projects/nope/api-tokens', :'admin', '{"type": "client"}')).status AS body_first;
-- An unknown token is 404, one that has not that project alone 400; that of others is unknown.
SELECT who, name, (pg_temp.ask('DELETE', '/api/admin/projects/a/api-tokens/' || selector, key, '')).status
FROM (VALUES ('scoped', :'scoped'), ('admin', :'admin')) AS k (who, key), (SELECT name, selector FROM made WHERE name IN ('a', 'c', 'ac', 'all') UNION ALL VALUES ('none', 'none')) AS m ORDER BY who DESC, name;
SELECT (pg_temp.ask('DELETE', '/api/admin/projects/nope/api-tokens/none', :'admin', '')).status, (pg_temp.ask('DELETE', '/api/admin/projects/c/api-tokens/none', :'scoped', '')).body::jsonb ->> 'message' AS said;

-- A server whose transactions are read only says so, and only to who would write.
SET LOCAL default_transaction_read_only = on;
\x
SELECT * FROM pg_temp.ask('POST', '/api/admin/api-tokens', :'admin', '{');
SELECT * FROM pg_temp.ask('GET', '/health?write=1', NULL);
\x
SELECT method, target, (pg_temp.ask(method, target, :'admin', sent)).status
FROM (VALUES ('PUT', '/api/admin/api-tokens/x', '{}'), ('DELETE', '/api/admin/api-tokens/x', ''), ('PATCH', '/api/admin/api-tokens/x', ''), ('GET', '/api/admin/api-tokens/x', NULL),
	('GET', '/health', NULL), ('GET', '/health?write=0', NULL), ('POST', '/edge/validate', '{"tokens": []}'), ('GET', '/auth', NULL)) AS r (method, target, sent);
SET LOCAL default_transaction_read_only = off;

-- What is not of PostgREST is refused, and not obeyed.
SELECT headers, unleash_tokens.rest_api() IS NOT NULL AS answered, current_setting('response.status') AS status
FROM unnest(ARRAY['', 'x', '[]', '{}', '{"x-original-method": "GET"}', '{"x-original-method": 5, "x-original-uri": "/health"}']) AS headers,
	LATERAL set_config('request.headers', headers, true) AS s;
ROLLBACK;
