--
-- What the program authd asks: many requests in one call, each answered as the
-- REST door answers it alone (sql/rest.sql), and none of them harming another.
-- What authd makes of it over HTTP is tested in t/authd.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\pset null '(null)'
\set VERBOSITY default
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a');
SELECT c ->> 'secret' AS admin FROM unleash_tokens.create_api_token('{"type": "admin", "tokenName": "boss"}') AS c \gset
SELECT c ->> 'secret' AS client FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "c", "projects": ["a"], "environment": "production"}') AS c \gset
SELECT c ->> 'secret' AS rare FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "rare", "projects": ["a"], "environment": "production", "rateLimit": {"limit": 1, "period": 3600}}') AS c \gset
SELECT c ->> 'secret' AS bound FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "bound", "projects": ["a"], "environment": "production", "allowedIps": ["192.0.2.0/24"]}') AS c \gset

CREATE TYPE pg_temp.request AS (method text, target text, key text, address text, type text, encoding text, body text);

-- All in one call, with the ids and secrets taken out.
CREATE FUNCTION pg_temp.ask_many(VARIADIC requests pg_temp.request[]) RETURNS TABLE (n bigint, status int, headers text, body text)
LANGUAGE sql AS $$
	SELECT a.n, a.status, regexp_replace(a.headers, 'X-Refusal: [^\n]*\n', ''),
		regexp_replace(regexp_replace(convert_from(a.body, 'UTF8'), '"id":"[-0-9a-f]{36}"', '"id":"<uuid>"'), 'utok[0-9A-Za-z]{18}_[0-9A-Za-z]{43}', '<secret>', 'g')
	FROM (SELECT array_agg(convert_to(r.method, 'UTF8') ORDER BY i) AS methods, array_agg(convert_to(r.target, 'UTF8') ORDER BY i) AS targets,
			array_agg(convert_to(r.key, 'UTF8') ORDER BY i) AS keys, array_agg(convert_to(r.address, 'UTF8') ORDER BY i) AS addresses,
			array_agg(convert_to(r.type, 'UTF8') ORDER BY i) AS types, array_agg(convert_to(r.encoding, 'UTF8') ORDER BY i) AS encodings,
			array_agg(convert_to(r.body, 'UTF8') ORDER BY i) AS bodies
		FROM unnest(requests) WITH ORDINALITY AS r (method, target, key, address, type, encoding, body, i)) AS s,
		unleash_tokens.authorize_many(methods, targets, keys, addresses, types, encodings, bodies) WITH ORDINALITY AS a (status, headers, body, n)
$$;

-- one alone, and none at all
SELECT * FROM pg_temp.ask_many(('GET', '/auth', :'client', NULL, NULL, NULL, NULL));
SELECT count(*) FROM unleash_tokens.authorize_many('{}', '{}', '{}', '{}', '{}', '{}', '{}');

-- whatever may be asked, in the order in which it was
SELECT n, status, regexp_replace(headers, '\n', ' | ', 'g') AS headers, body FROM pg_temp.ask_many(
	('GET', '/auth', :'client', NULL, NULL, NULL, NULL), ('GET', '/auth', NULL, NULL, NULL, NULL, NULL), ('HEAD', '/auth/', :'admin', NULL, NULL, NULL, NULL),
	('POST', '/auth?type=admin', :'client', NULL, NULL, NULL, 'ignored'), ('BREW', '/auth?project=a', :'client', NULL, NULL, NULL, NULL),
	('GET', '/auth?projekt=a', :'client', NULL, NULL, NULL, NULL), ('GET', '/auth/x', :'client', NULL, NULL, NULL, NULL), ('GET', '/auth', '-', NULL, NULL, NULL, NULL),
	('GET', '/auth', :'rare', NULL, NULL, NULL, NULL), ('GET', '/auth', :'bound', NULL, NULL, NULL, NULL), ('GET', '/auth', :'bound', '192.0.2.7', NULL, NULL, NULL),
	('GET', '/auth', :'bound', '198.51.100.7', NULL, NULL, NULL), ('GET', '/auth', :'bound', 'here', NULL, NULL, NULL), ('GET', '/health', NULL, NULL, NULL, NULL, NULL),
	('POST', '/edge/validate', NULL, NULL, 'application/json', NULL, format('{"tokens": ["x", "%s"]}', :'client')),
	('POST', '/edge/validate', NULL, NULL, 'text/plain', NULL, '{}'), ('POST', '/edge/validate', NULL, NULL, 'application/json', 'gzip', '{}'),
	('POST', '/edge/validate', NULL, NULL, 'application/json', NULL, '{"tokens": ['), ('POST', '/edge/validate', NULL, NULL, 'application/json', NULL, NULL),
	('GET', '/edge/validate', NULL, NULL, NULL, NULL, NULL), ('OPTIONS', '/edge/validate', NULL, NULL, NULL, NULL, NULL), ('DELETE', '/health', NULL, NULL, NULL, NULL, NULL));

-- a limit counts within a call as between calls
SELECT n, status, regexp_replace(substring(headers FROM 'Retry-After: \d+'), '\d+', 'N') AS retry FROM pg_temp.ask_many(
	('GET', '/auth', :'rare', NULL, NULL, NULL, NULL), ('GET', '/auth', :'client', NULL, NULL, NULL, NULL));

-- a request that cannot be answered at all harms none of the others
SELECT n, status, body FROM pg_temp.ask_many(
	('GET', '/auth', :'client', NULL, NULL, NULL, NULL), (NULL, '/auth', :'client', NULL, NULL, NULL, NULL), ('GET', NULL, NULL, NULL, NULL, NULL, NULL),
	('GET', '/health', NULL, NULL, NULL, NULL, NULL));
SELECT status FROM unleash_tokens.authorize_many(ARRAY['GET', 'GET', 'GET', 'GET']::bytea[], ARRAY['/auth', '/auth', '/a\377', '/health']::bytea[],
	ARRAY[:'client', '\000' || :'client', NULL, '\377']::bytea[], ARRAY[NULL, NULL, NULL, NULL]::bytea[], ARRAY[NULL, NULL, NULL, NULL]::bytea[],
	ARRAY[NULL, NULL, NULL, NULL]::bytea[], ARRAY[NULL, NULL, NULL, NULL]::bytea[]);

-- only what needs no admin's key is there, whatever the key is, and nothing is written
SELECT n, status FROM pg_temp.ask_many(
	('GET', '/api/admin/api-tokens', :'admin', NULL, NULL, NULL, NULL), ('POST', '/api/admin/api-tokens', :'admin', NULL, 'application/json', NULL, '{"type": "admin", "tokenName": "more"}'),
	('POST', '/api/admin/api-tokens/' || :'client' || '/rotate', :'admin', NULL, NULL, NULL, NULL), ('DELETE', '/api/admin/api-tokens/' || :'client', :'admin', NULL, NULL, NULL, NULL),
	('GET', '/', NULL, NULL, NULL, NULL, NULL));
SELECT token_name FROM unleash_tokens.api_tokens ORDER BY 1;

-- what the transaction was is what it is after the call
SELECT current_setting('transaction_read_only'), current_setting('response.status', true), current_setting('request.headers', true);
INSERT INTO unleash_tokens.project (id) VALUES ('b');

-- arrays that do not belong together, NULL for one, two dimensions
SELECT * FROM unleash_tokens.authorize_many('{GET}', '{/auth,/health}', '{x}', '{x}', '{x}', '{x}', '{x}');
SELECT count(*) FROM unleash_tokens.authorize_many('{GET}', NULL, '{x}', '{x}', '{x}', '{x}', '{x}');
SELECT count(*) FROM unleash_tokens.authorize_many('{{GET,GET}}', '{/health,/health}', '{{x},{x}}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}');
ROLLBACK;
